"""The cleanup for admins: what it did, what it would do, and running it now."""

from __future__ import annotations

import asyncio

from domain.errors import ConflictError, NotFoundError
from domain.identity import Permission, Principal
from domain.offboarding import CleanupReport, CleanupStatus
from services.access import authorize
from services.background_runs import BackgroundRuns
from services.offboarding.account import Order
from services.offboarding.cleanup import Cleanup


class CleanupAdministration:
    """`cleanup` is None if there is no catalog to ask. `scheduled` says whether it runs on schedule.

    `patience` is the time in seconds that a caller waits for a dry run.
    """

    def __init__(self, *, cleanup: Cleanup | None, scheduled: bool, patience: float) -> None:
        self._cleanup = cleanup
        self._scheduled = scheduled
        self._patience = patience
        self._runs: BackgroundRuns[CleanupReport] = BackgroundRuns("unexpected error in a run of the cleanup")

    async def status(self, principal: Principal) -> CleanupStatus:
        """The last report and the next run. Raises NotAllowedError."""
        authorize(principal, Permission.CLEANUP_READ)
        if self._cleanup is None:
            return CleanupStatus(enabled=False, running=False, next_run_at=None, grace_period=None, last_report=None)
        schedule, report = await self._cleanup.schedule(), await self._cleanup.last_report()
        next_run_at = schedule.next_run_at if self._scheduled else None
        grace_period = self._cleanup.settings.grace_period
        return CleanupStatus(self._scheduled, schedule.running, next_run_at, grace_period, report)

    async def plan(self, principal: Principal) -> CleanupReport:
        """A dry run. Its outcome is `running` if it takes longer than the caller waits: `report` has the rest.

        Raises NotAllowedError, ConflictError without a catalog, UpstreamError.
        """
        cleanup = self._configured(principal, Permission.CLEANUP_READ)
        report = await cleanup.begin(principal.subject, None)
        task = self._runs.start(cleanup.plan(report))
        await asyncio.wait({task}, timeout=self._patience)
        return task.result() if task.done() else report

    async def start(self, principal: Principal, plan_hash: str | None) -> CleanupReport:
        """Starts a run in the background. Raises NotAllowedError, ConflictError (also if one is in progress)."""
        cleanup = self._configured(principal, Permission.CLEANUP_RUN)
        held = await cleanup.take(plan_hash)
        report = await cleanup.begin(principal.subject, held)
        self._runs.start(cleanup.run(held, report, Order(principal, plan_hash)))
        return report

    async def report(self, principal: Principal, run_id: int) -> CleanupReport:
        """The report of a run or dry run of the last 30 days. Raises NotAllowedError, NotFoundError."""
        authorize(principal, Permission.CLEANUP_READ)
        report = None if self._cleanup is None else await self._cleanup.report(run_id)
        if report is None:
            raise NotFoundError("There is no run with that id; runs are kept for 30 days")
        return report

    async def finish(self) -> None:
        """Waits for the runs that were started here."""
        await self._runs.finish()

    def _configured(self, principal: Principal, permission: Permission) -> Cleanup:
        authorize(principal, permission)
        if self._cleanup is None:
            raise ConflictError("The cleanup is not configured: it needs litellmOrchestrator.backstage.catalogToken")
        return self._cleanup
