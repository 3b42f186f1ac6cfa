"""`login`, `whoami`, `sessions`, `logout`: what a person sees, and where the secrets are."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock, Timeout
from keyring.errors import KeyringLocked
from litellm_orchestrator_client.cli.errors import CommandError
from litellm_orchestrator_client.cli.ring import Ring
from litellm_orchestrator_client.cli.store import BusyError, Store

from .conftest import FakeKeyring, Laptop, laptop_at
from .standin import BASE, FakeClock, StandIn, running


def test_a_browser_opens_and_the_code_is_shown(desktop: Laptop, service: StandIn) -> None:
    """The page is opened, the code is there to compare, nothing is on stdout, and the keyring has the secrets."""
    service.polls = ["authorization_pending", "authorization_pending"]
    result = desktop("login", service.origin)
    assert result.stdout == ""
    assert desktop.pages == [f"{service.origin}/console#/device?code=WDJB-MJHT"]
    assert "WDJB-MJHT" in result.stderr
    assert f"Signed in at {service.service} as user:default/alice" in result.stderr
    assert "The secrets are in the system's keyring." in result.stderr
    assert desktop.clock.slept == [5, 5, 5]
    [secret] = desktop.keyring.secrets.values()
    assert "refresh-2" in secret
    kept = "".join(path.read_text() for path in (desktop.machine.folder / "sessions").iterdir())
    assert "sk-" not in kept
    assert "refresh-" not in kept


def test_without_a_browser_the_address_is_printed(laptop: Laptop, service: StandIn) -> None:
    """On a server, over SSH, or as asked: nothing is opened; a browser inside the terminal would take it."""
    said = laptop("login", service.origin).stderr
    assert f"  {service.origin}/console#/device\n\nand enter this code, or compare it" in said
    laptop.machine.environ.update({"DISPLAY": ":0", "SSH_CONNECTION": "a b"})
    laptop("login", service.origin)
    del laptop.machine.environ["SSH_CONNECTION"]
    laptop("login", service.origin, "--no-browser")
    assert laptop.pages == []


def test_without_a_keyring_a_file_has_the_secrets(laptop: Laptop, service: StandIn) -> None:
    """Of the owner alone, in a folder of the owner alone; `login` says which, and why."""
    result = laptop("login", service.origin)
    [kept] = (laptop.machine.folder / "sessions").glob("*.json")
    assert f"The secrets are in {kept}, which only you can read. (The keyring: it failed" in result.stderr.replace(
        "\n", " "
    )
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in (kept.parent, kept.parent.parent)} == {0o700}
    assert "refresh-2" in kept.read_text()


def test_a_keyring_that_is_locked_or_not_wanted(desktop: Laptop, service: StandIn) -> None:
    """Signing in goes on with a file, and says why."""
    desktop.keyring.broken = KeyringLocked("locked")
    assert "(The keyring: it is locked.)" in desktop("login", service.origin).stderr
    desktop.keyring.broken = None
    assert "(The keyring: --no-keyring says so.)" in desktop("login", service.origin, "--no-keyring").stderr
    assert desktop.keyring.secrets == {}
    assert desktop.key() in service.keys


def test_a_keyring_that_is_locked_later(desktop: Laptop, service: StandIn) -> None:
    """A tool gets exit code 2 and the way out, and once it is unlocked, the key; nobody was asked anything."""
    desktop("login", service.origin)
    desktop.keyring.broken = KeyringLocked("locked")
    result = desktop("token", code=2)
    assert result.stdout == ""
    assert "unlock it, or sign in again: litellm-key login" in result.stderr
    desktop.keyring.broken = None
    assert desktop.key() in service.keys


def test_slow_down_and_outages_while_waiting(laptop: Laptop, service: StandIn) -> None:
    """RFC 8628: five seconds more for ever after `slow_down`; after an outage the pause doubles, once."""
    service.polls = ["slow_down", "authorization_pending"]
    begun = (200, service.answer("device_authorization", {})[1])
    service.next_answers = [begun, None, 503, None]
    laptop("login", service.origin)
    assert laptop.clock.slept == [5, 10, 20, 10]


@pytest.mark.parametrize(
    ("answer", "code", "says"),
    [
        ("access_denied", 3, "It was refused on the page. Nothing is signed in."),
        ("expired_token", 2, "Nobody approved it in time. Begin again"),
        ("invalid_grant", 2, "Nobody approved it in time. Begin again"),
        ("unauthorized_client", 3, "refused: unauthorized_client"),
    ],
)
def test_what_is_not_approved(laptop: Laptop, service: StandIn, answer: str, code: int, says: str) -> None:
    """RFC 8628's table of errors, each with its sentence and exit code, and nothing kept."""
    service.polls = [answer]
    assert says in laptop("login", service.origin, code=code).stderr
    assert laptop("sessions").stdout == ""


