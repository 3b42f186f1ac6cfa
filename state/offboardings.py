"""The table `offboarding`: users being off-boarded, and which of their keys this service blocked."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.offboarding import Offboarding
from state.database import Database
from state.lease import HeldLease, Lease
from state.tables import offboarding

_SOMEBODY = "an admin"
"""Who confirmed an off-boarding before the rows said who it was."""
_columns = offboarding.c


class Offboardings:
    """The rows. Only the holder of the lease can write (LeaseLostError)."""

    def __init__(self, database: Database, lease: Lease) -> None:
        self._database = database
        self._lease = lease

    async def all(self) -> dict[str, Offboarding]:
        """All off-boardings by user id."""
        async with self._database.reading() as connection:
            rows = (await connection.execute(sa.select(offboarding))).all()
        return {row.user_id: _offboarding(row) for row in rows}

    async def among(self, user_ids: Collection[str]) -> frozenset[str]:
        """Those of `user_ids` who are being off-boarded."""
        query = sa.select(_columns.user_id).where(_columns.user_id.in_(user_ids))
        async with self._database.reading() as connection:
            return frozenset((await connection.execute(query)).scalars())

    async def begin(self, held: HeldLease, user_id: str, *, confirmed_by: str | None) -> Offboarding:
        """Records that the user is gone since now. `confirmed_by`: as in `Offboarding`."""
        row = {"user_id": user_id, "confirmed": confirmed_by is not None, "blocked_keys": []}
        insert = sa.insert(offboarding).values(**row, confirmed_by=confirmed_by, since=self._database.now())
        async with self._database.transaction() as connection:
            await self._lease.assert_held(connection, held)
            since = (await connection.execute(insert.returning(_columns.since))).scalar_one()
        return Offboarding(user_id, since, confirmed_by=confirmed_by)

    async def set_blocked_keys(self, held: HeldLease, user_id: str, key_ids: Sequence[str]) -> None:
        """Records which keys this service blocked or is about to block."""
        await self._update(held, user_id, {"blocked_keys": list(key_ids)})

    async def begin_look(self, held: HeldLease, user_id: str) -> None:
        """Records that the user's keys have to be read, whatever happens to the run that is about to do so."""
        await self._update(held, user_id, {"looked_at": None})

    async def end_look(self, held: HeldLease, user_id: str, *, key_count: int | None) -> None:
        """Records that all keys of the user are blocked, and how many LiteLLM counted before they were read."""
        await self._update(held, user_id, {"looked_at": self._database.now(), "key_count": key_count})

    async def end(self, connection: AsyncConnection, held: HeldLease, user_id: str) -> None:
        """Ends the off-boarding in the caller's transaction: the user is back, or gone for good."""
        await self._lease.assert_held(connection, held)
        await connection.execute(sa.delete(offboarding).where(_columns.user_id == user_id))

    async def _update(self, held: HeldLease, user_id: str, values: dict[str, Any]) -> None:
        async with self._database.transaction() as connection:
            await self._lease.assert_held(connection, held)
            await connection.execute(sa.update(offboarding).where(_columns.user_id == user_id).values(**values))


def _offboarding(row: sa.Row[Any]) -> Offboarding:
    return Offboarding(
        user_id=row.user_id,
        since=row.since,
        blocked_keys=tuple(row.blocked_keys),
        confirmed_by=row.confirmed_by or (_SOMEBODY if row.confirmed else None),
        key_count=row.key_count,
        looked_at=row.looked_at,
    )
