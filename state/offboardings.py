"""The table `offboarding`: users being off-boarded, and which of their keys this service blocked."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.offboarding import Offboarding
from state.database import Database
from state.lease import HeldLease, Lease
from state.tables import offboarding


class Offboardings:
    """The rows. Only the holder of the lease can write (LeaseLostError)."""

    def __init__(self, database: Database, lease: Lease) -> None:
        self._database = database
        self._lease = lease

    async def all(self) -> dict[str, Offboarding]:
        """All off-boardings by user id."""
        async with self._database.reading() as connection:
            rows = (await connection.execute(sa.select(offboarding))).all()
        return {
            row.user_id: Offboarding(row.user_id, row.since, row.confirmed, tuple(row.blocked_keys)) for row in rows
        }

    async def begin(self, held: HeldLease, user_id: str, *, confirmed: bool) -> Offboarding:
        """Records that the user is gone since now."""
        row = {"user_id": user_id, "confirmed": confirmed, "blocked_keys": []}
        async with self._database.transaction() as connection:
            await self._lease.assert_held(connection, held)
            insert = sa.insert(offboarding).values(**row, since=self._database.now()).returning(offboarding.c.since)
            since = (await connection.execute(insert)).scalar_one()
        return Offboarding(user_id, since, confirmed, ())

    async def set_blocked_keys(self, held: HeldLease, user_id: str, key_ids: Sequence[str]) -> None:
        """Records which keys this service blocked or is about to block."""
        async with self._database.transaction() as connection:
            await self._lease.assert_held(connection, held)
            await connection.execute(
                sa.update(offboarding).where(offboarding.c.user_id == user_id).values(blocked_keys=list(key_ids))
            )

    async def end(self, connection: AsyncConnection, held: HeldLease, user_id: str) -> None:
        """Ends the off-boarding in the caller's transaction: the user is back, or gone for good."""
        await self._lease.assert_held(connection, held)
        await connection.execute(sa.delete(offboarding).where(offboarding.c.user_id == user_id))
