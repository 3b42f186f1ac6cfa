"""Users being off-boarded: since when, and which of their keys this service has blocked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from state.database import Database
from state.lease import Held, Lease
from state.tables import offboarding


@dataclass(frozen=True)
class Offboarding:
    """One user's. `since` is the first believed run without them, in seconds since the epoch."""

    user_id: str
    since: float
    confirmed: bool
    blocked_keys: tuple[str, ...]


class Offboardings:
    """The table of them. Every write is made by the holder of the lease, or not at all (LeaseLostError)."""

    def __init__(self, database: Database, lease: Lease) -> None:
        self._database = database
        self._lease = lease

    async def all(self) -> dict[str, Offboarding]:
        """By user id."""
        async with self._database.transaction() as connection:
            rows = (await connection.execute(sa.select(offboarding))).all()
        return {
            row.user_id: Offboarding(row.user_id, row.since, row.confirmed, tuple(row.blocked_keys)) for row in rows
        }

    async def begin(self, held: Held, user_id: str, *, confirmed: bool) -> Offboarding:
        """Note that the user is gone since now."""
        async with self._database.transaction() as connection:
            await self._lease.assert_held(connection, held)
            now = await self._database.now(connection)
            row = {"user_id": user_id, "since": now, "confirmed": confirmed, "blocked_keys": []}
            await connection.execute(sa.insert(offboarding).values(row))
        return Offboarding(user_id, now, confirmed, ())

    async def set_blocked_keys(self, held: Held, user_id: str, key_ids: Sequence[str]) -> None:
        """Note which keys were blocked by this service, or are about to be."""
        async with self._database.transaction() as connection:
            await self._lease.assert_held(connection, held)
            await connection.execute(
                sa.update(offboarding).where(offboarding.c.user_id == user_id).values(blocked_keys=list(key_ids))
            )

    async def end(self, held: Held, user_id: str) -> None:
        """The user came back, or is gone for good."""
        async with self._database.transaction() as connection:
            await self._lease.assert_held(connection, held)
            await connection.execute(sa.delete(offboarding).where(offboarding.c.user_id == user_id))
