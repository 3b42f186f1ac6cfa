"""Upstreams that misbehave, as transports."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx

from standalone.litellm import LiteLLMStandIn

Answer = Callable[[httpx.Request], httpx.Response]


def refuse(request: httpx.Request) -> httpx.Response:
    """The connection is refused."""
    raise httpx.ConnectError("refused", request=request)


def hang(request: httpx.Request) -> httpx.Response:
    """No response arrives in time."""
    raise httpx.ReadTimeout("slow", request=request)


def respond(status: int, **content: Any) -> Answer:
    """Always the same response; `content` is that of httpx.Response."""
    return lambda _: httpx.Response(status, **content)


def answering(answer: httpx.Response | Answer | Exception) -> httpx.MockTransport:
    """Gives every request the same answer, or raises."""

    def handle(request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx.Response):
            return httpx.Response(answer.status_code, content=answer.content, headers=answer.headers)
        return answer(request)

    return httpx.MockTransport(handle)


class Overriding(httpx.AsyncBaseTransport):
    """Passes requests on, but for the paths in `answers`."""

    def __init__(self, inner: httpx.AsyncBaseTransport, answers: dict[str, Answer]) -> None:
        self._inner = inner
        self.answers = answers
        self.seen: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        if answer := self.answers.get(request.url.path):
            await request.aread()
            return answer(request)
        return await self._inner.handle_async_request(request)


class Hanging(httpx.AsyncBaseTransport):
    """Never answers."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError


class Holding(httpx.AsyncBaseTransport):
    """Passes requests on. What it answers for the paths in `held` arrives late: once `released` is set."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner
        self.held: set[str] = set()
        self.arrived, self.released = asyncio.Event(), asyncio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        if request.url.path in self.held:
            self.arrived.set()
            await self.released.wait()
        return response


class Gate(httpx.AsyncBaseTransport):
    """A way to LiteLLM on which one path is held back until it is opened."""

    def __init__(self, litellm: LiteLLMStandIn, path: str, *, after: bool = False) -> None:
        self._inner = httpx.ASGITransport(litellm.app)
        self._path, self._after = path, after
        self.reached, self.open = asyncio.Event(), asyncio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path != self._path or self.open.is_set():
            return await self._inner.handle_async_request(request)
        response = await self._inner.handle_async_request(request) if self._after else None
        self.reached.set()
        await self.open.wait()
        return response or await self._inner.handle_async_request(request)


class Slow(httpx.AsyncBaseTransport):
    """Yields to other tasks, as a network does."""

    def __init__(self, litellm: LiteLLMStandIn) -> None:
        self._inner = httpx.ASGITransport(litellm.app)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        for _ in range(100):
            await asyncio.sleep(0)
        return await self._inner.handle_async_request(request)


def move_and_lose(litellm: LiteLLMStandIn) -> Answer:
    """The key has another owner, and the answer is lost."""

    def answer(request: httpx.Request) -> httpx.Response:
        asked = json.loads(request.content)
        litellm.rows.update_key(asked["key"], asked)
        raise httpx.ReadTimeout("lost", request=request)

    return answer


def mint_and_lose(litellm: LiteLLMStandIn) -> Answer:
    """The key is made, and the answer is lost."""

    def answer(request: httpx.Request) -> httpx.Response:
        litellm.rows.add_key(json.loads(request.content))
        raise httpx.ReadTimeout("lost", request=request)

    return answer
