"""The tables `key_revocation` (replaced keys that end at a set time) and `reported_key` (leaked keys)."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.keys import Revocation
from state.database import Database
from state.tables import key_revocation, reported_key

_FIRST_RETRY_SECONDS, _LAST_RETRY_SECONDS = 5.0, 300.0
_MAX_ATTEMPTS_COUNTED = 10
_BATCH = 50
_columns = key_revocation.c


class Revocations:
    """The pending revocations. Methods with a `connection` run in the caller's transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def schedule(
        self, connection: AsyncConnection, key_id: str, user_id: str, replaced_by: str, *, revoke_in: float
    ) -> Revocation:
        """Schedules the deletion of a key in `revoke_in` seconds."""
        revoke_at = self._database.now() + revoke_in
        row = {"key_id": key_id, "user_id": user_id, "replaced_by": replaced_by, "attempts": 0}
        insert = sa.insert(key_revocation).values(**row, revoke_at=revoke_at, next_attempt_at=revoke_at)
        return _revocation((await connection.execute(insert.returning(*key_revocation.c))).one())

    async def of_user(self, user_id: str) -> list[Revocation]:
        """All pending revocations of a user's keys."""
        async with self._database.reading() as connection:
            rows = await connection.execute(sa.select(key_revocation).where(_columns.user_id == user_id))
            return [_revocation(row) for row in rows]

    async def claim_due(self) -> list[Revocation]:
        """The due revocations, at most 50. Each is due again after a while until `remove` is called.

        Two replicas never claim the same one at the same time.
        """
        now = self._database.now()
        due = sa.select(key_revocation).where(_columns.next_attempt_at <= now).order_by(_columns.next_attempt_at)
        async with self._database.reading() as connection:
            if (await connection.execute(due.limit(1))).first() is None:
                return []
        async with self._database.transaction() as connection:
            rows = (await connection.execute(due.limit(_BATCH).with_for_update(skip_locked=True))).all()
            for row in rows:
                wait = min(_FIRST_RETRY_SECONDS * 2**row.attempts, _LAST_RETRY_SECONDS)
                retry = {"next_attempt_at": now + wait, "attempts": min(row.attempts + 1, _MAX_ATTEMPTS_COUNTED)}
                await connection.execute(sa.update(key_revocation).where(_columns.key_id == row.key_id).values(**retry))
        return [_revocation(row) for row in rows]

    async def remove(self, connection: AsyncConnection, key_id: str) -> None:
        """Removes the revocation: the key is gone."""
        await connection.execute(sa.delete(key_revocation).where(_columns.key_id == key_id))


class ReportedKeys:
    """Keys that were reported as leaked: they stay blocked."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, key_id: str) -> None:
        """Adds a key. Adding it again changes nothing."""
        async with self._database.transaction() as connection:
            row = {"key_id": key_id, "at": self._database.now()}
            await self._database.insert_new(connection, reported_key, row)

    async def among(self, key_ids: Collection[str]) -> set[str]:
        """Those of `key_ids` that were reported."""
        if not key_ids:
            return set()
        async with self._database.reading() as connection:
            query = sa.select(reported_key.c.key_id).where(reported_key.c.key_id.in_(key_ids))
            return set((await connection.execute(query)).scalars())


def _revocation(row: sa.Row[tuple[str, str, str, float]]) -> Revocation:
    return Revocation(row.key_id, row.user_id, row.replaced_by, row.revoke_at)
