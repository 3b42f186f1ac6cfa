"""`token`: a key that works, renewed in time, whatever goes wrong meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import httpx
import pytest
from litellm_orchestrator_client.cli.clock import Moment

from .conftest import Laptop
from .standin import FakeClock, StandIn

HOUR, MINUTE = 3600, 60
_KEY = 12 * HOUR


@pytest.fixture
def signed_in(laptop: Laptop, service: StandIn) -> Laptop:
    """With a new key of twelve hours, `sk-2`."""
    laptop("login", service.origin)
    return laptop


def test_a_key_that_is_good_costs_the_service_nothing(signed_in: Laptop, service: StandIn) -> None:
    """It is printed as it is until an hour before its end, and then renewed once."""
    for _ in range(11):
        assert signed_in.key() == "sk-2"
        signed_in.clock.passes(HOUR - 1)
    assert service.asked_for("refresh_token") == 0
    signed_in.clock.passes(MINUTE)
    assert signed_in.key() == "sk-3"
    assert signed_in.key() == "sk-3"
    assert service.asked_for("refresh_token") == 1


def test_a_short_key_is_renewed_when_a_third_is_left(laptop: Laptop, service: StandIn) -> None:
    """A quarter of an hour: after ten minutes."""
    service.key_life = 15 * MINUTE
    laptop("login", service.origin)
    laptop.clock.passes(10 * MINUTE)
    assert laptop.key() == "sk-2"
    laptop.clock.passes(1)
    assert laptop.key() == "sk-3"


@pytest.mark.parametrize("seconds", [-600, 600], ids=["behind", "ahead"])
def test_a_clock_that_is_ten_minutes_off(laptop: Laptop, service: StandIn, seconds: int) -> None:
    """Nothing depends on it, since lives count from their receipt: the same renewals as with a right one."""
    laptop.clock.time += seconds
    laptop("login", service.origin)
    laptop.clock.passes(11 * HOUR)
    assert laptop.key() == "sk-2"
    laptop.clock.passes(MINUTE)
    assert laptop.key() == "sk-3"


def after_a_restart(clock: FakeClock) -> None:
    clock.up = 60.0


@pytest.mark.parametrize("happens", [lambda clock: None, after_a_restart], ids=["running on", "restarted"])
def test_a_clock_that_is_set_back_ten_minutes(
    signed_in: Laptop, service: StandIn, happens: Callable[[FakeClock], None]
) -> None:
    """A key is never printed after its end: it is renewed before that, as the margin is longer."""
    signed_in.clock.passes(11 * HOUR)
    signed_in.clock.time -= 600
    happens(signed_in.clock)
    signed_in.clock.passes(11 * MINUTE)
    assert signed_in.key() == "sk-3"


def test_a_clock_that_is_set_back_before_the_receipt(signed_in: Laptop, service: StandIn) -> None:
    """After a restart nobody knows how old the key is: it is renewed."""
    signed_in.clock.time -= 600
    after_a_restart(signed_in.clock)
    assert signed_in.key() == "sk-3"


def test_a_machine_that_slept(signed_in: Laptop) -> None:
    """The uptime stood still; the wall clock knows."""
    signed_in.clock.time += 20 * HOUR
    assert signed_in.key() == "sk-3"


def test_the_service_is_away_for_an_hour(signed_in: Laptop, service: StandIn) -> None:
    """The key is printed with a warning while it works, then exit code 4, then all is well by itself."""
    signed_in.clock.passes(11 * HOUR + MINUTE)
    for _ in range(59):
        service.next_answers = [503]
        result = signed_in("token")
        assert result.stdout == "sk-2\n"
        assert "cannot answer now (503). busy. The key works for" in result.stderr
        signed_in.clock.passes(MINUTE)
    service.next_answers = [503]
    result = signed_in("token", code=4)
    assert (result.stdout, "cannot answer now" in result.stderr) == ("", True)
    signed_in.clock.passes(MINUTE)
    assert signed_in.key() == "sk-3"


def test_a_service_that_is_not_there(signed_in: Laptop, service: StandIn) -> None:
    """The connection is refused: the same, and others of this machine do not try for five seconds."""
    signed_in.clock.passes(_KEY - MINUTE)
    tried: list[str] = []

    def refused(request: httpx.Request) -> httpx.Response:
        tried.append(request.url.path)
        raise httpx.ConnectError("[Errno 111] Connection refused")

    signed_in.machine.transport = httpx.MockTransport(refused)
    for _ in range(10):
        assert signed_in("token").stdout == "sk-2\n"
    assert len(tried) == 1
    signed_in.clock.passes(MINUTE)
    for _ in range(10):
        assert "Connection refused" in signed_in("token", code=4).stderr
    assert len(tried) == 2


def test_a_service_that_does_not_answer(signed_in: Laptop) -> None:
    """It is asked twice, with limits that together end before Codex's; then the key is printed."""
    signed_in.clock.passes(_KEY - MINUTE)
    limits: list[float] = []

    def silent(request: httpx.Request) -> httpx.Response:
        limits.append(request.extensions["timeout"]["read"])
        raise httpx.ReadTimeout("timed out")

    signed_in.machine.transport = httpx.MockTransport(silent)
    assert "did not answer in time. The key works for 1 min more." in signed_in("token").stderr
    assert limits == [4, 4]


