"""The table `adoption_run`: what each adoption, or dry run of one, would do and did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import sqlalchemy as sa

from domain.adoption import (
    Adopted,
    AdoptionConflict,
    AdoptionEntry,
    AdoptionOrder,
    AdoptionPlan,
    AdoptionReport,
    AdoptionResult,
    ConflictKind,
    Match,
)
from domain.offboarding import Progress, RunOutcome
from state.database import Database
from state.lease import is_alive
from state.tables import adoption_run

_KEPT_SECONDS = 30 * 86400.0
_columns = adoption_run.c


class AdoptionRuns:
    """The rows. `owner` names this replica."""

    def __init__(self, database: Database, *, owner: str) -> None:
        self._database = database
        self._owner = owner

    async def start(self, *, trigger: str, order: AdoptionOrder, fence: int | None) -> AdoptionReport:
        """Records the start of a run; a dry run has no fence. Returns its report so far.

        Deletes those that are older than 30 days.
        """
        now = self._database.now()
        values = {"trigger": trigger, "owner": self._owner, "fence": fence, "requested": asdict(order)}
        insert = sa.insert(adoption_run).values(**values, started_at=now, alive_at=now)
        async with self._database.transaction() as connection:
            # Before anything is deleted: SQLite uses the id of its last row again.
            row = (await connection.execute(insert.returning(_columns.id, _columns.started_at))).one()
            await connection.execute(sa.delete(adoption_run).where(_columns.started_at < now - _KEPT_SECONDS))
        return AdoptionReport(row.id, trigger, fence is None, order, row.started_at)

    async def record_progress(self, adoption_id: int, progress: Progress | None) -> None:
        """Records that it is alive, and how far it is once that is known."""
        known = {} if progress is None else {"progress": asdict(progress)}
        update = sa.update(adoption_run).where(_columns.id == adoption_id)
        async with self._database.transaction() as connection:
            await connection.execute(update.values(alive_at=self._database.now(), **known))

    async def finish(self, report: AdoptionReport) -> float:
        """Records the end. Returns its time, in seconds since the epoch."""
        values = {
            "finished_at": self._database.now(),
            "plan_hash": report.plan.hash if report.plan else None,
            "outcome": report.outcome.value,
            "reason": report.reason,
            "plan": None if report.plan is None else asdict(report.plan),
            "result": None if report.result is None else asdict(report.result),
        }
        update = sa.update(adoption_run).where(_columns.id == report.adoption_id).values(**values)
        async with self._database.transaction() as connection:
            return float((await connection.execute(update.returning(_columns.finished_at))).scalar_one())

    async def report(self, adoption_id: int) -> AdoptionReport | None:
        """The report, so far if it is running. One whose process died counts as failed."""
        alive = is_alive(adoption_run, self._database.now()).label("is_alive")
        query = sa.select(adoption_run, alive).where(_columns.id == adoption_id)
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            return None
        order = AdoptionOrder(**row.requested)
        report = AdoptionReport(row.id, row.trigger, row.fence is None, order, row.started_at)
        if row.outcome is None:
            if not row.is_alive:
                return replace(report, outcome=RunOutcome.FAILED, reason="The process that ran it has stopped")
            return replace(report, progress=None if row.progress is None else Progress(**row.progress))
        return replace(
            report,
            outcome=RunOutcome(row.outcome),
            reason=row.reason,
            finished_at=row.finished_at,
            plan=None if row.plan is None else _plan(row.plan),
            result=None if row.result is None else _result(row.result),
        )

    async def has_plan(self, plan_hash: str, *, within: float) -> bool:
        """Whether a dry run of the last `within` seconds made this plan."""
        recent = sa.and_(_columns.started_at >= self._database.now() - within, _columns.fence.is_(None))
        query = sa.select(_columns.id).where(_columns.plan_hash == plan_hash, recent).limit(1)
        async with self._database.reading() as connection:
            return (await connection.execute(query)).scalar_one_or_none() is not None


def _plan(kept: Mapping[str, Any]) -> AdoptionPlan:
    entries = [row | {"match": Match(row["match"]), "keys": tuple(row["keys"])} for row in kept["entries"]]
    conflicts = [row | {"kind": ConflictKind(row["kind"])} for row in kept["conflicts"]]
    parts = {
        "entries": tuple(AdoptionEntry(**row) for row in entries),
        "conflicts": tuple(AdoptionConflict(**row) for row in conflicts),
    }
    return AdoptionPlan(**{**kept, **parts})


def _result(kept: Mapping[str, Any]) -> AdoptionResult:
    return AdoptionResult(tuple(Adopted(**row) for row in kept["adopted"]), kept["failed"])
