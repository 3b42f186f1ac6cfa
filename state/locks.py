"""Locks that all replicas see, each on a name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

import sqlalchemy as sa

from domain.errors import ConflictError
from state.database import Database
from state.tables import lock

_LIFE = 30.0
_POLL = 0.2
# A little longer than a lock lives: who comes after somebody who died with it gets it in the end.
_POLLS = 160


class Locks:
    """The table of them. Whoever dies with a lock loses it after half a minute."""

    def __init__(
        self, database: Database, sleep: Callable[[float], Awaitable[None]], new_id: Callable[[], str]
    ) -> None:
        self._database = database
        self._sleep = sleep
        self._new_id = new_id
        self._here: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def hold(self, name: str) -> AsyncIterator[None]:
        """Hold the lock; wait for it for about 32 seconds, then ConflictError. Those in this process queue up first."""
        here = self._here.setdefault(name, asyncio.Lock())
        async with here:
            holder = self._new_id()
            await self._acquire(name, holder)
            try:
                yield
            finally:
                await asyncio.shield(self._release(name, holder))

    async def _acquire(self, name: str, holder: str) -> None:
        for _ in range(_POLLS):
            if await self._try(name, holder):
                return
            await self._sleep(_POLL)
        raise ConflictError("Another change of the same is under way; try again")

    async def _try(self, name: str, holder: str) -> bool:
        async with self._database.transaction() as connection:
            now = await self._database.now(connection)
            expired = sa.and_(lock.c.name == name, lock.c.expires_at <= now)
            await connection.execute(sa.delete(lock).where(expired))
            row = {"name": name, "holder": holder, "expires_at": now + _LIFE}
            return await self._database.insert_new(connection, lock, row)

    async def _release(self, name: str, holder: str) -> None:
        async with self._database.transaction() as connection:
            await connection.execute(sa.delete(lock).where(lock.c.name == name, lock.c.holder == holder))
