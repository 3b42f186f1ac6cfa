"""The yardstick: a bare ASGI function that forwards each request over httpx and aiohttp, and does nothing else."""

from __future__ import annotations

import os

import httpx
from httpx_aiohttp import AiohttpTransport
from starlette.types import Receive, Scope, Send

_client: list[httpx.AsyncClient] = []


async def app(scope: Scope, _: Receive, send: Send) -> None:
    """Forwards path and query to the stub."""
    if scope["type"] != "http":
        return
    if not _client:
        _client.append(httpx.AsyncClient(base_url=os.environ["BENCH_STUB"], transport=AiohttpTransport()))
    answer = await _client[0].get(f"{scope['path']}?{scope['query_string'].decode()}")
    content = answer.content
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})