def test_nobody_decides(laptop: Laptop, service: StandIn) -> None:
    """After the life of the code it ends by itself, whatever the service says."""
    service.polls = ["authorization_pending"] * 1000
    assert "Nobody approved it in time" in laptop("login", service.origin, code=2).stderr
    assert sum(laptop.clock.slept) == 600


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("http://portal.example.com", "is not encrypted"),
        ("ftp://portal.example.com", "is no address of a service"),
        ("https://", "is no address of a service"),
        ("https://user:pass@portal.example.com", "is no address of a service"),
        ("https://portal.example.com/?x=1", "is no address of a service"),
        ("https://[portal", "is no address of a service"),
        ("https://portal:x", "is no address of a service"),
        ("https://portal:99999", "is no address of a service"),
        ("https://portal..example.com", "is no address of a service"),
        (f"https://{'a' * 64}.example.com", "is no address of a service"),
        ("https://-é.example.com", "is no address of a service"),
    ],
)
def test_an_address_that_is_none(laptop: Laptop, address: str, says: str) -> None:
    """Gets a sentence before anything is sent."""
    assert says in laptop("login", address, code=1).stderr


def test_an_address_with_and_without_the_base_path(laptop: Laptop, service: StandIn) -> None:
    """Or of a page of the console: the same service and session, and the one before is ended at the service."""
    for address in (
        service.origin + "/",
        service.service,
        service.service + "/",
        f"{service.service}/console#/devices",
    ):
        laptop("login", address)
    assert [row["service"] for row in json.loads(laptop("sessions", "--json").stdout)] == [service.service]
    assert [session.ended for session in service.sessions.values()] == [True, True, True, False]


def test_something_else_answers(laptop: Laptop, service: StandIn) -> None:
    """A sign-in page, a redirect, an address that is not this service's, an answer that would fool a terminal."""
    begun = service.answer("device_authorization", {})[1]
    for answer in (
        (200, b"<html>Sign in to the Wi-Fi</html>"),
        (302, b""),
        (404, {"error": {"name": "NotFoundError"}}),
        (200, {"device_code": "x"}),
        (200, begun | {"verification_uri": "file:///etc/passwd"}),
    ):
        service.next_answers = [answer]
        assert "not this service's" in laptop("login", service.origin, code=4).stderr
    service.next_answers = [(200, begun | {"user_code": "\x1b]0;WDJB\x07"})]
    assert "\x1b" not in laptop("login", service.origin).stderr


def test_whoami_and_sessions_without_asking_anybody(laptop: Laptop, service: StandIn) -> None:
    """Service, principal, owner, session, until when, where the secrets are; and no secret."""
    laptop("login", service.origin)
    asked = len(service.asked)
    shown = json.loads(laptop("whoami", "--json").stdout)
    assert shown | {"until": ""} == {
        "service": service.service,
        "principal": "user:default/alice",
        "owner": "user:default/alice",
        "session": "session-1",
        "secrets": shown["secrets"],
        "litellm": service.origin,
        "key": "works for 12 h more",
        "until": "",
    }
    assert shown["until"].startswith("2027-02-14")
    assert laptop("whoami").stdout.startswith("service    http://127.0.0.1")
    listed = laptop("sessions").stdout
    assert "principal  user:default/alice" in listed
    assert "sk-" not in listed + str(shown)
    assert len(service.asked) == asked


def test_nobody_is_signed_in(laptop: Laptop) -> None:
    """Every command that needs a session says what to do, with exit code 2."""
    for arguments in (("token",), ("whoami",), ("logout",), ("env",), ("exec", "--", "true"), ("configure", "codex")):
        result = laptop(*arguments, code=2)
        assert result.stdout == ""
        assert result.stderr.startswith("litellm-key: Sign in first: litellm-key login")


