"""The table `cleanup_deletion`: whom the cleanup deleted in the last 24 hours although nobody confirmed it."""

from __future__ import annotations

import sqlalchemy as sa

from domain.offboarding import Deletion
from state.database import Database
from state.lease import HeldLease, Lease
from state.tables import cleanup_deletion

_SECONDS = 86400.0
_columns = cleanup_deletion.c


class Deletions:
    """The rows. Only the holder of the lease counts (LeaseLostError), so two replicas never exceed a limit together."""

    def __init__(self, database: Database, lease: Lease) -> None:
        self._database = database
        self._lease = lease

    async def recent(self) -> list[Deletion]:
        """Those of the last 24 hours."""
        query = sa.select(_columns.user_id, _columns.at).where(_columns.at > self._database.now() - _SECONDS)
        async with self._database.reading() as connection:
            return [Deletion(row.user_id, row.at) for row in await connection.execute(query)]

    async def reserve(self, held: HeldLease, user_id: str, *, since: float) -> None:
        """Counts a deletion that is about to be made. One that was counted after `since` is not counted again."""
        own = sa.select(_columns.id).where(_columns.user_id == user_id, _columns.at >= since)
        async with self._database.transaction() as connection:
            await self._lease.assert_held(connection, held)
            if (await connection.execute(own.limit(1))).first() is None:
                row = {"user_id": user_id, "at": self._database.now()}
                await connection.execute(sa.insert(cleanup_deletion).values(row))

    async def forget(self) -> None:
        """Deletes the rows that are older than 24 hours."""
        async with self._database.transaction() as connection:
            old = _columns.at <= self._database.now() - _SECONDS
            await connection.execute(sa.delete(cleanup_deletion).where(old))
