"""What each run of the cleanup found and did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from state.database import Database
from state.tables import cleanup_run

_KEPT_SECONDS = 30 * 86400.0
RUNNING, DIED = "running", "died"


@dataclass(frozen=True)
class Believed:
    """How many were in each group at the last run whose snapshot was believed."""

    members: int
    admins: int


class CleanupRuns:
    """The table of them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def start(self, *, trigger: str, owner: str, fence: int | None) -> tuple[int, float]:
        """A new run's id, and the time.

        A run of an earlier holder that never finished is noted as died, and runs of more than 30 days ago are
        forgotten; but not the last believed one, by which the next is judged.
        """
        async with self._database.transaction() as connection:
            now = await self._database.now(connection)
            believed = sa.select(sa.func.max(cleanup_run.c.id)).where(cleanup_run.c.believed_members.is_not(None))
            old = sa.and_(cleanup_run.c.started_at < now - _KEPT_SECONDS, cleanup_run.c.id < believed.scalar_subquery())
            await connection.execute(sa.delete(cleanup_run).where(old))
            if fence is not None:
                unfinished = sa.and_(cleanup_run.c.outcome == RUNNING, cleanup_run.c.fence < fence)
                await connection.execute(sa.update(cleanup_run).where(unfinished).values(outcome=DIED))
            row = {"trigger": trigger, "owner": owner, "fence": fence, "started_at": now, "outcome": RUNNING}
            inserted = await connection.execute(sa.insert(cleanup_run).values(row).returning(cleanup_run.c.id))
            return inserted.scalar_one(), now

    async def finish(
        self, run_id: int, *, outcome: str, plan_hash: str | None, believed: Believed | None, report: dict[str, Any]
    ) -> float:
        """Note the end of a run; answers the time of it."""
        async with self._database.transaction() as connection:
            now = await self._database.now(connection)
            values = {
                "finished_at": now,
                "outcome": outcome,
                "plan_hash": plan_hash,
                "believed_members": believed.members if believed else None,
                "believed_admins": believed.admins if believed else None,
                "report": report | {"finishedAt": now},
            }
            await connection.execute(sa.update(cleanup_run).where(cleanup_run.c.id == run_id).values(values))
        return now

    async def last_report(self) -> dict[str, Any] | None:
        """The report of the last run that finished; dry runs do not count."""
        columns = cleanup_run.c
        query = sa.select(columns.report).where(columns.fence.is_not(None), columns.report.is_not(None))
        async with self._database.transaction() as connection:
            return (await connection.execute(query.order_by(columns.id.desc()).limit(1))).scalar_one_or_none()

    async def last_believed(self) -> Believed | None:
        """The last believed snapshot's size."""
        columns = cleanup_run.c
        query = sa.select(columns.believed_members, columns.believed_admins).where(
            columns.believed_members.is_not(None)
        )
        async with self._database.transaction() as connection:
            row = (await connection.execute(query.order_by(columns.id.desc()).limit(1))).one_or_none()
        return None if row is None else Believed(row.believed_members, row.believed_admins)

    async def knows_plan(self, plan_hash: str, *, within: float) -> bool:
        """Whether a run or dry run of the last `within` seconds came to this plan."""
        columns = cleanup_run.c
        async with self._database.transaction() as connection:
            since = await self._database.now(connection) - within
            query = sa.select(columns.id).where(columns.plan_hash == plan_hash, columns.started_at >= since).limit(1)
            return (await connection.execute(query)).scalar_one_or_none() is not None
