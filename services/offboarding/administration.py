"""The cleanup for admins: what it did, what it would do, and running it now."""

from __future__ import annotations

import asyncio

from domain.errors import ConflictError
from domain.identity import Principal
from domain.offboarding import CleanupReport, CleanupStatus
from services.access import authorize_admin
from services.offboarding.cleanup import Cleanup


class CleanupAdministration:
    """`cleanup` is None if there is no catalog to ask. `scheduled` says whether it runs on schedule."""

    def __init__(self, *, cleanup: Cleanup | None, scheduled: bool) -> None:
        self._cleanup = cleanup
        self._scheduled = scheduled
        self._running: set[asyncio.Task[CleanupReport]] = set()

    async def status(self, principal: Principal) -> CleanupStatus:
        """The last report and the next run. Raises NotAllowedError."""
        authorize_admin(principal)
        if self._cleanup is None:
            return CleanupStatus(enabled=False, running=False, next_run_at=None, last_report=None)
        schedule, report = await self._cleanup.schedule(), await self._cleanup.last_report()
        next_run_at = schedule.next_run_at if self._scheduled else None
        return CleanupStatus(self._scheduled, schedule.running, next_run_at, report)

    async def plan(self, principal: Principal) -> CleanupReport:
        """A dry run. Raises NotAllowedError, ConflictError without a catalog, UpstreamError."""
        return await self._configured(principal).plan(principal.subject)

    async def start(self, principal: Principal, plan_hash: str | None) -> None:
        """Starts a run in the background. Raises NotAllowedError, ConflictError (also if one is in progress)."""
        cleanup = self._configured(principal)
        held = await cleanup.take(plan_hash)
        task = asyncio.create_task(cleanup.run(held, principal.subject, plan_hash))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def finish(self) -> None:
        """Waits for the runs that were started here."""
        await asyncio.gather(*self._running, return_exceptions=True)

    def _configured(self, principal: Principal) -> Cleanup:
        authorize_admin(principal)
        if self._cleanup is None:
            raise ConflictError("The cleanup is not configured: it needs litellmOrchestrator.backstage.catalogToken")
        return self._cleanup