def test_an_authority_that_is_not_trusted(signed_in: Laptop) -> None:
    """The sentence names the variable that helps."""
    signed_in.clock.passes(_KEY)

    def untrusted(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed")

    signed_in.machine.transport = httpx.MockTransport(untrusted)
    assert "set SSL_CERT_FILE" in signed_in("token", code=4).stderr


@pytest.mark.parametrize("instead", [None, 502, 503, 504], ids=["a closed connection", "502", "503", "504"])
def test_a_lost_answer_is_asked_for_again(signed_in: Laptop, service: StandIn, instead: int | None) -> None:
    """At once and with the same token, so that it is the same answer, and no theft. A proxy has a page of its own."""
    signed_in.clock.passes(_KEY)
    service.next_answers = ["lost" if instead is None else ("lost", instead)]
    assert signed_in.key() == "sk-3"
    assert [form["refresh_token"] for path, form in service.asked if form.get("grant_type") == "refresh_token"] == [
        "refresh-2"
    ] * 2
    assert not service.sessions["session-1"].ended


def test_an_answer_that_takes_long(signed_in: Laptop, service: StandIn) -> None:
    """Who gave up on it asks until the service has made it: minutes later, the same token would be theft."""
    signed_in.clock.passes(_KEY)
    busy = (503, {"error": "temporarily_unavailable", "error_description": "The same request is running; retry"}, 1)
    service.next_answers = ["lost", busy, busy]
    assert signed_in.key() == "sk-3"
    signed_in.clock.passes(_KEY)
    assert signed_in.key() == "sk-4"


def test_a_crash_between_the_answer_and_the_store(signed_in: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next run within half a minute gets the same answer, and keeps it."""
    signed_in.clock.passes(_KEY)
    with monkeypatch.context() as patched:
        patched.setattr("litellm_orchestrator_client.cli.store.Store.update", _killed)
        with pytest.raises(KeyboardInterrupt):
            signed_in.machine.renewal().tokens(signed_in.machine.choose(None, None))
    signed_in.clock.passes(20)
    assert signed_in.key() == "sk-3"
    signed_in.clock.passes(_KEY)
    assert signed_in.key() == "sk-4"


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_stolen_refresh_token(signed_in: Laptop, service: StandIn) -> None:
    """The thief used it first: the service ends the session, and each call here says so without another request."""
    signed_in.clock.passes(_KEY)
    service.answer("token", {"grant_type": "refresh_token", "refresh_token": "refresh-2"})
    signed_in.clock.passes(31)
    for _ in range(3):
        result = signed_in("token", code=2)
        assert result.stdout == ""
        assert f"has ended. Sign in again: litellm-key login {service.service}" in result.stderr
    assert service.asked_for("refresh_token") == 1
    assert "refresh-" not in "".join(path.read_text() for path in (signed_in.machine.folder / "sessions").iterdir())
    assert "has ended" in signed_in("sessions").stdout


def test_a_person_who_leaves(desktop: Laptop, service: StandIn) -> None:
    """`invalid_grant`: exit code 2, no page opens, and the keyring is empty."""
    desktop("login", service.origin)
    desktop.pages.clear()
    service.sessions["session-1"].ended = True
    desktop.clock.passes(_KEY)
    for arguments in (("token",), ("env",), ("exec", "--", "true")):
        assert "Sign in again" in desktop(*arguments, code=2).stderr
    assert (desktop.pages, desktop.keyring.secrets) == ([], {})


@pytest.mark.parametrize("error", ["unauthorized_client", "unsupported_grant_type", "invalid_client"])
def test_the_service_refuses(signed_in: Laptop, service: StandIn, error: str) -> None:
    """RFC 6749's other errors are exit code 3; a key that works is still printed, and the session stays."""
    signed_in.clock.passes(_KEY - MINUTE)
    refusal = (400, {"error": error, "error_description": "Without a catalog token"})
    service.next_answers = [refusal]
    assert signed_in("token").stdout == "sk-2\n"
    signed_in.clock.passes(MINUTE)
    service.next_answers = [refusal]
    result = signed_in("token", code=3)
    assert (result.stdout, "refused: Without a catalog token" in result.stderr) == ("", True)
    assert signed_in.key() == "sk-3"


def test_a_rate_limit_is_an_outage(signed_in: Laptop, service: StandIn) -> None:
    """429 is exit code 4."""
    signed_in.clock.passes(_KEY)
    service.next_answers = [429]
    signed_in("token", code=4)


def test_a_key_that_litellm_does_not_take_any_more(signed_in: Laptop, service: StandIn) -> None:
    """Blocked, or ended on the console: a tool that asks again after its 401 gets another one, or "sign in"."""
    signed_in.clock.passes(2 * MINUTE)
    service.keys.clear()
    assert signed_in.key() == "sk-3"
    signed_in.clock.passes(2 * MINUTE)
    service.keys.clear()
    service.sessions["session-1"].ended = True
    signed_in("token", code=2)


def test_a_new_key_that_litellm_does_not_take_is_not_replaced(signed_in: Laptop, service: StandIn) -> None:
    """Something else is wrong then, and each call would make a key."""
    service.keys.clear()
    for _ in range(5):
        signed_in.clock.passes(6)
        assert signed_in.key() == "sk-2"
    assert service.asked_for("refresh_token") == 0


@pytest.mark.parametrize("answer", [(401, b"<html>ingress"), (500, b""), (403, b"{}")])
def test_what_is_no_word_of_litellm_about_a_key(signed_in: Laptop, service: StandIn, answer: tuple[int, bytes]) -> None:
    """An ingress' 401 and an outage of LiteLLM do not replace a key."""
    signed_in.clock.passes(2 * MINUTE)
    signed_in.machine.transport = httpx.MockTransport(lambda _: httpx.Response(answer[0], content=answer[1]))
    assert signed_in.key() == "sk-2"
    assert service.asked_for("refresh_token") == 0


def test_a_folder_that_became_read_only(signed_in: Laptop, service: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """A good key is printed; what could not be kept is not asked for, since the session would end at the next use."""

    def read_only(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("litellm_orchestrator_client.cli.files.replace", read_only)
    signed_in.clock.passes(_KEY - MINUTE)
    result = signed_in("token")
    assert result.stdout == "sk-2\n"
    assert "Read-only file system): set LITELLM_KEY_HOME to a folder that can. The key works for" in result.stderr
    signed_in.clock.passes(MINUTE)
    assert "Read-only file system" in signed_in("token", code=1).stderr
    monkeypatch.setattr("filelock.FileLock.acquire", read_only)
    assert "cannot be locked" in signed_in("token", code=1).stderr
    assert service.asked_for("refresh_token") == 0


def test_a_keyring_that_takes_nothing_any_more(desktop: Laptop, service: StandIn) -> None:
    """Between the answer and the store: the key works for this run, and the person is told."""
    desktop("login", service.origin)
    desktop.clock.passes(_KEY)
    desktop.keyring.full = True
    result = desktop("token")
    assert result.stdout == "sk-3\n"
    assert (
        "could not be kept in the system's keyring: it did not keep what it was given. This key works; sign in again"
        in result.stderr
    )


def test_a_file_that_somebody_spoilt(signed_in: Laptop) -> None:
    """Is no traceback: sign in first."""
    [path] = (signed_in.machine.folder / "sessions").glob("*.json")
    text = path.read_text()
    for spoilt in (text.replace('"key":', '"kex":'), text.replace("43200.0", '"x"')):
        path.write_text(spoilt)
        assert "Sign in first" in signed_in("token", code=2).stderr
    path.write_text("{")
    assert "Sign in first" in signed_in("token", code=2).stderr
    assert signed_in("sessions").stdout == ""


def test_an_operator_who_has_not_said_where_litellm_is(laptop: Laptop, service: StandIn) -> None:
    """`litellm_url` is null: `token` prints the key, and what needs the address says who can help."""
    laptop("login", service.origin)
    laptop.clock.passes(_KEY)
    service.next_answers = [(200, service.granted("session-1") | {"litellm_url": None})]
    assert laptop.key() == "sk-3"
    laptop.clock.passes(2 * MINUTE)
    assert laptop.key() == "sk-3"
    for arguments in (("env",), ("exec", "--", "true"), ("configure", "claude-code")):
        assert "sets liteLLM.publicUrl" in laptop(*arguments, code=1).stderr
    assert "litellm    unknown" in laptop("whoami").stdout


def test_a_clock_that_is_set_back_for_hours(signed_in: Laptop) -> None:
    """The uptime knows how old the key is."""
    signed_in.clock.passes(11 * HOUR + MINUTE)
    signed_in.clock.time -= 3 * HOUR
    assert signed_in.key() == "sk-3"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("SSL_CERT_FILE", "/dev/null/none", "Not a directory"),
        ("REQUESTS_CA_BUNDLE", "/dev/null/none", "Not a directory"),
        ("ALL_PROXY", "socks5://localhost:1", "socksio"),
        ("ALL_PROXY", "gopher://localhost:1", "gopher"),
    ],
)
def test_a_variable_that_cannot_be_used(
    signed_in: Laptop, monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    """A key that works is printed, and no traceback; then the sentence names the variables."""
    monkeypatch.delenv("SSL_CERT_DIR")
    monkeypatch.setenv(name, value)
    signed_in.clock.passes(2 * MINUTE)
    assert signed_in.key() == "sk-2"
    signed_in.clock.passes(11 * HOUR + MINUTE)
    result = signed_in("token")
    assert result.stdout == "sk-2\n"
    assert "The key works for" in result.stderr
    signed_in.clock.passes(HOUR)
    said = signed_in("token", code=1).stderr
    assert "REQUESTS_CA_BUNDLE or a proxy's variable cannot be used: " in said
    assert says in said


def test_an_answer_that_cannot_be_decoded(signed_in: Laptop) -> None:
    """As a broken proxy gives it: an outage."""
    signed_in.clock.passes(_KEY)
    headers = {"Content-Encoding": "gzip"}
    signed_in.machine.transport = httpx.MockTransport(
        lambda _: httpx.Response(200, headers=headers, stream=httpx.ByteStream(b"no gzip"))
    )
    assert "cannot be reached" in signed_in("token", code=4).stderr


def test_an_address_that_is_not_encrypted(signed_in: Laptop, service: StandIn) -> None:
    """`login localhost:7007` means https: the sentence says what it may be."""
    assert "is it http://?" in signed_in("login", service.origin.removeprefix("http://"), code=4).stderr


def test_a_file_system_whose_locks_lock_nobody(signed_in: Laptop) -> None:
    """Another process has renewed meanwhile, so the token is an old one: what it has kept is used, not forgotten."""
    session = signed_in.machine.choose(None, None)
    store = signed_in.machine.store()
    signed_in.clock.passes(_KEY)
    newer = replace(store.tokens(session), key="sk-9", refresh_token="refresh-9", received=Moment.now(signed_in.clock))

    def raced(_: httpx.Request) -> httpx.Response:
        store.update(session, newer)
        return httpx.Response(400, json={"error": "invalid_grant"})

    signed_in.machine.transport = httpx.MockTransport(raced)
    assert signed_in.key() == "sk-9"
    assert store.tokens(session) == newer


@pytest.mark.parametrize("name", ["access_token", "refresh_token"])
@pytest.mark.parametrize("value", ["", "sk-3\nexport A=1", "sk-3\x1b[2J", "sk 3"])
def test_what_is_no_secret(signed_in: Laptop, service: StandIn, name: str, value: str) -> None:
    """A line, a header and a terminal could be fooled by it: it is printed nowhere, and the old one is kept."""
    signed_in.clock.passes(_KEY)
    service.next_answers = [(200, service.granted("session-1") | {name: value})]
    result = signed_in("token", code=4)
    assert (result.stdout, "not this service's" in result.stderr) == ("", True)
    assert signed_in.machine.store().tokens(signed_in.machine.choose(None, None)).refresh_token == "refresh-2"
