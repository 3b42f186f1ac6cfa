"""A lease: at most one replica at a time does a thing, each interval once."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from state.database import Database
from state.tables import lease


class LeaseLostError(Exception):
    """Another replica holds the lease by now: stop at once, and touch nothing any more."""


@dataclass(frozen=True)
class Held:
    """A lease held: its fencing token grows with every holder."""

    owner: str
    fence: int


@dataclass(frozen=True)
class Schedule:
    """When the next run is due, in seconds from now (less than 0: overdue), and whether one is under way."""

    next_run_at: float
    due_in: float
    running: bool


class Lease:
    """The lease called `name`, which expires `life` seconds after it was last renewed."""

    def __init__(self, database: Database, name: str, *, life: float) -> None:
        self._database = database
        self._name = name
        self._life = life

    async def acquire(self, owner: str, *, only_if_due: bool) -> Held | None:
        """Take the lease where nobody has it and, if asked, the next run is due; or None."""
        async with self._database.transaction() as connection:
            now = await self._database.now(connection)
            free = sa.or_(lease.c.owner.is_(None), lease.c.expires_at <= now)
            due = lease.c.next_run_at <= now if only_if_due else sa.true()
            taken = await connection.execute(
                sa.update(lease)
                .where(lease.c.name == self._name, free, due)
                .values(owner=owner, expires_at=now + self._life, fence=lease.c.fence + 1)
                .returning(lease.c.fence)
            )
            fence = taken.scalar_one_or_none()
        return None if fence is None else Held(owner, fence)

    async def renew(self, held: Held) -> None:
        """Hold it for another life. Raises LeaseLostError."""
        async with self._database.transaction() as connection:
            await self.assert_held(connection, held)
            now = await self._database.now(connection)
            await connection.execute(self._mine(held).values(expires_at=now + self._life))

    async def release(self, held: Held, *, next_run_in: float | None) -> None:
        """Give it back, with the next run due in so many seconds; None leaves it as it was. Raises LeaseLostError."""
        async with self._database.transaction() as connection:
            await self.assert_held(connection, held)
            now = await self._database.now(connection)
            due = {} if next_run_in is None else {"next_run_at": now + next_run_in}
            await connection.execute(self._mine(held).values(owner=None, **due))

    async def assert_held(self, connection: AsyncConnection, held: Held) -> None:
        """Within a transaction, so that what it writes is written by the holder only. Raises LeaseLostError."""
        query = sa.select(lease.c.owner, lease.c.fence).where(lease.c.name == self._name).with_for_update()
        row = (await connection.execute(query)).one()
        if (row.owner, row.fence) != (held.owner, held.fence):
            raise LeaseLostError

    async def schedule(self) -> Schedule:
        """When the next run is due."""
        async with self._database.transaction() as connection:
            now = await self._database.now(connection)
            row = (await connection.execute(sa.select(lease).where(lease.c.name == self._name))).one()
        running = row.owner is not None and row.expires_at > now
        return Schedule(row.next_run_at, row.next_run_at - now, running)

    def _mine(self, held: Held) -> sa.Update:
        return sa.update(lease).where(lease.c.name == self._name, lease.c.fence == held.fence)
