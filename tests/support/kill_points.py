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

    A step is what outlives the process: a change of LiteLLM (the kill comes before it, or after LiteLLM did it) or the
    commit of a transaction. A kill anywhere else, at a read or while a transaction is open, leaves behind what one
    before the next step does. `steps` counts them; `during` is whether the kill comes after LiteLLM did what it was
    asked: then only changes of LiteLLM are steps, since before a commit it is the same kill.

    Of a sweep each attempt has to find the same as the one before, or it misses steps: let it end at the very number.
    """

    def __init__(self, app: Any, at: int, *, during: bool) -> None:
        self._inner = httpx.ASGITransport(app)
        self._at = at
        self._during = during
        self.steps = 0
        self.is_dead = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            self._live()
            return await self._inner.handle_async_request(request)
        self._step()
        if self.is_dead and not self._during:
            raise Killed
        response = await self._inner.handle_async_request(request)
        self._live()
        return response

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While within, transactions are steps too."""
        sa.event.listen(sa.Engine, "begin", self._begin)
        sa.event.listen(sa.Engine, "commit", self._commit)
        try:
            yield
        finally:
            sa.event.remove(sa.Engine, "begin", self._begin)
            sa.event.remove(sa.Engine, "commit", self._commit)

    def _begin(self, _: Any) -> None:
        self._live()

    def _commit(self, _: Any) -> None:
        self._live()
        if not self._during:
            self._step()
            self._live()

    def _step(self) -> None:
        self._live()
        self.is_dead = self.steps == self._at
        self.steps += 1

    def _live(self) -> None:
        if self.is_dead:
            raise Killed
