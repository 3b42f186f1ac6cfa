"""The end of replaced keys, which is a task of the due queue, and the table `reported_key` (leaked keys)."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import sqlalchemy as sa
from cachetools import TTLCache
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.due import Kind, Task
from domain.keys import KeyVersion, Revocation
from state.database import Database
from state.due import DueQueue
from state.tables import reported_key

_REVIEW_SECONDS = 86400.0
_OWNERS_SECONDS = 10.0


class Revocations:
    """The pending revocations. Methods with a `connection` run in the caller's transaction. `now` is in seconds."""

    def __init__(self, due: DueQueue, now: Callable[[], float]) -> None:
        self._due = due
        self._owners: TTLCache[None, frozenset[str]] = TTLCache(1, ttl=_OWNERS_SECONDS, timer=now)

    async def schedule(
        self,
        connection: AsyncConnection,
        key_id: str,
        user_id: str,
        replaced_by: str,
        *,
        revoke_in: float,
        key_version: KeyVersion | None = None,
    ) -> Revocation:
        """Schedules the deletion of a key in `revoke_in` seconds, also if it was scheduled already."""
        self._owners.clear()
        payload = {"replaced_by": replaced_by} | payload_of(key_version)
        return revocation_of(
            await self._due.schedule(
                connection, Kind.REVOCATION, key_id, owner=user_id, payload=payload, due_in=revoke_in
            )
        )

    async def of_user(self, user_id: str) -> list[Revocation]:
        """All pending revocations of a user's keys."""
        return [revocation_of(task) for task in await self._due.of_owner(Kind.REVOCATION, user_id)]

    async def usually_none(self, user_id: str) -> list[Revocation]:
        """As `of_user`, without a query for most users who have none. It may miss what began within ten seconds."""
        owners = self._owners.get(None)
        if owners is None:
            owners = self._owners[None] = await self._due.owners(Kind.REVOCATION)
        return await self.of_user(user_id) if user_id in owners else []

    async def remove(self, connection: AsyncConnection, key_id: str) -> None:
        """Removes the revocation: the key is gone."""
        await self._due.remove(connection, Kind.REVOCATION, key_id)


def revocation_of(task: Task) -> Revocation:
    """The revocation that a task stands for."""
    assert task.owner is not None
    assert task.payload is not None
    return Revocation(task.subject, task.owner, task.payload["replaced_by"], task.due_at, key_version_of(task))


def payload_of(key_version: KeyVersion | None) -> dict[str, Any]:
    """What a task about a key has in its payload to name it."""
    return {} if key_version is None else {"id": key_version.stable_id, "version": key_version.number}


def key_version_of(task: Task) -> KeyVersion | None:
    """Which version of which key a task is about; None if an earlier release scheduled it."""
    payload = task.payload or {}
    return KeyVersion(payload["id"], payload["version"]) if "id" in payload else None


class ReportedKeys:
    """The marks of keys that were reported as leaked: they stay blocked. Each mark is reviewed every day.

    Methods with a `connection` run in the caller's transaction.
    """

    def __init__(self, database: Database, due: DueQueue) -> None:
        self._database = database
        self._due = due

    async def add(self, connection: AsyncConnection, key_id: str) -> None:
        """Marks a key, to be annotated in LiteLLM soon. Marking it again changes nothing but the time of the review."""
        row = {"key_id": key_id, "at": self._database.now()}
        if await self._database.insert_new(connection, reported_key, row):
            await self._due.schedule(connection, Kind.BLOCK_NOTE, key_id, due_in=0)
        await self._due.schedule(connection, Kind.MARK_REVIEW, key_id, due_in=_REVIEW_SECONDS)

    async def among(self, key_ids: Collection[str]) -> set[str]:
        """Those of `key_ids` that were reported."""
        if not key_ids:
            return set()
        async with self._database.reading() as connection:
            query = sa.select(reported_key.c.key_id).where(reported_key.c.key_id.in_(key_ids))
            return set((await connection.execute(query)).scalars())

    async def keep(self, key_id: str) -> None:
        """Keeps the mark until the next review, in a transaction of its own."""
        async with self._database.transaction() as connection:
            await self.add(connection, key_id)

    async def forget(self, key_id: str) -> None:
        """Removes the mark: there is no such key."""
        async with self._database.transaction() as connection:
            await connection.execute(sa.delete(reported_key).where(reported_key.c.key_id == key_id))
            await self._due.remove(connection, Kind.MARK_REVIEW, key_id)
