"""A caller's connection: what comes too late or is too large is refused, and a probe is answered all the same."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import httpx
import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from edge.capacity import Capacity
from edge.connection import CROWDED, Connection
from edge.errors import RoutingError
from settings.model import ConnectionLimits
from tests.conftest import BASE
from tests.support.contract import check_error_body, is_valid

LIMITS = ConnectionLimits(head_seconds=10, body_seconds=30, max_connections=2)
HEAD = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n"


class Loop:
    """Timers that a test runs by hand, and tasks that never run."""

    def __init__(self) -> None:
        self.timers: dict[asyncio.TimerHandle, tuple[float, Callable[[], object]]] = {}

    def call_later(self, seconds: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(seconds, callback, (), asyncio.get_running_loop())
        self.timers[handle] = (seconds, callback)
        return handle

    def create_task(self, coroutine: Any, **_: Any) -> asyncio.Future[None]:
        coroutine.close()
        return asyncio.get_running_loop().create_future()

    @property
    def pending(self) -> list[float]:
        return [seconds for handle, (seconds, _) in self.timers.items() if not handle.cancelled()]

    def elapse(self) -> None:
        """Runs what was waited for."""
        for handle in [handle for handle in self.timers if not handle.cancelled()]:
            _, callback = self.timers.pop(handle)
            callback()


class Transport(asyncio.Transport):
    """Where a connection writes."""

    def __init__(self) -> None:
        super().__init__()
        self.written, self.closed, self.aborted = b"", False, False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    @property
    def refusal(self) -> tuple[int, str]:
        """Status and name of the error that was written. It is complete, and has its form and its headers."""
        head, _, body = self.written.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        status = int(head.split()[1])
        assert (headers["Connection"], int(headers["Content-Length"])) == ("close", len(body))
        assert ("Retry-After" in headers) is (status == 503)
        assert (headers["X-Content-Type-Options"], headers["Referrer-Policy"]) == ("nosniff", "no-referrer")
        response = httpx.Response(status, content=body, headers=headers, request=httpx.Request("", ""))
        check_error_body(response)
        return status, json.loads(body)["error"]["name"]


async def unreachable(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError


class Caller:
    """A connection, and what is at its other end."""

    def __init__(self, state: ServerState, loop: Loop) -> None:
        config = Config(unreachable, log_config=None)
        config.load()
        self.transport, self.loop = Transport(), loop
        self.connection = Connection(config, state, {}, loop, limits=LIMITS)
        self.connection.connection_made(self.transport)

    def sends(self, data: bytes) -> None:
        self.connection.data_received(data)

    def is_answered(self) -> None:
        """The application completed its response."""
        self.connection.cycle.response_complete = True
        self.connection.on_response_complete()


@pytest.fixture
async def loop() -> Loop:
    return Loop()


@pytest.fixture
async def caller(loop: Loop) -> Caller:
    return Caller(ServerState(), loop)


@pytest.mark.parametrize(
    "sent", [b"", b"GET /x HTTP", b"GET /x HTTP/1.1\r\nHost: a\r\n"], ids=["nothing", "line", "half"]
)
async def test_a_head_has_ten_seconds(caller: Caller, sent: bytes) -> None:
    """From the beginning of the connection, however slowly its parts arrive."""
    for byte in sent:
        caller.sends(bytes([byte]))
    assert caller.loop.pending == [10]
    caller.loop.elapse()
    assert (caller.transport.refusal, caller.transport.closed) == ((408, "RequestTimeoutError"), True)


async def test_a_body_that_nobody_reads_does_not_keep_the_connection(caller: Caller) -> None:
    """The application has its own, shorter deadline, so this closes without a response."""
    caller.sends(HEAD + b"12")
    assert caller.loop.pending == [35]
    caller.loop.elapse()
    assert (caller.transport.written, caller.transport.closed) == (b"", True)


async def test_a_complete_request_has_no_deadline_here(caller: Caller) -> None:
    """Whatever the application waits for has deadlines of its own."""
    caller.sends(HEAD + b"1234")
    assert caller.loop.pending == []


async def test_the_next_request_has_its_own_deadline(caller: Caller) -> None:
    """Also after an empty line, for which uvicorn forgets that the connection is idle."""
    caller.sends(HEAD + b"1234")
    caller.is_answered()
    assert caller.loop.pending == [5]
    caller.sends(b"\r\n")
    assert caller.loop.pending == [10]
    caller.sends(b"GET /")
    assert caller.loop.pending == [10]
    caller.loop.elapse()
    assert caller.transport.refusal == (408, "RequestTimeoutError")


async def test_a_head_has_64_kibibytes(caller: Caller) -> None:
    """Path and headers together; a body is counted elsewhere."""
    caller.sends(b"GET /x HTTP/1.1\r\n")
    for _ in range(64):
        caller.sends(b"X-A: " + b"a" * 1000 + b"\r\n")
    assert not caller.transport.closed
    for _ in range(2):
        caller.sends(b"X-A: " + b"a" * 1000 + b"\r\n")
    assert (caller.transport.refusal, caller.transport.closed) == ((431, "RequestHeaderFieldsTooLargeError"), True)
    assert caller.loop.pending == []


@pytest.mark.parametrize(("path", "is_oauths"), [("oauth/token", True), ("me", False)])
async def test_what_is_refused_below_oauth(caller: Caller, path: str, *, is_oauths: bool) -> None:
    """Too large a head has OAuth's form there, whose clients read no other."""
    caller.sends(f"POST {BASE}/{path} HTTP/1.1\r\nX-A: {'a' * 70_000}".encode())
    status, body = int(caller.transport.written.split()[1]), json.loads(caller.transport.written.rpartition(b"\r\n")[2])
    assert (status, body["error"] == "invalid_request") == (431, is_oauths)
    assert is_valid(body, {"$ref": f"#/components/schemas/{'OAuthError' if is_oauths else 'ApiError'}"})