def test_two_services_and_two_owners_side_by_side(laptop: Laptop, service: StandIn, clock: FakeClock) -> None:
    """The last sign-in is used unless a service or an owner is named; each has its own key."""
    laptop("login", service.origin)
    with running(StandIn(clock)) as other:
        clock.passes(60)
        laptop("login", other.origin)
        other.owner = "group:default/shop"
        clock.passes(60)
        laptop("login", other.origin)
        keys = [
            laptop.key(*named)
            for named in (
                ("--service", service.origin),
                ("--service", other.service, "--for", "alice"),
                ("--service", other.origin, "--for", "Group:shop"),
                (),
            )
        ]
        assert keys == ["sk-2", "sk-2", "sk-4", "sk-4"]
        assert len(json.loads(laptop("sessions", "--json").stdout)) == 3
        assert "here for group:default/none" in laptop("token", "--for", "group:none", code=2).stderr
        assert "Sign in first" in laptop("token", "--service", "https://else.example.com", code=2).stderr
        laptop.machine.environ["LITELLM_KEY_SERVICE"] = service.service
        assert laptop.key() == "sk-2"
        laptop("logout", "--all")
    assert all(session.ended for each in (service, other) for session in each.sessions.values())


def test_logout_ends_the_session_where_it_began(desktop: Laptop, service: StandIn) -> None:
    """At the service, which ends the keys, and here."""
    desktop("login", service.origin)
    desktop("logout")
    assert service.asked[-1] == (
        BASE + "/oauth/revoke",
        {"token": "refresh-2", "token_type_hint": "refresh_token", "client_id": "litellm-key"},
    )
    assert desktop.keyring.secrets == {}
    desktop("token", code=2)


def test_logout_while_the_service_is_away(laptop: Laptop, service: StandIn) -> None:
    """Nothing is kept here, and exit code 4 says that the session is still there."""
    laptop("login", service.origin)
    service.next_answers = [503]
    assert "end the session on the console too" in laptop("logout", code=4).stderr
    assert list((laptop.machine.folder / "sessions").glob("*.json")) == []
    assert not service.sessions["session-1"].ended


def test_a_folder_that_cannot_be_written(tmp_path: Path, clock: FakeClock, service: StandIn) -> None:
    """Is said before anybody is asked to approve anything."""
    laptop = laptop_at(tmp_path, clock, FakeKeyring())
    laptop.machine.environ["LITELLM_KEY_HOME"] = "/dev/null/keys"
    assert "set LITELLM_KEY_HOME to a folder that can" in laptop("login", service.origin, code=1).stderr
    assert service.asked == []


