"""`exec` and `env`, and `token` as a process: what other programs rely on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from litellm_orchestrator_client.cli.commands import cli
from litellm_orchestrator_client.cli.environment import as_shell
from litellm_orchestrator_client.cli.machine import Machine
from litellm_orchestrator_client.cli.ring import Ring

from .conftest import Laptop
from .standin import HastyClock, StandIn, running

COMMAND = (sys.executable, "-m", "litellm_orchestrator_client.cli")


@pytest.fixture
def real() -> Iterator[StandIn]:
    """A service whose clock is the machine's."""
    with running(StandIn()) as standin:
        yield standin


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """The environment of a process that has a folder of its own and neither keyring nor browser."""
    return {
        "HOME": str(tmp_path), "LITELLM_KEY_HOME": str(tmp_path / "keys"), "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(sys.path), "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
        "PYTHONWARNINGS": "error",
    }  # fmt: skip


def run(home: dict[str, str], *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], env=home, input=stdin, capture_output=True, text=True, check=False)


def run_here(home: dict[str, str], *arguments: str) -> None:
    """In this process, for what a test only needs: one of its own has to start, and waits for the first poll."""
    machine = Machine(clock=HastyClock(), environ=home, ring=Ring(lambda: None))
    done = CliRunner().invoke(cli, arguments, obj=machine)
    assert done.exit_code == 0, done.output


@pytest.fixture
def signed_in(home: dict[str, str], real: StandIn) -> dict[str, str]:
    run_here(home, "login", real.origin)
    return home


def outdated(home: dict[str, str], life: float, age: float = 0.0) -> None:
    """The key that is there has only this life, and is this old, in seconds."""
    [path] = Path(home["LITELLM_KEY_HOME"], "sessions").glob("*.json")
    body = json.loads(path.read_text())
    body["tokens"]["key_life"] = life
    body["tokens"]["received"] = {name: value - age for name, value in body["tokens"]["received"].items()}
    path.write_text(json.dumps(body))
    path.with_suffix(".status").unlink()


_SHOWS_IMPORTS = """
import sys
from litellm_orchestrator_client.cli import main
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""
_CLIENT = "litellm_orchestrator_client"


@pytest.mark.parametrize("arguments", [("--version",), ("token",), ("token", "--service", "SERVICE")], ids=" ".join)
def test_a_key_that_is_there_is_printed_at_once(
    signed_in: dict[str, str], real: StandIn, arguments: tuple[str, ...]
) -> None:
    """A tool waits for it: nothing is imported that only a request, a sign-in, a keyring or a tool's settings need."""
    named = [real.service if word == "SERVICE" else word for word in arguments]
    command = [sys.executable, "-c", _SHOWS_IMPORTS, *named]
    done = subprocess.run(command, env=signed_in, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(("sk-2\n", "litellm-key, version"))
    slow = {
        "asyncio",
        "attrs",
        "httpx",
        "keyring",
        "ssl",
        "subprocess",
        "tomlkit",
        f"{_CLIENT}.client",
        f"{_CLIENT}.models",
    }
    assert not slow & set(done.stderr.split())


@pytest.mark.parametrize("life", [0.0, 14_400.0], ids=["over", "due"])
def test_ten_processes_at_once_make_one_request(signed_in: dict[str, str], real: StandIn, life: float) -> None:
    """And each prints a key that works, and nothing else."""
    outdated(signed_in, life, age=life * 0.8)
    processes = [
        subprocess.Popen([*COMMAND, "token"], env=signed_in, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(10)
    ]
    answers = [process.communicate() for process in processes]
    assert {stderr for _, stderr in answers} == {""}
    assert {stdout for stdout, _ in answers} <= {f"{key}\n" for key in real.keys}  # no dict
    assert [process.returncode for process in processes] == [0] * 10
    assert real.asked_for("refresh_token") == 1


def test_a_process_that_is_killed_leaves_no_lock(signed_in: dict[str, str], real: StandIn) -> None:
    """The system lets the lock go with the process; the file that stays locks nobody."""
    outdated(signed_in, 0.0)
    [path] = Path(signed_in["LITELLM_KEY_HOME"], "sessions").glob("*.json")
    lock = str(path.with_suffix(".lock"))
    dies = f"import filelock, os; filelock.FileLock({lock!r}).acquire(); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", dies], env=signed_in, check=False)
    assert run(signed_in, "token").stdout == "sk-3\n"


