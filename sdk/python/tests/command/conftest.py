"""A machine of the tests: a clock that stands still, a folder, a keyring or none, and a service on a real socket."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from litellm_orchestrator_client.cli.commands import cli
from litellm_orchestrator_client.cli.machine import Machine
from litellm_orchestrator_client.cli.ring import Ring

from .standin import FakeClock, StandIn, running


@dataclass
class FakeKeyring:
    """A backend of `keyring`. `broken`: what every call raises. `full`: it keeps nothing new."""

    secrets: dict[tuple[str, str], str] = field(default_factory=dict)
    broken: Exception | None = None
    full: bool = False

    def _works(self) -> None:
        if self.broken is not None:
            raise self.broken

    def get_password(self, service: str, username: str) -> str | None:
        self._works()
        return self.secrets.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self._works()
        if not self.full:
            self.secrets[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        self._works()
        del self.secrets[service, username]


@dataclass
class Laptop:
    """Runs commands as a person does."""

    machine: Machine
    clock: FakeClock
    keyring: FakeKeyring
    pages: list[str]

    def __call__(self, *arguments: str, code: int = 0) -> Result:
        """What a command printed; its exit code must be this one."""
        result = CliRunner().invoke(cli, arguments, obj=self.machine)
        assert result.exit_code == code, (result.output, result.exception)
        return result

    def key(self, *arguments: str) -> str:
        """What `token` prints, which is one line, and nothing beside it on stderr."""
        result = self("token", *arguments)
        assert result.stderr == ""
        assert result.stdout.count("\n") == 1
        return result.stdout.strip()


@pytest.fixture(autouse=True)
def _network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No proxies, and no authorities: nothing is encrypted, and each client would read those of certifi for 30 ms."""
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def service(clock: FakeClock) -> Iterator[StandIn]:
    with running(StandIn(clock)) as standin:
        yield standin


@pytest.fixture
def laptop(clock: FakeClock, tmp_path: Path) -> Laptop:
    """Without a keyring that works and without a browser; its folder does not exist yet."""
    return laptop_at(tmp_path, clock, FakeKeyring(broken=RuntimeError("no D-Bus")))


@pytest.fixture
def desktop(clock: FakeClock, tmp_path: Path) -> Laptop:
    """With a keyring and a browser."""
    return laptop_at(tmp_path, clock, FakeKeyring(), DISPLAY=":0")


def laptop_at(folder: Path, clock: FakeClock, keyring: FakeKeyring, **environ: str) -> Laptop:
    pages: list[str] = []
    home = {"HOME": str(folder), "LITELLM_KEY_HOME": str(folder / "keys"), "PATH": "/usr/bin:/bin"}

    def open_page(url: str) -> bool:
        pages.append(url)
        return True

    machine = Machine(clock=clock, environ=home | environ, ring=Ring(lambda: keyring), open_page=open_page)
    return Laptop(machine, clock, keyring, pages)
