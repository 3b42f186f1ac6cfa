"""What Claude Code and Codex say that they do with a command, done to the command as `configure` wrote it.

Claude Code, `apiKeyHelper` (code.claude.com/docs/en/settings, …/llm-gateway): run by /bin/sh; what it prints is sent as
`X-Api-Key` and as `Authorization: Bearer`; run again after five minutes and after an HTTP 401.
Codex, `model_providers.<id>.auth` (developers.openai.com/codex/config-advanced): `command` with `args`, no shell; the
token on stdout, with spaces around it cut off; exit code 0; killed after `timeout_ms`; run again after
`refresh_interval_ms` and after a 401. Tried with Claude Code 2.1.197, Codex 0.171.0 and opencode 1.18.33.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from .standin import StandIn
from .test_programs import COMMAND, home, outdated, real, run_here, signed_in

__all__ = ("home", "real", "signed_in")


@pytest.fixture
def installed(signed_in: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """`litellm-key` is a program in the PATH."""
    program = tmp_path / "bin" / "litellm-key"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {" ".join(COMMAND)} "$@"\n')
    program.chmod(0o755)
    return signed_in | {"PATH": f"{program.parent}:{signed_in['PATH']}"}


Helper = Callable[[], "subprocess.CompletedProcess[str]"]


@pytest.fixture(params=["Claude Code", "Codex"])
def helper(request: pytest.FixtureRequest, installed: dict[str, str], tmp_path: Path) -> Helper:
    """Calls the command as the tool does."""

    def called(command: list[str], limit: float) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, env=installed, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd="/", check=False,
            timeout=limit,
        )  # fmt: skip

    if request.param == "Claude Code":
        run_here(installed, "configure", "claude-code")
        line = json.loads((tmp_path / ".claude" / "settings.json").read_text())["apiKeyHelper"]
        return lambda: called(["/bin/sh", "-c", line], 60)
    run_here(installed, "configure", "codex")
    auth = tomllib.loads((tmp_path / ".codex" / "config.toml").read_text())["model_providers"]["litellm-key"]["auth"]
    return lambda: called([auth["command"], *auth["args"]], auth["timeout_ms"] / 1000)


def model_call(real: StandIn, key: str) -> int:
    """The status of a request with this key."""
    return httpx.get(f"{real.origin}/v1/models", headers={"Authorization": f"Bearer {key}"}).status_code


def test_the_key_is_all_of_stdout(helper: Helper, real: StandIn) -> None:
    """Exit code 0, one line, without a terminal and from any folder; a request with it succeeds."""
    done = helper()
    assert (done.returncode, done.stdout, done.stderr) == (0, "sk-2\n", "")
    assert model_call(real, done.stdout.strip()) == 200


def test_it_is_run_again_after_a_401(helper: Helper, real: StandIn, installed: dict[str, str]) -> None:
    """The key was blocked meanwhile: the second run prints another one, with which the request succeeds."""
    key = helper().stdout.strip()
    real.keys.pop(key)
    assert model_call(real, key) == 401
    minutes_ago(installed)
    assert model_call(real, helper().stdout.strip()) == 200


def minutes_ago(installed: dict[str, str]) -> None:
    """All that is known is some minutes old."""
    for path in Path(installed["LITELLM_KEY_HOME"], "sessions").glob("*.*"):
        if path.suffix in {".json", ".status"}:
            body = json.loads(path.read_text())
            for moment in (body.get("tokens", {}).get("received"), body.get("worked")):
                for name in moment or ():
                    moment[name] -= 300
            path.write_text(json.dumps(body))


def test_a_session_that_has_ended_does_not_go_round(helper: Helper, real: StandIn, installed: dict[str, str]) -> None:
    """Exit code 2, nothing on stdout, one sentence on stderr, and no more requests however often the tool runs it."""
    outdated(installed, 0.0)
    real.sessions["session-1"].ended = True
    for _ in range(3):
        done = helper()
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("litellm-key: The session at http://127.0.0.1")
    assert real.asked_for("refresh_token") == 1


def test_it_keeps_the_time_limit(helper: Helper, real: StandIn, installed: dict[str, str]) -> None:
    """With a service that has gone: the key that works is there before the limit of the tool."""
    outdated(installed, 3600.0, age=3500.0)
    real.shutdown()
    real.server_close()
    done = helper()
    assert (done.returncode, done.stdout) == (0, "sk-2\n")
    assert "cannot be reached" in done.stderr


_CALLS = """
import { LiteLLMKey } from %s
const hook = (await LiteLLMKey())["chat.headers"]
for (const providerID of ["litellm-key", "another"]) {
  const headers = {}
  await hook({ model: { providerID } }, { headers })
  console.log(JSON.stringify(headers))
}
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="opencode's plugins are JavaScript")
def test_opencode_sends_the_key_to_litellm_alone(installed: dict[str, str], tmp_path: Path, real: StandIn) -> None:
    """The plugin sets the header of a request to its own provider; without a key the request fails."""
    run_here(installed, "configure", "opencode")
    plugin = tmp_path / "plugin.mjs"
    plugin.write_text((tmp_path / ".config" / "opencode" / "plugins" / "litellm-key.js").read_text())
    (tmp_path / "calls.mjs").write_text(_CALLS % json.dumps(str(plugin)))
    node = ("node", str(tmp_path / "calls.mjs"))
    done = subprocess.run(node, env=installed, capture_output=True, text=True, check=False)
    assert done.stdout == '{"Authorization":"Bearer sk-2"}\n{}\n', done.stderr
    outdated(installed, 0.0)
    real.sessions["session-1"].ended = True
    done = subprocess.run(node, env=installed, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "sk-" not in done.stderr