LONG = b"X-A: " + b"a" * 1000 + b"\r\n"
HEADS = {
    "headers": b"GET /x HTTP/1.1\r\n" + LONG * 100 + b"\r\n",
    "one header": b"GET /x HTTP/1.1\r\nX-A: " + b"a" * 100_000 + b"\r\n\r\n",
    "a path": b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n",
    "a query": b"GET /x?" + b"y=1&" * 25_000 + b" HTTP/1.1\r\n\r\n",
    "trailers": b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + LONG * 100 + b"\r\n",
    "the second of two": HEAD + b"1234" + b"GET /x HTTP/1.1\r\n" + LONG * 100 + b"\r\n",
}


@pytest.mark.parametrize("piece", [1_000_000, 4096, 7], ids=["in one read", "in pages", "in drops"])
@pytest.mark.parametrize("head", HEADS)
async def test_a_head_of_100_kilobytes_is_refused_however_it_comes(caller: Caller, head: str, piece: int) -> None:
    """A sender may write it at once or in any pieces; behind a request that is being answered it only closes."""
    sent = HEADS[head]
    for start in range(0, len(sent), piece):
        if not caller.transport.closed:
            caller.sends(sent[start : start + piece])
    assert caller.transport.closed
    if head not in ("trailers", "the second of two"):
        assert caller.transport.refusal == (431, "RequestHeaderFieldsTooLargeError")
    assert caller.loop.pending == []


@pytest.mark.parametrize("piece", [1_000_000, 4096], ids=["in one read", "in pages"])
async def test_a_large_head_may_have_a_large_body(caller: Caller, piece: int) -> None:
    """60 KB of headers and 60 KB of body, which has a limit of its own."""
    sent = b"POST /x HTTP/1.1\r\nContent-Length: 60000\r\n" + LONG * 60 + b"\r\n" + b"b" * 60_000
    for start in range(0, len(sent), piece):
        caller.sends(sent[start : start + piece])
    assert (caller.transport.closed, caller.transport.written) == (False, b"")
    assert len(list(caller.connection.scope["headers"])) == 61


async def test_what_is_not_http_is_refused(caller: Caller) -> None:
    """In the same form as every other error."""
    caller.sends(b"\x16\x03\x01\x02\x00 hello")
    assert (caller.transport.refusal, caller.transport.closed) == ((400, "InputError"), True)


async def test_a_response_under_way_is_not_mixed_up(caller: Caller) -> None:
    """A second request that is too late closes the connection, and adds nothing."""
    caller.sends(HEAD + b"1234" + b"GET /y HTT")
    caller.loop.elapse()
    assert (caller.transport.written, caller.transport.closed) == (b"", True)


async def test_a_caller_who_does_not_read_is_cut_off(caller: Caller) -> None:
    """After as long as a body may take; a caller who goes on reading is not."""
    caller.sends(HEAD + b"1234")
    caller.connection.pause_writing()
    assert caller.loop.pending == [30]
    caller.connection.resume_writing()
    assert caller.loop.pending == []
    caller.connection.pause_writing()
    caller.loop.elapse()
    assert caller.transport.aborted


async def test_a_lost_connection_leaves_no_timer(caller: Caller) -> None:
    """Whatever it waited for."""
    caller.sends(HEAD)
    caller.connection.pause_writing()
    caller.connection.connection_lost(None)
    assert caller.loop.pending == []


async def test_too_many_connections_are_refused_by_name(loop: Loop) -> None:
    """Above the limit a request is marked; a hundred above it, a connection is closed at once."""
    state = ServerState()
    callers = [Caller(state, loop) for _ in range(103)]
    callers[1].sends(HEAD)
    assert callers[1].connection.scope["state"][CROWDED] is True
    assert (callers[101].transport.closed, callers[102].transport.closed) == (False, True)
    assert callers[102].transport.refusal == (503, "ServiceUnavailableError")
    for caller in callers[2:]:
        caller.connection.connection_lost(None)
    callers[0].sends(HEAD)
    assert callers[0].connection.scope["state"][CROWDED] is False


@pytest.mark.parametrize(
    ("path", "refused"),
    [(f"{BASE}/me", True), ("/.backstage/health/v1/liveness", False), ("/.backstage/health/v1/readiness", False)],
)
async def test_probes_are_answered_all_the_same(path: str, refused: bool) -> None:
    """An orchestrator must not kill a process that is only busy."""
    reached = []

    async def application(scope: Any, *_: Any) -> None:
        reached.append(scope["path"])

    scope = {"type": "http", "path": path, "state": {CROWDED: True}}
    expected = pytest.raises(RoutingError, match="Too many connections") if refused else nullcontext()
    with expected as raised:
        await Capacity(application)(scope, None, None)  # type: ignore[arg-type]  # neither is used
    if raised is not None:
        assert (raised.value.status, raised.value.headers) == (503, {"Retry-After": "5", "Connection": "close"})
    assert reached == ([] if refused else [path])
