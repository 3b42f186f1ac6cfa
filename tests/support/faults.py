"""A TCP proxy in front of an upstream that does to a response whatever networks and servers do."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import aiohttp

Respond = Callable[["Exchange"], Awaitable[None]]


@dataclass
class Exchange:
    """One request at the proxy: what was asked, the caller's connection, and the real response, once it is wanted."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    upstream: str

    @property
    def is_abandoned(self) -> bool:
        """Whether the caller has closed its connection."""
        return self.reader.at_eof() or self.writer.is_closing()

    async def real(self) -> bytes:
        """The upstream's response to this request, as bytes."""
        async with aiohttp.ClientSession() as session:
            kept = {name: value for name, value in self.headers.items() if name not in {"host", "content-length"}}
            request = session.request(self.method, self.upstream + self.target, headers=kept, data=self.body or None)
            async with request as response:
                return response_bytes(response.status, await response.read(), response.content_type)

    def reset(self) -> None:
        """Ends the connection with a RST."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


def response_bytes(status: int, body: bytes, media_type: str = "application/json", **headers: str) -> bytes:
    """A complete HTTP/1.1 response."""
    fields = {"Content-Type": media_type, "Content-Length": str(len(body))}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + body


async def pass_on(exchange: Exchange) -> None:
    """No fault."""
    exchange.writer.write(await exchange.real())


class _Ahead:
    """An event loop's clock, so many seconds ahead of the real one."""

    def __init__(self, real: Callable[[], float]) -> None:
        self._real, self.seconds = real, 0.0

    def __call__(self) -> float:
        return self._real() + self.seconds


async def pass_time(seconds: float) -> None:
    """The clock of this event loop jumps: its timeouts end without anybody waiting, so they need not be short."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop.time, _Ahead):
        loop.time = _Ahead(loop.time)  # type: ignore[method-assign]  # an event loop has no other way to another clock
    loop.time.seconds += seconds
    await asyncio.sleep(0)


async def never_answer(exchange: Exchange) -> None:
    while not exchange.is_abandoned:
        await pass_time(0.2)


async def reset_before(exchange: Exchange) -> None:
    exchange.reset()


async def reset_during(exchange: Exchange) -> None:
    response = await exchange.real()
    exchange.writer.write(response[: len(response) - 5])
    await exchange.writer.drain()
    exchange.reset()


async def reset_after(exchange: Exchange) -> None:
    """The upstream did what was asked, and nobody hears of it."""
    await exchange.real()
    exchange.reset()


async def drip(exchange: Exchange) -> None:
    """A byte at a time, each well within the timeout of a read."""
    for byte in await exchange.real():
        if exchange.is_abandoned:
            return
        exchange.writer.write(bytes([byte]))
        await pass_time(0.5)


def answer(status: int, body: object, media_type: str = "application/json", **headers: str) -> Respond:
    """The same response to everything."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def respond(exchange: Exchange) -> None:
        exchange.writer.write(response_bytes(status, content, media_type, **headers))

    return respond


def _flowing() -> asyncio.Event:
    flows = asyncio.Event()
    flows.set()
    return flows


@dataclass
class Line:
    """A TCP connection to `host` and `port` that can be cut (what is open ends, and what is new is refused) or stalled.

    A line that is stalled accepts connections and what is sent on them, and passes nothing on, not even their end.
    """

    host: str
    port: int
    local_port: int = 0
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _flows: asyncio.Event = field(default_factory=_flowing)
    _lost: list[asyncio.Event] = field(default_factory=list)

    async def mend(self) -> None:
        """Accepts connections, each time at the same port."""
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", self.local_port)
        self.local_port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Ends every connection and refuses new ones."""
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        for flows in (self._flows, *self._lost):
            flows.set()

    def stall(self) -> None:
        """Nothing is passed on, on those connections that there are and on new ones."""
        self._flows.clear()

    def flow(self) -> None:
        """Everything is passed on, also what was held back."""
        self._flows.set()

    def fail_over(self) -> None:
        """Nothing is ever passed on again on the connections that there are; new ones work."""
        self._flows.clear()
        self._lost.append(self._flows)
        self._flows = _flowing()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        flows = self._flows
        self._writers.add(writer)
        with suppress(ConnectionError):
            await flows.wait()
            far_reader, far_writer = await asyncio.open_connection(self.host, self.port)
            self._writers.add(far_writer)
            await asyncio.gather(_copy(reader, far_writer, flows), _copy(far_reader, writer, flows))
            self._writers.discard(far_writer)
        self._writers.discard(writer)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flows: asyncio.Event) -> None:
    try:
        while True:
            received = await reader.read(65536)
            await flows.wait()
            if not received:
                return
            writer.write(received)
            await writer.drain()
    finally:
        writer.close()


@dataclass
class FaultyProxy:
    """`fault` is done to the requests for which `applies`; `calls` are all that arrived."""

    upstream: str
    fault: Respond = pass_on
    applies: Callable[[str], bool] = lambda _: True
    calls: list[tuple[str, str, bytes]] = field(default_factory=list)
    port: int = 0
    _server: asyncio.Server | None = None
    _connections: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def listen(self) -> None:
        """Accepts connections, from the second time on at the same port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Accepts no connection any more, and ends those that there are."""
        assert self._server is not None
        self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._exchange(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            writer.close()
            self._connections.discard(task)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                line, *fields = head.decode("latin-1").rstrip("\r\n").split("\r\n")
                method, target, _ = line.split(" ")
                headers = {name.lower(): value.strip() for name, _, value in (row.partition(":") for row in fields)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                self.calls.append((method, target, body))
                respond = self.fault if self.applies(method) else pass_on
                await respond(Exchange(method, target, headers, body, reader, writer, self.upstream))
                await writer.drain()


@asynccontextmanager
async def faulty(upstream: str) -> AsyncIterator[FaultyProxy]:
    """A proxy in front of `upstream`."""
    proxy = FaultyProxy(upstream)
    await proxy.listen()
    try:
        yield proxy
    finally:
        await proxy.refuse()


@asynccontextmanager
async def unreachable() -> AsyncIterator[str]:
    """An address where a connection is neither accepted nor refused: its queue is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(address)
        try:
            yield f"http://127.0.0.1:{address[1]}"
        finally:
            for each in waiting:
                each.close()
