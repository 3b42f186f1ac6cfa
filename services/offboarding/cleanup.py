"""Runs of the cleanup: each holds the lease, each leaves a report, and never two at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import structlog

from domain.errors import ConflictError, OrchestratorError
from domain.identity import Principal, Role
from domain.offboarding import (
    AcceptedBaseline,
    CleanupLimits,
    CleanupReport,
    ExecutionResult,
    Plan,
    Progress,
    RunOutcome,
    Snapshot,
)
from services.offboarding.account import Order, RunAccount
from services.offboarding.cleanup_report import figures
from services.offboarding.execution import PlanExecution
from services.offboarding.plan import ImplausibleSnapshotError, judged, make_plan
from services.offboarding.snapshot import SnapshotReader
from services.repetition import jittered
from settings.model import CleanupSettings
from state.cleanup_runs import CleanupRuns
from state.lease import HeldLease, Lease, LeaseLostError, Schedule

log = structlog.get_logger(__name__)

_CONFIRMABLE_SECONDS = 3600.0
CLEANUP = Principal("cleanup", frozenset({Role.SYSTEM}))
"""The actor that off-boards and restores users, and that starts runs on schedule."""


@dataclass(frozen=True, kw_only=True)
class Cleanup:
    """The cleanup."""

    snapshots: SnapshotReader
    execution: PlanExecution
    runs: CleanupRuns
    lease: Lease
    settings: CleanupSettings
    account: RunAccount

    async def begin(self, trigger: str, held: HeldLease | None) -> CleanupReport:
        """Records the start of a run, or of a dry run, which holds no lease."""
        return await self.runs.start(trigger=trigger, fence=held.fence if held else None)

    async def plan(self, report: CleanupReport) -> CleanupReport:
        """A dry run that has begun: what a run would do now. Changes nothing. Raises UpstreamError."""
        beat = partial(self._beat, report.run_id, None)
        try:
            snapshot = await self.snapshots.read(beat, report.started_at, is_dry_run=True)
            report = _with_snapshot(report, snapshot)
            plan = await self._plan(snapshot, report.started_at)
            report = replace(report, plan=plan, outcome=RunOutcome.PLANNED)
        except ImplausibleSnapshotError as error:
            report = replace(report, outcome=RunOutcome.REFUSED, reason=str(error))
        except OrchestratorError as error:
            await self.account.close(None, replace(report, outcome=RunOutcome.FAILED, reason=error.message))
            raise
        return await self.account.close(None, report)

    async def run_if_due(self) -> None:
        """A run if one is due and no other replica has the lease."""
        if held := await self.lease.acquire_if_due():
            await self.run(held, await self.begin("schedule", held), Order(CLEANUP))

    async def take(self, plan_hash: str | None) -> HeldLease:
        """The lease for a run that an admin requested.

        Raises BusyError while a run or an adoption is in progress, ConflictError if no recent run made the plan with
        that hash.
        """
        if plan_hash is not None and not await self.runs.has_plan(plan_hash, within=_CONFIRMABLE_SECONDS):
            raise ConflictError(
                "No run or dry run of the last hour made this plan; make a dry run and confirm its hash"
            )
        return await self.lease.acquire()

    async def run(self, held: HeldLease, report: CleanupReport, order: Order) -> CleanupReport:
        """A run that has begun. Its report contains whatever goes wrong; the next run repairs it."""
        baseline: AcceptedBaseline | None = None
        newest_key_at: float | None = None
        try:
            snapshot = await self.snapshots.read(partial(self._beat, report.run_id, held), report.started_at)
            report = _with_snapshot(report, snapshot)
            plan = await self._plan(snapshot, report.started_at)
            verdict = judged(plan, order.plan_hash)
            if verdict.refusal is None:
                baseline = snapshot.sizes
            async with self.account.recorded(order, report.run_id, plan, verdict) as counts:
                result = await self.execution.run(
                    verdict.entries,
                    snapshot.offboardings,
                    held=held,
                    principal=CLEANUP,
                    confirmed_by=order.by.subject if verdict.is_confirmed else None,
                    progress=order.show_progress,
                )
                counts.update(figures(result))
            newest_key_at = snapshot.newest_key_at
            report = _with_result(replace(report, plan=plan, result=result), verdict.refusal, result)
        except ImplausibleSnapshotError as error:
            report = replace(report, outcome=RunOutcome.REFUSED, reason=str(error))
        except LeaseLostError:
            report = replace(report, outcome=RunOutcome.FAILED, reason="Another replica took over")
        except OrchestratorError as error:
            report = replace(report, outcome=RunOutcome.REFUSED, reason=error.message)
        report = await self.account.close(order, report, baseline, newest_key_at)
        await self._release(held)
        return report

    async def report(self, run_id: int) -> CleanupReport | None:
        """The report of a run or dry run, which may still be running."""
        return await self.runs.report(run_id)

    async def last_report(self) -> CleanupReport | None:
        """The report of the last run, or dry run, that finished."""
        return await self.runs.last_report()

    async def schedule(self) -> Schedule:
        """When the next run is due."""
        return await self.lease.schedule()

    async def _beat(self, run_id: int, held: HeldLease | None, progress: Progress | None) -> None:
        """Says that a run is alive; a dry run holds no lease."""
        if held is not None:
            await self.lease.renew(held)
        await self.runs.record_progress(run_id, progress)

    async def _plan(self, snapshot: Snapshot, now: float) -> Plan:
        limits = CleanupLimits(
            grace_period=self.settings.grace_period,
            max_removals=self.settings.max_removals,
            max_deletions=self.settings.max_deletions,
            delete_foreign=self.settings.delete_foreign,
        )
        return make_plan(snapshot, await self.runs.last_baseline(), limits, now)

    async def _release(self, held: HeldLease) -> None:
        try:
            await self.lease.release(held, next_run_in=jittered(self.settings.interval))
        except LeaseLostError:
            log.warning("the cleanup took longer than its lease; another replica took over")


def _with_snapshot(report: CleanupReport, snapshot: Snapshot) -> CleanupReport:
    return replace(
        report,
        members=len(snapshot.members),
        admins=len(snapshot.admins),
        users=snapshot.users,
        swept_at=snapshot.swept_at,
        findings=snapshot.findings,
        orphans=snapshot.orphans,
    )


def _with_result(report: CleanupReport, refusal: str | None, result: ExecutionResult) -> CleanupReport:
    if refusal is not None:
        return replace(report, outcome=RunOutcome.REFUSED, reason=refusal)
    if result.failed:
        reason = f"{len(result.failed)} users failed; the next run retries them"
        return replace(report, outcome=RunOutcome.FAILED, reason=reason)
    return replace(report, outcome=RunOutcome.DONE)
