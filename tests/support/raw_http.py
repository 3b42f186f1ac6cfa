"""The service on a real uvicorn, and requests as bytes: HTTP clients mend what we want to send broken."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import uvicorn
from starlette.types import ASGIApp

from tests.support.contract import PATIENCE_SECONDS, check


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class _Server(uvicorn.Server):
    """A server that stops at once; uvicorn's own polls ten times a second, and waits a tenth of a second at its end."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening, self.stopping = asyncio.Event(), asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self.stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        while self.server_state.connections or self.server_state.tasks:  # noqa: ASYNC110  # uvicorn has no event for them
            await asyncio.sleep(0)
        await self.lifespan.shutdown()


@asynccontextmanager
async def serving(app: ASGIApp, *, port: int = 0, **options: Any) -> AsyncIterator[int]:
    """Serve `app` as `make run` does, on a port of loopback, by default a free one. `options` are uvicorn's."""
    listener = socket.create_server(("127.0.0.1", port))
    config = uvicorn.Config(app, http="httptools", lifespan="on", access_log=False, log_config=None, **options)
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    await server.listening.wait()
    try:
        yield listener.getsockname()[1]
    finally:
        server.stopping.set()
        await task


async def send(port: int, request: bytes) -> httpx.Response:
    """Sends the bytes as they are, reads the response, and checks it against the contract if the service sent it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    received = await asyncio.wait_for(reader.read(), timeout=PATIENCE_SECONDS)
    writer.close()
    head, _, content = received.partition(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").split("\r\n")
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    method, target, _ = request.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
    asked = httpx.Request(method, "http://orchestrator")
    response = httpx.Response(int(status_line.split(" ")[1]), headers=headers, content=content, request=asked)
    if "x-request-id" in response.headers:
        check(response, target.encode("latin-1"))
    return response


def request(method: str, target: str | bytes, token: str | None, body: bytes | None = None, **headers: str) -> bytes:
    """A request in bytes. Names of headers are given with `_` for `-`."""
    target = target.encode() if isinstance(target, str) else target
    fields = {"Host": "orchestrator", "Connection": "close"} | ({"Authorization": f"Bearer {token}"} if token else {})
    if body is not None and "Transfer_Encoding" not in headers:
        fields |= {"Content-Length": str(len(body)), "Content-Type": "application/json"}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = b"".join(f"{name}: {value}\r\n".encode() for name, value in fields.items() if value != "absent")
    return method.encode() + b" " + target + b" HTTP/1.1\r\n" + head + b"\r\n" + (body or b"")


def as_json(value: Any) -> bytes:
    """`value` as a body."""
    return json.dumps(value).encode()
