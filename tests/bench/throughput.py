"""Requests a second of `GET …/keys`, beside a bare Starlette pass-through over the same stub, in one run.

Absolute figures drift with the machine; the ratio is what counts. One process each, 16 connections.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from clients.litellm.fields import KEY_FIELDS
from standalone.litellm_rows import Rows
from tests.conftest import ALICE, keys_path
from tests.support.processes import ROOT

_TOKEN = "bench-service-token"
_CONNECTIONS = 16
_SECONDS = 5.0
_STUB, _SERVICE, _PLAIN, _AIOHTTP = range(7301, 7305)


def stub() -> ASGIApp:
    """A LiteLLM that has one user with ten keys and answers at once."""
    rows = Rows(time.time, lambda: str(time.perf_counter_ns()))
    user = json.dumps(rows.add_user({"user_id": ALICE})).encode()
    keys = [rows.add_key({"user_id": ALICE})[0] for _ in range(10)]
    assert keys[0].keys() >= KEY_FIELDS.keys() - {"last_active"}
    listed = json.dumps({"keys": keys, "total_count": 10, "current_page": 1, "total_pages": 1}).encode()

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = listed if scope["path"] == "/key/list" else user
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return answer


def _pass_through(transport: httpx.AsyncBaseTransport | None) -> ASGIApp:
    client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{_STUB}", transport=transport)

    async def forward(_: Request) -> Response:
        answer = await client.get("/key/list", params={"user_id": ALICE, "return_full_object": "true"})
        return Response(answer.content, media_type="application/json")

    return Starlette(routes=[Route("/{path:path}", forward)])


def plain() -> ASGIApp:
    """A pass-through that does nothing else, over httpx as it comes."""
    return _pass_through(None)


def over_aiohttp() -> ASGIApp:
    """The same over the transport that this service uses."""
    return _pass_through(AiohttpTransport())


async def _measure(port: int, path: str, headers: Mapping[str, str]) -> tuple[float, float]:
    """Requests a second, and the 99th percentile in milliseconds."""
    took: list[float] = []
    connector = aiohttp.TCPConnector(limit=_CONNECTIONS)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", connector=connector, headers=headers) as session:

        async def ask(until: float) -> None:
            while (started := time.perf_counter()) < until:
                async with session.get(path) as answer:
                    await answer.read()
                    assert answer.status == 200
                took.append(time.perf_counter() - started)

        await asyncio.gather(*(ask(time.perf_counter() + 1) for _ in range(_CONNECTIONS)))
        took.clear()
        await asyncio.gather(*(ask(time.perf_counter() + _SECONDS) for _ in range(_CONNECTIONS)))
    return len(took) / _SECONDS, sorted(took)[int(len(took) * 0.99)] * 1000


async def _until_open(port: int) -> None:
    for _ in range(400):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        await asyncio.sleep(0.05)
    raise TimeoutError(port)


async def main() -> None:
    """Start everything, measure one after the other, print a line each."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "app-config.yaml"
        config.write_text(
            f"""
            liteLLM: {{baseUrl: 'http://127.0.0.1:{_STUB}', masterKey: sk-x, adminGroup: a, allowedGroup: b}}
            backend: {{baseUrl: 'http://127.0.0.1:9', listen: '127.0.0.1:{_SERVICE}'}}
            litellmOrchestrator:
              database: {{url: 'sqlite:///{folder}/state.sqlite3'}}
              serviceTokens: [{{token: {_TOKEN}, subject: '{ALICE}', role: member}}]
            """
        )
        uvicorn = ["-m", "uvicorn", "--factory", "--http", "httptools", "--loop", "uvloop", "--no-access-log", "--port"]
        commands = {
            _STUB: [*uvicorn, str(_STUB), "tests.bench.throughput:stub"],
            _PLAIN: [*uvicorn, str(_PLAIN), "tests.bench.throughput:plain"],
            _AIOHTTP: [*uvicorn, str(_AIOHTTP), "tests.bench.throughput:over_aiohttp"],
            _SERVICE: ["-m", "cli", "serve", "--config", str(config)],
        }
        processes = []
        try:
            for port, command in commands.items():
                started = time.perf_counter()
                processes.append(
                    await asyncio.create_subprocess_exec(
                        sys.executable, *command, cwd=ROOT, stdout=DEVNULL, stderr=DEVNULL
                    )
                )
                await _until_open(port)
            print(f"this service listens {time.perf_counter() - started:.2f} s after its start")
            bearer = {"Authorization": f"Bearer {_TOKEN}"}
            names = {_PLAIN: "Starlette + httpx", _AIOHTTP: "Starlette + httpx-aiohttp", _SERVICE: "this service"}
            rates = {}
            for port, name in names.items():
                rates[port], p99 = await _measure(port, keys_path(ALICE), bearer)
                ratio = rates[port] / rates[_PLAIN]
                print(f"{name:26} {rates[port]:6.0f} requests/s  p99 {p99:5.1f} ms  {ratio:4.2f} x Starlette + httpx")
        finally:
            for process in processes:
                process.terminate()
            await asyncio.gather(*(process.wait() for process in processes))


if __name__ == "__main__":
    asyncio.run(main())
