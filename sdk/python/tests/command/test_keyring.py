"""A keyring of a Linux desktop: GNOME's daemon behind the Secret Service, on a bus of its own.

Without Debian's packages `dbus` and `gnome-keyring` it is left out; the other tests have a stand-in.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from .standin import StandIn
from .test_programs import home, real, run

__all__ = ("home", "real")

pytestmark = pytest.mark.skipif(
    not (shutil.which("dbus-daemon") and shutil.which("gnome-keyring-daemon")), reason="it needs GNOME's keyring"
)


@dataclass
class Desktop:
    """A session of a desktop. `environment` is that of its programs."""

    environment: dict[str, str]
    log: Path

    def unlock(self) -> None:
        """As signing in to the desktop does."""
        daemon = ("gnome-keyring-daemon", "--replace", "--unlock", "--components=secrets")
        subprocess.run(daemon, env=self.environment, input=b"password", stdout=subprocess.DEVNULL, check=True)

    def lock(self) -> None:
        """As its screen does."""
        script = "import secretstorage as s; c = s.dbus_init(); s.Collection(c).lock(); c.close()"
        subprocess.run([sys.executable, "-c", script], env=self.environment, check=True)

    def login(self, service: StandIn) -> subprocess.CompletedProcess[str]:
        """The first poll comes after a second."""
        service.next_answers = [(200, service.answer("device_authorization", {})[1] | {"interval": 0})]
        return run(self.environment, "login", service.origin)


@pytest.fixture
def desktop(home: dict[str, str], tmp_path: Path) -> Iterator[Desktop]:
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    del home["PYTHON_KEYRING_BACKEND"]
    environment = home | {"XDG_RUNTIME_DIR": str(runtime)}
    bus = ("dbus-daemon", "--session", "--nofork", "--print-address")
    log = tmp_path / "log"
    with log.open("w") as said:
        process = subprocess.Popen(bus, env=environment, stdout=subprocess.PIPE, stderr=said, text=True)
    assert process.stdout is not None
    desktop = Desktop(environment | {"DBUS_SESSION_BUS_ADDRESS": process.stdout.readline().strip()}, log)
    try:
        desktop.unlock()
        yield desktop
    finally:
        process.terminate()  # the daemon of the keyring ends with its bus
        process.communicate()


def test_the_keyring_has_the_secrets(desktop: Desktop, real: StandIn) -> None:
    """`login` says so, no file has them, a renewal replaces them, and `logout` takes them out."""
    done = desktop.login(real)
    assert "The secrets are in the system's keyring." in done.stderr
    assert run(desktop.environment, "token").stdout == "sk-2\n"
    sessions = Path(desktop.environment["LITELLM_KEY_HOME"], "sessions")
    assert "refresh-" not in "".join(path.read_text() for path in sessions.iterdir())
    assert run(desktop.environment, "logout").returncode == 0
    assert real.sessions["session-1"].ended
    script = "import secretstorage as s; c = s.dbus_init(); print(list(s.Collection(c).get_all_items())); c.close()"
    left = subprocess.run(
        [sys.executable, "-c", script], env=desktop.environment, capture_output=True, text=True, check=True
    )
    assert left.stdout == "[]\n"


def test_a_keyring_that_is_locked_asks_nobody(desktop: Desktop, real: StandIn) -> None:
    """No window appears, however often a tool asks: exit code 2 says what to do, and after that it goes on."""
    desktop.login(real)
    desktop.lock()
    for command in (("token",), ("exec", "--", "true"), ("logout",)):
        done = run(desktop.environment, *command)
        assert (done.returncode, done.stdout) == (2, "")
        assert "The key is in the system's keyring, and it is locked: unlock it" in done.stderr
    assert "it is locked" in run(desktop.environment, "whoami").stdout
    assert "SystemPrompter" not in desktop.log.read_text()
    desktop.unlock()
    assert run(desktop.environment, "token").stdout == "sk-2\n"
    assert not real.sessions["session-1"].ended
