"""The table `cleanup_run`: what each run of the cleanup found and did."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, replace
from typing import Any

import sqlalchemy as sa

from domain.offboarding import (
    AcceptedBaseline,
    CleanupFinding,
    CleanupReport,
    ExecutionResult,
    Plan,
    Progress,
    RunOutcome,
    Step,
)
from state.database import Database
from state.lease import is_alive
from state.plan_entries import PackedEntries, entry_from, pack
from state.tables import cleanup_run

_KEPT_SECONDS = 30 * 86400.0
_RUNNING, _DIED = "running", "died"
_columns = cleanup_run.c


class CleanupRuns:
    """The rows. `owner` names this replica."""

    def __init__(self, database: Database, *, owner: str) -> None:
        self._database = database
        self._owner = owner

    async def start(self, *, trigger: str, fence: int | None) -> CleanupReport:
        """Records the start of a run; a dry run has no fence. Returns its report so far.

        Marks a run of an earlier holder that never finished as died, and deletes runs older than 30 days, except the
        last accepted one, which is the baseline of the next.
        """
        now = self._database.now()
        accepted = sa.select(sa.func.max(_columns.id)).where(_columns.accepted_members.is_not(None))
        old = sa.and_(_columns.started_at < now - _KEPT_SECONDS, _columns.id < accepted.scalar_subquery())
        async with self._database.transaction() as connection:
            await connection.execute(sa.delete(cleanup_run).where(old))
            if fence is not None:
                unfinished = sa.and_(_columns.outcome == _RUNNING, _columns.fence < fence)
                await connection.execute(sa.update(cleanup_run).where(unfinished).values(outcome=_DIED))
            row = {"trigger": trigger, "owner": self._owner, "fence": fence, "outcome": _RUNNING}
            insert = sa.insert(cleanup_run).values(**row, started_at=now, alive_at=now)
            run_id, started_at = (await connection.execute(insert.returning(_columns.id, _columns.started_at))).one()
        return CleanupReport(run_id, trigger, fence is None, started_at, RunOutcome.RUNNING)

    async def record_progress(self, run_id: int, progress: Progress | None) -> None:
        """Records that the run is alive, and how far it is once that is known."""
        known = {} if progress is None else {"progress": asdict(progress)}
        update = sa.update(cleanup_run).where(_columns.id == run_id)
        async with self._database.transaction() as connection:
            await connection.execute(update.values(alive_at=self._database.now(), **known))

    async def finish(
        self, report: CleanupReport, baseline: AcceptedBaseline | None, newest_key_at: float | None
    ) -> float:
        """Records the end of a run. Returns its time, in seconds since the epoch. `newest_key_at`: see `Snapshot`."""
        values = {
            "finished_at": self._database.now(),
            "outcome": report.outcome.value,
            "plan_hash": report.plan.hash if report.plan else None,
            **{f"accepted_{name}": size for name, size in (asdict(baseline) if baseline else {}).items()},
            "newest_key_at": newest_key_at,
            "unmanaged_owners": None if report.plan is None else _number_of("unmanaged", report.findings),
            "plan_entries": None if report.plan is None else pack(report.plan.entries),
            "report": asdict(_without_entries(report)),
        }
        update = sa.update(cleanup_run).where(_columns.id == report.run_id).values(**values)
        async with self._database.transaction() as connection:
            return float((await connection.execute(update.returning(_columns.finished_at))).scalar_one())

    async def report(self, run_id: int) -> CleanupReport | None:
        """The report of a run or dry run, so far if it is running. One that died counts as failed."""
        alive = is_alive(cleanup_run, self._database.now()).label("is_alive")
        query = sa.select(cleanup_run, alive).where(_columns.id == run_id)
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            return None
        if row.report is not None:
            return _report(row)
        begun = CleanupReport(row.id, row.trigger, row.fence is None, row.started_at, RunOutcome.RUNNING)
        if not row.is_alive:
            return replace(begun, outcome=RunOutcome.FAILED, reason="The process that ran it has stopped")
        return replace(begun, progress=None if row.progress is None else Progress(**row.progress))

    async def last_report(self) -> CleanupReport | None:
        """The report of the last run, or dry run, that finished."""
        query = sa.select(cleanup_run).where(_columns.report.is_not(None))
        async with self._database.reading() as connection:
            row = (await connection.execute(query.order_by(_columns.id.desc()).limit(1))).one_or_none()
        return None if row is None else _report(row)

    async def last_baseline(self) -> AcceptedBaseline | None:
        """The size of the last accepted snapshot."""
        sizes = {field.name: _columns[f"accepted_{field.name}"] for field in fields(AcceptedBaseline)}
        query = sa.select(*(sa.func.coalesce(column, 0).label(name) for name, column in sizes.items()))
        query = query.where(_columns.accepted_members.is_not(None))
        async with self._database.reading() as connection:
            row = (await connection.execute(query.order_by(_columns.id.desc()).limit(1))).mappings().one_or_none()
        return None if row is None else AcceptedBaseline(**row)

    async def newest_key_at(self) -> float | None:
        """Where to begin to look for new keys: what the last run said that executed a plan."""
        query = sa.select(_columns.newest_key_at).where(_columns.newest_key_at.is_not(None))
        async with self._database.reading() as connection:
            return (await connection.execute(query.order_by(_columns.id.desc()).limit(1))).scalar_one_or_none()

    async def has_plan(self, plan_hash: str, *, within: float) -> bool:
        """Whether a run or dry run of the last `within` seconds made this plan."""
        recent = _columns.started_at >= self._database.now() - within
        query = sa.select(_columns.id).where(_columns.plan_hash == plan_hash, recent).limit(1)
        async with self._database.reading() as connection:
            return (await connection.execute(query)).scalar_one_or_none() is not None


def _number_of(kind: str, findings: Iterable[CleanupFinding]) -> int:
    return sum(finding.kind == kind for finding in findings)


def _without_entries(report: CleanupReport) -> CleanupReport:
    return report if report.plan is None else replace(report, plan=replace(report.plan, entries=()))


def _report(row: sa.Row[Any]) -> CleanupReport:
    kept: Mapping[str, Any] = row.report
    plan, result = kept["plan"], kept["result"]
    if plan is not None:
        # An earlier version kept the entries in the report itself.
        entries = (
            tuple(map(entry_from, plan["entries"])) if row.plan_entries is None else PackedEntries(row.plan_entries)
        )
        plan = Plan(entries, plan["hash"], plan["refusal"], plan.get("max_deletions"))
    if result is not None:
        users = {Step(step): ids for step, ids in result["users"].items()}
        result = ExecutionResult(users, {Step(step): n for step, n in result["keys"].items()}, result["failed"])
    # Reports of an older version have none.
    findings = tuple(CleanupFinding(**finding) for finding in kept.get("findings", ()))
    nouns = {"outcome": RunOutcome(kept["outcome"]), "plan": plan, "result": result, "findings": findings}
    return CleanupReport(**{**kept, **nouns, "finished_at": row.finished_at})