def test_signing_in_again_waits_for_a_renewal(
    desktop: Laptop, service: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the renewal of the old session would write over the new one. The old secrets are nowhere any more."""
    desktop("login", service.origin)
    [lock] = (desktop.machine.folder / "sessions").glob("*.lock")
    add, seen = Store.add, list[bool]()

    def with_the_lock(*arguments: Any, **options: Any) -> Any:
        with pytest.raises(Timeout):
            FileLock(lock, timeout=0).acquire()
        seen.append(True)
        return add(*arguments, **options)

    monkeypatch.setattr(Store, "add", with_the_lock)
    desktop("login", service.origin, "--no-keyring")
    assert seen == [True]
    assert desktop.keyring.secrets == {}
    assert [session.ended for session in service.sessions.values()] == [True, False]


@pytest.mark.parametrize(
    ("step", "fault"),
    [("add", CommandError("the disk is full")), ("locked", BusyError("wait")), ("add", KeyboardInterrupt())],
    ids=["the disk is full", "another process has the lock", "it is interrupted"],
)
def test_a_sign_in_that_cannot_be_kept(
    laptop: Laptop, service: StandIn, monkeypatch: pytest.MonkeyPatch, step: str, fault: BaseException
) -> None:
    """It is ended at the service, which would keep it for a month: nobody has its secrets."""

    def fails(*_: Any, **__: Any) -> None:
        raise fault

    monkeypatch.setattr(Store, step, fails)
    laptop("login", service.origin, code=1)
    assert service.sessions["session-1"].ended


def test_an_earlier_sign_in_that_cannot_be_ended(desktop: Laptop, service: StandIn) -> None:
    """The new one is kept, and it is said that the old one goes on."""
    desktop("login", service.origin)
    service.next_answers = [None, None, 503]  # the last one is the revocation
    said = desktop("login", service.origin).stderr
    assert "The earlier sign-in goes on: end it on the console." in said
    assert not service.sessions["session-1"].ended
    assert desktop.key() == "sk-4"


@pytest.mark.parametrize("lost", ["from the keyring", "from the file"])
def test_logout_without_the_secrets(desktop: Laptop, service: StandIn, lost: str) -> None:
    """Nobody can end the session here, and it is not said that somebody has."""
    desktop("login", service.origin, *(["--no-keyring"] if lost == "from the file" else []))
    desktop.keyring.secrets.clear()
    [path] = (desktop.machine.folder / "sessions").glob("*.json")
    body = json.loads(path.read_text())
    path.write_text(json.dumps(body | {"tokens": {}}))
    said = desktop("logout", code=4).stderr
    assert "end the session on the console too" in said
    assert not service.sessions["session-1"].ended
    assert not path.exists()


def test_logout_of_a_session_that_has_ended(laptop: Laptop, service: StandIn, clock: FakeClock) -> None:
    """There is nothing to end any more."""
    laptop("login", service.origin)
    service.sessions["session-1"].ended = True
    clock.passes(43_200)
    laptop("token", code=2)
    assert "Signed out" in laptop("logout").stderr


def test_logout_while_the_keyring_is_locked(desktop: Laptop, service: StandIn, clock: FakeClock) -> None:
    """The session cannot be ended without its secrets: it stays here, and the next time it can. Others are ended."""
    desktop("login", service.origin)
    with running(StandIn(clock)) as other:
        desktop("login", other.origin, "--no-keyring")
        desktop.keyring.broken = KeyringLocked("locked")
        assert "it is locked: unlock it" in desktop("logout", "--service", service.origin, code=2).stderr
        assert "it is locked: unlock it" in desktop("logout", "--all", code=2).stderr
        assert [session.ended for each in (service, other) for session in each.sessions.values()] == [False, True]
    desktop.keyring.broken = None
    desktop("logout")
    assert service.sessions["session-1"].ended
    assert desktop.keyring.secrets == {}


def test_what_somebody_mistypes(laptop: Laptop) -> None:
    """Is exit code 1: a tool must not take it for "sign in first"."""
    for arguments in ((), ("tokn",), ("--no-such",), ("token", "--no-such"), ("login",), ("configure", "vim")):
        assert "Usage: " in laptop(*arguments, code=1).stderr


@pytest.mark.parametrize("made_before", [False, True])
def test_only_the_owner_can_read_it(laptop: Laptop, service: StandIn, made_before: bool) -> None:
    """Whatever the umask says, and where everything was there already for everybody to read and write."""
    folder = laptop.machine.folder / "sessions"
    if made_before:
        laptop("login", service.origin)
        laptop.machine.folder.chmod(0o777)
        for path in (folder, *folder.iterdir()):
            path.chmod(0o777)
    before = os.umask(0)
    try:
        laptop("login", service.origin)
        laptop("configure", "claude-code")
    finally:
        os.umask(before)
    inside = {path: stat.S_IMODE(path.stat().st_mode) for path in laptop.machine.folder.rglob("*")}
    assert stat.S_IMODE(laptop.machine.folder.stat().st_mode) == 0o700
    assert {mode for path, mode in inside.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in inside.items() if path.is_file() and path.suffix != ".lock"} == {0o600}
    assert all(path.stat().st_size == 0 for path in inside if path.suffix == ".lock")
    assert sorted(path.suffix for path in folder.iterdir()) == ["", ".json", ".lock", ".status"]


def test_a_folder_that_is_not_its_own(laptop: Laptop, service: StandIn) -> None:
    """Such as /tmp: others go on using it, and what the command keeps there is closed to them."""
    folder = laptop.machine.folder
    folder.mkdir()
    (folder / "of others").touch()
    folder.chmod(0o1777)
    for command in (("login", service.origin), ("configure", "claude-code")):
        laptop(*command)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o1777
    assert {stat.S_IMODE((folder / name).stat().st_mode) for name in ("sessions", "configured")} == {0o700}


def test_a_keyring_that_keeps_secrets_from_nobody(
    desktop: Laptop, service: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`keyring` has backends that write plain text, with a priority below 1: a file of the owner alone is better."""
    monkeypatch.setattr(desktop.keyring, "priority", 0.5, raising=False)
    monkeypatch.setattr("keyring.get_keyring", lambda: desktop.keyring)
    desktop.machine.ring = Ring()
    assert "(The keyring: there is none.)" in desktop("login", service.origin).stderr
    assert desktop.keyring.secrets == {}
