"""The order of changes inside one process: first come, first served for each lock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from domain.errors import BusyError


class ChangeQueue:
    """Lets one change per lock through at a time, and one request per Idempotency-Key."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._requests: set[str] = set()

    @asynccontextmanager
    async def turn(self, lock: str | None, request_name: str | None) -> AsyncIterator[None]:
        """Waits for the earlier changes with this lock. None does not wait.

        Raises BusyError at once if a request with the same Idempotency-Key is waiting or running here.
        """
        if request_name in self._requests:
            raise request_in_progress()
        names = set() if request_name is None else {request_name}
        self._requests |= names
        try:
            if lock is None:
                yield
            else:
                async with self._locks.setdefault(lock, asyncio.Lock()):
                    yield
        finally:
            self._requests -= names


def request_in_progress() -> BusyError:
    """The error for a request whose Idempotency-Key another request, here or at another replica, is using."""
    return BusyError("A request with this Idempotency-Key is in progress; retry when it has ended")
