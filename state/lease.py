"""The table `lease`: at most one replica at a time runs the cleanup, and each interval once."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import BusyError
from state.database import Database
from state.tables import lease

_DRY_RUN_SECONDS = 60.0


class LeaseLostError(Exception):
    """Another replica holds the lease now: stop at once and change nothing more."""


@dataclass(frozen=True, slots=True)
class HeldLease:
    """A lease that this replica holds. The fencing token grows with every holder."""

    owner: str
    fence: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """`next_run_at` is in seconds since the epoch, None before the first run. `running`: some replica is running."""

    next_run_at: float | None
    running: bool


def is_alive(run: sa.Table, now: sa.ColumnElement[float]) -> sa.ColumnElement[bool]:
    """Whether a row of `run` goes on: its holder has the lease, or it is a dry run that said so within a minute."""
    is_held = sa.exists().where(lease.c.fence == run.c.fence, lease.c.owner.is_not(None), lease.c.expires_at > now)
    return sa.or_(is_held, sa.and_(run.c.fence.is_(None), run.c.alive_at > now - _DRY_RUN_SECONDS))


class Lease:
    """The lease `name`. It expires `life` seconds after its last renewal. `owner` names this replica."""

    def __init__(self, database: Database, name: str, *, owner: str, life: float) -> None:
        self._database = database
        self._name = name
        self._owner = owner
        self._life = life

    async def acquire(self) -> HeldLease:
        """Takes the lease. Raises BusyError if somebody holds it."""
        held = await self._acquire(sa.true())
        if held is None:
            raise BusyError("A cleanup or an adoption is in progress; retry when it has ended")
        return held

    async def acquire_if_due(self) -> HeldLease | None:
        """Takes the lease if it is free and the next run is due. Returns None otherwise."""
        return await self._acquire(sa.or_(lease.c.next_run_at.is_(None), lease.c.next_run_at <= self._database.now()))

    async def _acquire(self, condition: sa.ColumnElement[bool]) -> HeldLease | None:
        now = self._database.now()
        is_free = sa.or_(lease.c.owner.is_(None), lease.c.expires_at <= now)
        async with self._database.transaction() as connection:
            taken = await connection.execute(
                sa.update(lease)
                .where(lease.c.name == self._name, is_free, condition)
                .values(owner=self._owner, expires_at=now + self._life, fence=lease.c.fence + 1)
                .returning(lease.c.fence)
            )
            fence = taken.scalar_one_or_none()
        return None if fence is None else HeldLease(self._owner, fence)

    async def renew(self, held: HeldLease) -> None:
        """Extends the lease by its life. Raises LeaseLostError."""
        await self._update(held, {"expires_at": self._database.now() + self._life})

    async def release(self, held: HeldLease, *, next_run_in: float | None) -> None:
        """Releases the lease. The next run is due in `next_run_in` seconds; None leaves that as it was.

        Raises LeaseLostError.
        """
        due = {} if next_run_in is None else {"next_run_at": self._database.now() + next_run_in}
        await self._update(held, {"owner": None, **due})

    async def assert_held(self, connection: AsyncConnection, held: HeldLease) -> None:
        """Checks the fencing token in the caller's transaction: only the holder writes. Raises LeaseLostError."""
        query = sa.select(lease.c.owner, lease.c.fence).where(lease.c.name == self._name).with_for_update()
        row = (await connection.execute(query)).one()
        if (row.owner, row.fence) != (held.owner, held.fence):
            raise LeaseLostError

    async def schedule(self) -> Schedule:
        """When the next run is due, and whether one is running."""
        is_running = sa.and_(lease.c.owner.is_not(None), lease.c.expires_at > self._database.now())
        query = sa.select(lease.c.next_run_at, is_running.label("running")).where(lease.c.name == self._name)
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).one()
        return Schedule(row.next_run_at, bool(row.running))

    async def _update(self, held: HeldLease, values: dict[str, object]) -> None:
        is_mine = sa.and_(lease.c.name == self._name, lease.c.owner == held.owner, lease.c.fence == held.fence)
        async with self._database.transaction() as connection:
            updated = await connection.execute(sa.update(lease).where(is_mine).values(**values))
        if updated.rowcount != 1:
            raise LeaseLostError