def test_a_program_has_the_key_and_the_addresses(signed_in: dict[str, str], real: StandIn) -> None:
    """OpenAI's base URL ends in /v1 and Anthropic's does not, as their libraries want it; the rest is inherited."""
    names = ["OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "LITELLM_API_KEY"]
    shows = "import os, sys; print(*(os.environ[name] for name in sys.argv[1:]))"
    done = run(signed_in | {"MINE": "x"}, "exec", "--", sys.executable, "-c", shows, *names, "MINE")
    assert done.stdout.split() == ["sk-2", f"{real.origin}/v1", "sk-2", real.origin, "sk-2", "x"]
    assert done.stderr == ""


def test_the_program_ends_as_it_likes(signed_in: dict[str, str]) -> None:
    """Its exit code is the command's, also one that litellm-key uses itself; its options are its own."""
    assert run(signed_in, "exec", "sh", "-c", "exit 42").returncode == 42
    assert run(signed_in, "exec", "--", "sh", "-c", "exit 3").returncode == 3
    assert run(signed_in, "exec", "--for", "alice", "--", "printf", "--", "%s", "--for").stdout == "--for"
    assert run(signed_in, "exec", "--", "cat", stdin="through").stdout == "through"
    assert run(signed_in, "exec", "echo", "--service", "x").stdout == "--service x\n"
    (script := Path(signed_in["HOME"], "script")).write_text("echo no line that says by what it is run")
    script.chmod(0o755)
    cannot = run(signed_in, "exec", "--", str(script))
    assert (cannot.returncode, cannot.stderr) == (126, f"litellm-key: {script} cannot be run (Exec format error)\n")
    missing = run(signed_in, "exec", "--", "no-such-program")
    assert (missing.returncode, missing.stderr) == (127, "litellm-key: there is no program no-such-program\n")


def test_a_shell_reads_env(signed_in: dict[str, str], real: StandIn) -> None:
    """As it stands in the guide."""
    script = f'eval "$({" ".join(COMMAND)} env)" && echo "$OPENAI_API_KEY $OPENAI_BASE_URL"'
    done = subprocess.run(["sh", "-c", script], env=signed_in, capture_output=True, text=True, check=True)
    assert done.stdout == f"sk-2 {real.origin}/v1\n"


def test_other_shells(laptop: Laptop, service: StandIn) -> None:
    """For fish and PowerShell, each in its own words."""
    laptop("login", service.origin)
    assert "set -gx OPENAI_API_KEY 'sk-2'\n" in laptop("env", "--shell", "fish").stdout
    assert "$env:OPENAI_API_KEY = 'sk-2'\n" in laptop("env", "--shell", "powershell").stdout


@pytest.mark.parametrize(
    ("shell", "line"),
    [
        ("sh", """export A='x\\'"'"'; $(id) "'"""),
        ("fish", """set -gx A 'x\\\\\\'; $(id) "'"""),
        ("powershell", """$env:A = 'x\\''; $(id) "'"""),
    ],
)
def test_no_shell_runs_what_a_value_has(shell: str, line: str) -> None:
    """Whatever an operator, or who stands between, gave as an address."""
    assert as_shell({"A": """x\\'; $(id) \""""}, shell) == line


def test_a_program_gets_a_key_for_long(laptop: Laptop, service: StandIn) -> None:
    """It cannot ask again, so half of the life must be left; `token` would have given the old one."""
    laptop("login", service.origin)
    laptop.clock.passes(7 * 3600)
    assert laptop.key() == "sk-2"
    assert "OPENAI_API_KEY=sk-3" in laptop("env").stdout


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="it takes its rights from root")
def test_a_home_that_nobody_can_write(signed_in: dict[str, str], real: StandIn) -> None:
    """As a container has it: the key that is there is printed while it works, then exit code 1 and what to do."""
    folder = Path(signed_in["LITELLM_KEY_HOME"])
    for path in folder.rglob("*"):
        path.chmod(0o444 if path.is_file() else 0o555)
    folder.chmod(0o555)
    without_rights = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *COMMAND, "token"]
    done = subprocess.run(without_rights, env=signed_in, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "sk-2\n"), done.stderr
    outdated(signed_in, 0.0)
    done = subprocess.run(without_rights, env=signed_in, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "set LITELLM_KEY_HOME to another folder" in done.stderr
    assert real.asked_for("refresh_token") == 0


def test_without_the_extra_it_says_what_to_install(home: dict[str, str]) -> None:
    """The wheel alone has no command-line library."""
    script = (
        "import importlib.util as u, litellm_orchestrator_client.cli as c; found = u.find_spec; "
        "c.find_spec = lambda name: None if name == 'keyring' else found(name); c.main()"
    )
    done = subprocess.run([sys.executable, "-c", script], env=home, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "litellm-key needs keyring: pip install 'litellm-orchestrator-client[cli]'\n"
