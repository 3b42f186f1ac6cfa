"""The order of changes inside one process: first come, first served for each lock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from domain.errors import OverloadedError
from state.changes import request_in_progress

MOST_WAITING = 50
"""Behind the change that runs. They take about as long as a change may wait."""


class _Line:
    """The changes with one lock."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.waiting = 0


class ChangeQueue:
    """Lets one change per lock through at a time, and one request per Idempotency-Key."""

    def __init__(self) -> None:
        self._lines: WeakValueDictionary[str, _Line] = WeakValueDictionary()
        self._requests: set[str] = set()

    @asynccontextmanager
    async def turn(self, lock: str | None, request_name: str | None, *, patience: float | None) -> AsyncIterator[None]:
        """Waits for the earlier changes with this lock, at most `patience` seconds. Without a lock it does not wait.

        Raises BusyError at once if a request with the same Idempotency-Key is waiting or running here, OverloadedError
        if 50 changes wait already or the patience is at its end. Without `patience` there is no end to either.
        """
        if request_name in self._requests:
            raise request_in_progress()
        names = set() if request_name is None else {request_name}
        self._requests |= names
        try:
            if lock is None:
                yield
                return
            line = self._lines.setdefault(lock, _Line())
            await self._wait(line, lock, patience)
            try:
                yield
            finally:
                line.turn.release()
        finally:
            self._requests -= names

    async def _wait(self, line: _Line, lock: str, patience: float | None) -> None:
        if patience is not None and line.waiting >= MOST_WAITING:
            raise overloaded(lock)
        line.waiting += 1
        try:
            async with asyncio.timeout(patience):
                await line.turn.acquire()
        except TimeoutError as error:
            raise overloaded(lock) from error
        finally:
            line.waiting -= 1


def overloaded(lock: str | None) -> OverloadedError:
    """The error for a change that would wait too long for the others with its lock, here or at another replica."""
    return OverloadedError(f"Too many changes to {lock} are in progress or wait; nothing was changed, retry later")
