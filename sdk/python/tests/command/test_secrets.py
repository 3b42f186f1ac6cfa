"""Where a key and a refresh token never are: tracebacks, logs, a browser's arguments and variables, what is left."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from litellm_orchestrator_client.cli.commands import cli
from litellm_orchestrator_client.cli.machine import Machine
from litellm_orchestrator_client.cli.session import Tokens

from .conftest import Laptop
from .standin import StandIn
from .test_programs import home, real, run

__all__ = ("home", "real")

CANARIES = ("sk-", "refresh-2", "secret-device-code")
_CLI = "litellm_orchestrator_client.cli"


def boom(*_: object, **__: object) -> Any:
    raise RuntimeError("boom")


@pytest.mark.parametrize(
    ("broken", "command"),
    [
        (f"{_CLI}.store.Store.add", ("login", "URL")),
        (f"{_CLI}.store.Store.note", ("login", "URL")),
        (f"{_CLI}.wire._secret", ("login", "URL")),
        (f"{_CLI}.session.Tokens.from_json", ("token",)),
        (f"{_CLI}.wire.still_works", ("token",)),
        (f"{_CLI}.wire.Wire._body", ("token",)),
        (f"{_CLI}.store.Store.update", ("token",)),
        ("httpx.Client.send", ("token",)),
        (f"{_CLI}.commands.as_shell", ("env",)),
        ("os.execve", ("exec", "--", "true")),
        (f"{_CLI}.session.Tokens.remaining", ("whoami",)),
        (f"{_CLI}.session.Tokens.remaining", ("sessions",)),
        (f"{_CLI}.configure.tools._models", ("configure", "opencode")),
        (f"{_CLI}.configure.files.replace", ("configure", "claude-code")),
        ("httpx.Client.post", ("logout",)),
        (f"{_CLI}.workload.write_key", ("exchange", "rule", "--token-file", "TOKEN", "--to", "TOKEN")),
    ],
)
def test_a_fault_in_a_command(  # noqa: PLR0917  # a case has two values
    laptop: Laptop, service: StandIn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path,
    broken: str, command: tuple[str, ...],
) -> None:  # fmt: skip
    """What Python prints of it has no secret, nor has what libraries log at most."""
    caplog.set_level(logging.DEBUG)
    (tmp_path / "token").write_text("refresh-2")
    laptop.machine.environ["LITELLM_KEY_SERVICE"] = service.origin
    laptop("login", service.origin)
    laptop.clock.passes(120 if broken.endswith("still_works") else 50_000)
    monkeypatch.setattr(broken, boom)
    named = {"URL": service.origin, "TOKEN": str(tmp_path / "token")}
    result = CliRunner().invoke(cli, [named.get(word, word) for word in command], obj=laptop.machine)
    assert isinstance(result.exception, RuntimeError), result.output
    said = "".join(traceback.format_exception(result.exception)) + result.output + caplog.text
    assert not [canary for canary in CANARIES if canary in said]


def test_no_description_has_a_secret(laptop: Laptop, service: StandIn) -> None:
    """Of what the command has in its hands."""
    wire = laptop.machine.wire(service.service)
    code = wire.device_code("laptop", "tool")
    grant = wire.poll(code.device_code)
    described = f"{code!r} {grant!r} {grant.tokens!r} {laptop.machine!r}"
    assert not [canary for canary in CANARIES if canary in described]
    assert isinstance(grant.tokens, Tokens)
    assert isinstance(laptop.machine, Machine)


def test_the_browser_gets_no_secret(home: dict[str, str], real: StandIn, tmp_path: Path) -> None:
    """Neither as an argument nor in its environment: the address and the code of the person alone."""
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\n(echo "$@"; env) > {tmp_path}/seen\n')
    browser.chmod(0o755)
    real.next_answers = [(200, real.answer("device_authorization", {})[1] | {"interval": 0})]
    run(home | {"BROWSER": str(browser), "DISPLAY": ":0"}, "login", real.origin)
    seen = (tmp_path / "seen").read_text()
    assert seen.startswith(f"{real.origin}/console#/device?code=WDJB-MJHT\n")
    assert not [canary for canary in CANARIES if canary in seen]


def test_nothing_is_left_where_a_file_could_not_be_replaced(
    laptop: Laptop, service: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk: no half a file with a secret in it."""
    laptop("login", service.origin)
    before = sorted((laptop.machine.folder / "sessions").iterdir())

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    laptop.clock.passes(50_000)
    monkeypatch.setattr("os.fsync", full)
    assert "No space left on device" in laptop("token", code=1).stderr
    assert sorted((laptop.machine.folder / "sessions").iterdir()) == before
    assert service.asked_for("refresh_token") == 0
