"""Runs of the cleanup: each holds the lease, each leaves a report, and never two at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from domain.errors import ConflictError, OrchestratorError
from domain.identity import Principal, Role
from domain.offboarding import (
    AcceptedBaseline,
    CleanupReport,
    ExecutionResult,
    Plan,
    Progress,
    RemovalLimits,
    RunOutcome,
    Snapshot,
)
from services.offboarding.execution import PlanExecution
from services.offboarding.plan import ImplausibleSnapshotError, make_plan, without_removals
from services.offboarding.report import figures
from services.offboarding.snapshot import SnapshotReader
from services.repetition import jittered
from settings.model import CleanupSettings
from state.cleanup_runs import CleanupRuns
from state.lease import HeldLease, Lease, LeaseLostError, Schedule
from telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

_CONFIRMABLE_SECONDS = 3600.0
ShowProgress = Callable[[int, int], None]
CLEANUP = Principal("cleanup", frozenset({Role.SYSTEM}))
"""The actor that blocks, restores and removes users on schedule."""


@dataclass(frozen=True, kw_only=True)
class Cleanup:
    """The cleanup."""

    snapshots: SnapshotReader
    execution: PlanExecution
    runs: CleanupRuns
    lease: Lease
    settings: CleanupSettings
    metrics: Metrics

    async def begin(self, trigger: str, held: HeldLease | None) -> CleanupReport:
        """Records the start of a run, or of a dry run, which holds no lease."""
        return await self.runs.start(trigger=trigger, fence=held.fence if held else None)

    async def plan(self, report: CleanupReport) -> CleanupReport:
        """A dry run that has begun: what a run would do now. Changes nothing. Raises UpstreamError."""

        async def beat(progress: Progress | None) -> None:
            await self.runs.record_progress(report.run_id, progress)

        try:
            snapshot = await self.snapshots.read(beat, is_dry_run=True)
            report = _with_snapshot(report, snapshot)
            plan = await self._plan(snapshot, report.started_at)
            report = replace(report, plan=plan, outcome=RunOutcome.PLANNED)
        except ImplausibleSnapshotError as error:
            report = replace(report, outcome=RunOutcome.REFUSED, reason=str(error))
        except OrchestratorError as error:
            await self._finish(replace(report, outcome=RunOutcome.FAILED, reason=error.message))
            raise
        return await self._finish(report)

    async def run_if_due(self) -> CleanupReport | None:
        """A run if one is due and no other replica has the lease."""
        held = await self.lease.acquire(only_if_due=True)
        return None if held is None else await self.run(held, await self.begin("schedule", held))

    async def take(self, plan_hash: str | None) -> HeldLease:
        """The lease for a run that an admin requested.

        Raises ConflictError if a run is in progress, or if no recent run made the plan with that hash.
        """
        if plan_hash is not None and not await self.runs.has_plan(plan_hash, within=_CONFIRMABLE_SECONDS):
            raise ConflictError(
                "No run or dry run of the last hour made this plan; make a dry run and confirm its hash"
            )
        held = await self.lease.acquire(only_if_due=False)
        if held is None:
            raise ConflictError("A run is in progress; read its report and retry")
        return held

    async def run(
        self,
        held: HeldLease,
        report: CleanupReport,
        plan_hash: str | None = None,
        show_progress: ShowProgress = lambda *_: None,
    ) -> CleanupReport:
        """A run that has begun. Its report contains whatever goes wrong; the next run repairs it."""

        async def beat(progress: Progress | None) -> None:
            await self.lease.renew(held)
            await self.runs.record_progress(report.run_id, progress)

        report = replace(report, outcome=RunOutcome.FAILED)
        baseline: AcceptedBaseline | None = None
        try:
            snapshot = await self.snapshots.read(beat)
            report = _with_snapshot(report, snapshot)
            plan = await self._plan(snapshot, report.started_at)
            refusal = _refusal(plan, plan_hash)
            if refusal is None:
                baseline = AcceptedBaseline(len(snapshot.members), len(snapshot.admins))
            result = await self.execution.run(
                without_removals(plan) if refusal else plan,
                snapshot.offboardings,
                held=held,
                principal=CLEANUP,
                confirmed=plan.refusal is not None and refusal is None,
                progress=show_progress,
            )
            report = _with_result(replace(report, plan=plan, result=result), refusal, result)
        except ImplausibleSnapshotError as error:
            report = replace(report, outcome=RunOutcome.REFUSED, reason=str(error))
        except LeaseLostError:
            report = replace(report, reason="Another replica took over")
        except OrchestratorError as error:
            report = replace(report, outcome=RunOutcome.REFUSED, reason=error.message)
        report = await self._finish(report, baseline)
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

    async def _plan(self, snapshot: Snapshot, now: float) -> Plan:
        limits = RemovalLimits(self.settings.grace_period, self.settings.max_removals)
        return make_plan(snapshot, await self.runs.last_baseline(), limits, now)

    async def _finish(self, report: CleanupReport, baseline: AcceptedBaseline | None = None) -> CleanupReport:
        write = log.info if report.outcome in (RunOutcome.DONE, RunOutcome.PLANNED) else log.warning
        write(
            "cleanup",
            run=report.run_id,
            outcome=report.outcome,
            reason=report.reason,
            users=report.users,
            **figures(report.result),
        )
        self._count(report)
        return replace(report, finished_at=await self.runs.finish(report, baseline))

    def _count(self, report: CleanupReport) -> None:
        self.metrics.cleanup_runs.labels("dry_run" if report.dry_run else "run", report.outcome).inc()
        if report.plan is not None and not report.dry_run:
            for entry in report.plan.entries:
                self.metrics.cleanup_planned.labels(entry.step).inc()
        if report.result is not None:
            for step, users in report.result.users.items():
                self.metrics.cleanup_users.labels(step).inc(len(users))
            self.metrics.cleanup_users.labels("failed").inc(len(report.result.failed))

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
    )


def _with_result(report: CleanupReport, refusal: str | None, result: ExecutionResult) -> CleanupReport:
    if refusal is not None:
        return replace(report, outcome=RunOutcome.REFUSED, reason=refusal)
    if result.failed:
        reason = f"{len(result.failed)} users failed; the next run retries them"
        return replace(report, outcome=RunOutcome.FAILED, reason=reason)
    return replace(report, outcome=RunOutcome.DONE)


def _refusal(plan: Plan, confirmed_hash: str | None) -> str | None:
    """Why nobody may be removed, or None. A confirmation is valid for exactly the plan that it names."""
    if confirmed_hash is None:
        return plan.refusal
    if confirmed_hash != plan.hash:
        return "The removals have changed since the plan was confirmed; make a new dry run"
    return None
