"""Runs that a request starts and does not wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Generic, TypeVar

import structlog

from domain.errors import OrchestratorError

log = structlog.get_logger(__name__)
T = TypeVar("T")


class BackgroundRuns(Generic[T]):
    """The runs of one process. `failed` is what the log says of one that fails unexpectedly."""

    def __init__(self, failed: str) -> None:
        self._failed = failed
        self._running: set[asyncio.Task[T]] = set()

    def start(self, run: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Starts one. An OrchestratorError stands in its report; anything else is logged."""
        task = asyncio.create_task(run)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    async def finish(self) -> None:
        """Waits for all of them."""
        await asyncio.gather(*self._running, return_exceptions=True)

    def _ended(self, task: asyncio.Task[T]) -> None:
        self._running.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, OrchestratorError):
            log.error(self._failed, exc_info=error)
