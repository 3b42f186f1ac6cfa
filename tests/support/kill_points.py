"""Simulates killed processes: after a certain step nothing in them continues, not even cleaning up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import sqlalchemy as sa


class Killed(BaseException):
    """The process is gone."""


class KillSwitch(httpx.AsyncBaseTransport):
    """A way to LiteLLM, and to the database, that ends at step `at`.

    A step is a request to LiteLLM (the kill comes before it, or after LiteLLM did it) or the begin or commit of a
    transaction. `steps` counts them; `during` is whether the kill comes after LiteLLM did what it was asked.
    """

    def __init__(self, app: Any, at: int, *, during: bool) -> None:
        self._inner = httpx.ASGITransport(app)
        self._at = at
        self._during = during
        self.steps = 0
        self.is_dead = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._step(may_go_on=self._during)
        if not self.is_dead:
            return await self._inner.handle_async_request(request)
        await self._inner.handle_async_request(request)
        raise Killed

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While within, transactions are steps too."""

        def step(_: Any) -> None:
            self._step(may_go_on=False)

        for event in ("begin", "commit"):
            sa.event.listen(sa.Engine, event, step)
        try:
            yield
        finally:
            for event in ("begin", "commit"):
                sa.event.remove(sa.Engine, event, step)

    def _step(self, *, may_go_on: bool) -> None:
        if self.is_dead:
            raise Killed
        self.is_dead = self.steps == self._at
        self.steps += 1
        if self.is_dead and not may_go_on:
            raise Killed
