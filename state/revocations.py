"""Keys that another replaced, and that are to be deleted at a certain time; and keys that were reported as leaked."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy as sa

from state.database import Database
from state.tables import key_revocation, reported_key

_FIRST_RETRY, _LAST_RETRY = 5.0, 300.0
_AT_ONCE = 50


@dataclass(frozen=True)
class Revocation:
    """`key_id` is deleted at `revoke_at` (seconds since the epoch) because `replaced_by` took its place."""

    key_id: str
    user_id: str
    replaced_by: str
    revoke_at: float


class Revocations:
    """The table of them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def plan(self, key_id: str, user_id: str, replaced_by: str, *, revoke_in: float) -> Revocation:
        """Have the key deleted in so many seconds."""
        async with self._database.transaction() as connection:
            revoke_at = await self._database.now(connection) + revoke_in
            row = {"key_id": key_id, "user_id": user_id, "replaced_by": replaced_by, "revoke_at": revoke_at}
            due = {"next_attempt_at": revoke_at, "attempts": 0}
            await connection.execute(sa.insert(key_revocation).values(row | due))
        return Revocation(key_id, user_id, replaced_by, revoke_at)

    async def of_user(self, user_id: str) -> list[Revocation]:
        """All that are still to come."""
        query = sa.select(key_revocation).where(key_revocation.c.user_id == user_id)
        async with self._database.transaction() as connection:
            return [_revocation(row) for row in await connection.execute(query)]

    async def take_due(self) -> list[Revocation]:
        """Those whose time has come, at most 50. Each is due again after a while, until it is `done`."""
        columns = key_revocation.c
        async with self._database.transaction() as connection:
            now = await self._database.now(connection)
            query = sa.select(key_revocation).where(columns.next_attempt_at <= now).order_by(columns.next_attempt_at)
            rows = (await connection.execute(query.limit(_AT_ONCE).with_for_update(skip_locked=True))).all()
            for row in rows:
                wait = min(_FIRST_RETRY * 2**row.attempts, _LAST_RETRY)
                retry = {"next_attempt_at": now + wait, "attempts": min(row.attempts + 1, 10)}
                await connection.execute(sa.update(key_revocation).where(columns.key_id == row.key_id).values(retry))
        return [_revocation(row) for row in rows]

    async def done(self, key_id: str) -> None:
        """The key is gone."""
        async with self._database.transaction() as connection:
            await connection.execute(sa.delete(key_revocation).where(key_revocation.c.key_id == key_id))


class ReportedKeys:
    """The table of keys that were reported as leaked: they stay blocked."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, key_id: str) -> None:
        """Note it; again is the same."""
        async with self._database.transaction() as connection:
            row = {"key_id": key_id, "at": await self._database.now(connection)}
            await self._database.insert_new(connection, reported_key, row)

    async def among(self, key_ids: Collection[str]) -> set[str]:
        """Which of `key_ids` were reported."""
        query = sa.select(reported_key.c.key_id).where(reported_key.c.key_id.in_(key_ids))
        async with self._database.transaction() as connection:
            return set((await connection.execute(query)).scalars())


def _revocation(row: sa.Row[tuple[str, str, str, float]]) -> Revocation:
    return Revocation(row.key_id, row.user_id, row.replaced_by, row.revoke_at)
