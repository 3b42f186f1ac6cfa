"""Exchanges over real sockets: what a server may send instead of a response, and what we make of it."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress

import pytest

from clients.exchange import NetworkExchange, Reply
from domain.errors import (
    UpstreamBusyError,
    UpstreamError,
    UpstreamFaultError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from settings.model import Timeouts

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Server:
    """Answers each connection's requests with fixed bytes, and then closes it; None never answers."""

    def __init__(self, answer: bytes | None) -> None:
        self._answer = answer
        self.received: list[bytes] = []
        self._writers: list[asyncio.StreamWriter] = []

    @property
    def connections(self) -> int:
        return len(self._writers)

    async def aclose(self) -> None:
        for writer in self._writers:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        while request := await reader.read(65536):
            self.received.append(request)
            if self._answer is not None:
                writer.write(self._answer)
                if self._answer != OK:
                    break
        writer.close()


@asynccontextmanager
async def serving(answer: bytes | None) -> AsyncIterator[tuple[Server, str]]:
    server = Server(answer)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    async with listener:
        yield server, f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        await server.aclose()


@asynccontextmanager
async def exchanging(**timeouts: float) -> AsyncIterator[NetworkExchange]:
    exchange = NetworkExchange("LiteLLM", Timeouts(**timeouts))
    try:
        yield exchange
    finally:
        await exchange.aclose()


async def got(exchange: NetworkExchange, origin: str) -> tuple[int, bytes]:
    """The status and the body of what is there."""
    reply = await exchange("GET", origin, {}, None)
    return reply.status, reply.content


async def test_a_request_arrives_as_it_was_written() -> None:
    """The path stays encoded as it is, and the body is sent once."""
    async with serving(OK) as (server, origin), exchanging() as exchange:
        answer = await exchange("POST", f"{origin}/a%2Fb?q=c%20d%2Be", {"Authorization": "Bearer x"}, b"{}")
    assert (answer.status, answer.content) == (200, b"ok")
    (request,) = server.received
    assert request.startswith(b"POST /a%2Fb?q=c%20d%2Be HTTP/1.1\r\n")
    assert b"Authorization: Bearer x\r\n" in request
    assert request.endswith(b"\r\n\r\n{}")


async def test_a_connection_is_used_again() -> None:
    """Ten requests in a row need one connection."""
    async with serving(OK) as (server, origin), exchanging() as exchange:
        for _ in range(10):
            assert await got(exchange, origin) == (200, b"ok")
    assert server.connections == 1


async def test_a_compressed_body_is_unpacked() -> None:
    """A proxy before LiteLLM may compress."""
    packed = gzip.compress(b"ok" * 100)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    async with serving(head + packed) as (_, origin), exchanging() as exchange:
        assert await got(exchange, origin) == (200, b"ok" * 100)


@pytest.mark.parametrize("size", [1000, 1001, 50_000_000])
async def test_a_body_that_may_not_be_of_any_size(size: int) -> None:
    """What is unpacked counts, and the rest is not unpacked."""
    packed = gzip.compress(b" " * size)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    async with (
        serving(head + packed) as (_, origin),
        aclosing(NetworkExchange("LiteLLM", Timeouts(), max_bytes=1000)) as exchange,
    ):
        if size <= 1000:
            assert await got(exchange, origin) == (200, b" " * size)
        else:
            with pytest.raises(UpstreamFaultError, match="LiteLLM returned a response of more than 1000 bytes"):
                await got(exchange, origin)


async def test_redirects_are_not_followed_and_cookies_not_kept() -> None:
    """A redirect could take the master key elsewhere."""
    moved = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nSet-Cookie: a=canary\r\nContent-Length: 0\r\n\r\n"
    async with serving(moved) as (server, origin), exchanging() as exchange:
        assert await got(exchange, origin) == (302, b"")
        assert await got(exchange, origin) == (302, b"")
    assert len(server.received) == 2
    assert b"canary" not in b"".join(server.received)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", UpstreamUnavailableError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", UpstreamFaultError),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhal", UpstreamFaultError),
        (b"SSH-2.0-OpenSSH_9.2 sk-canary\r\n", UpstreamFaultError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: sk-canary\r\n\r\n", UpstreamFaultError),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 9\r\n\r\nsk-canary", UpstreamFaultError),
        (None, UpstreamTimeoutError),
    ],
    ids=repr,
)
async def test_what_is_not_a_response(answer: bytes | None, error: type[UpstreamError]) -> None:
    """Each has its own error, in our words."""
    async with serving(answer) as (_, origin), exchanging(read=0.05) as exchange:
        with pytest.raises(error) as raised:
            await exchange("GET", origin, {}, None)
    assert "canary" not in raised.value.message


def calling(exchange: NetworkExchange, origin: str, callers: int) -> list[asyncio.Task[Reply]]:
    return [asyncio.create_task(exchange("GET", origin, {}, None)) for _ in range(callers)]


async def connected(server: Server, connections: int) -> None:
    while server.connections < connections:  # noqa: ASYNC110  # a socket has no event for it
        await asyncio.sleep(0)


async def hang_up(callers: list[asyncio.Task[Reply]]) -> None:
    for caller in callers:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)


async def test_what_finds_no_free_connection_is_not_sent() -> None:
    """A hundred at a time; the next one waits as long as it may, and five hundred callers do not wait at all."""
    async with serving(None) as (server, origin), exchanging(pool=0, read=60) as exchange:
        callers = calling(exchange, origin, 100)
        await connected(server, 100)
        with pytest.raises(UpstreamBusyError, match="LiteLLM is busy: no connection became free within 0 s"):
            await exchange("GET", origin, {}, None)
        assert server.connections == 100
        await hang_up(callers)
    async with serving(None) as (server, origin), exchanging(pool=60, read=60) as exchange:
        callers = calling(exchange, origin, 500)
        await connected(server, 100)
        with pytest.raises(UpstreamBusyError, match="LiteLLM is busy; retry later"):
            await exchange("GET", origin, {}, None)
        await hang_up(callers)


async def test_a_connection_that_fails_becomes_free() -> None:
    """Two hundred failures in a row leave none behind."""
    async with serving(b"") as (_, origin), exchanging(pool=0) as exchange:
        for _ in range(200):
            with pytest.raises(UpstreamUnavailableError) as raised:
                await exchange("GET", origin, {}, None)
            assert not isinstance(raised.value, UpstreamBusyError)


async def test_a_port_where_nobody_listens() -> None:
    """It is unavailable, not slow."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with exchanging() as exchange:
        with pytest.raises(UpstreamUnavailableError):
            await exchange("GET", f"http://127.0.0.1:{port}", {}, None)


@pytest.mark.parametrize("host", ["litellm.invalid", "xn--a", "xn--a.invalid", "-.invalid", "a..invalid"])
async def test_a_name_that_does_not_exist(host: str) -> None:
    """The error is the same as for a refused connection (RFC 6761 reserves .invalid), also if it is no name at all."""
    async with exchanging() as exchange:
        for _ in range(2):
            with pytest.raises(UpstreamUnavailableError):
                await exchange("GET", f"http://{host}", {}, None)
