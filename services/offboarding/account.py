"""What a run of the cleanup leaves behind: its report, its event in the audit log, its line in the log, its figures."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace

import structlog

from domain.actions import Action, Ending, Outcome
from domain.identity import Principal
from domain.offboarding import AcceptedBaseline, CleanupReport, Hold, Plan, RunOutcome, Step
from services.changes.change import Change
from services.changes.changes import Changes
from services.offboarding.cleanup_report import figures
from services.offboarding.plan import Verdict
from state.cleanup_runs import CleanupRuns
from telemetry.metrics import Metrics

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Order:
    """Who started a run, and the hash of the plan that they confirmed; None if they confirmed none.

    `show_progress` gets the number of users that are done, and of all.
    """

    by: Principal
    plan_hash: str | None = None
    show_progress: Callable[[int, int], None] = lambda *_: None


@dataclass(frozen=True, kw_only=True)
class RunAccount:
    """Keeps account of runs."""

    runs: CleanupRuns
    changes: Changes
    metrics: Metrics

    @asynccontextmanager
    async def recorded(self, order: Order, run_id: int, plan: Plan, verdict: Verdict) -> AsyncIterator[dict[str, int]]:
        """Records a run in the audit log before its first step, and when it ends with the counts that it is given.

        A run that was not confirmed, and blocks, deletes or restores nobody, leaves no event.
        """
        counts: dict[str, int] = {}
        if order.plan_hash is None and all(entry.step is Step.HOLD for entry in verdict.entries):
            yield counts
            return
        async with self._change(order, run_id, plan.hash, is_confirmed=verdict.is_confirmed) as change:
            yield counts
            outcome = Outcome.DONE if verdict.refusal is None else Outcome.FAILED
            await change.end(Ending(outcome, after=counts, detail=verdict.refusal))

    async def close(
        self,
        order: Order | None,
        report: CleanupReport,
        baseline: AcceptedBaseline | None = None,
        newest_key_at: float | None = None,
    ) -> CleanupReport:
        """Records the end of a run, or of a dry run, which has no `order`. Returns the report with its time."""
        if order is not None and order.plan_hash is not None and report.plan is None:
            # The confirmation led to nothing, because there was no plan to compare it with.
            async with self._change(order, report.run_id, order.plan_hash, is_confirmed=False) as change:
                await change.end(Ending(Outcome.FAILED, detail=report.reason))
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
        return replace(report, finished_at=await self.runs.finish(report, baseline, newest_key_at))

    def _change(
        self, order: Order, run_id: int, plan_hash: str, *, is_confirmed: bool
    ) -> AbstractAsyncContextManager[Change]:
        requested = {"runId": run_id, "planHash": plan_hash, "confirmed": is_confirmed}
        return self.changes.begin(order.by, Action.CLEANUP_RUN, None, requested=requested)

    def _count(self, report: CleanupReport) -> None:
        self.metrics.cleanup_runs.labels("dry_run" if report.dry_run else "run", report.outcome).inc()
        if report.plan is not None and not report.dry_run:
            for entry in report.plan.entries:
                waits = entry.hold in (Hold.POSTPONED, Hold.FOREIGN)
                self.metrics.cleanup_planned.labels(entry.hold if waits else entry.step).inc()
        if report.result is not None:
            for step, users in report.result.users.items():
                self.metrics.cleanup_users.labels(step).inc(len(users))
            self.metrics.cleanup_users.labels("failed").inc(len(report.result.failed))
