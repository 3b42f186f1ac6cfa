"""The cleanup for an admin: what it did, what it would do, and doing it now."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from domain.errors import ConflictError
from services.access import Principal, authorize_admin
from services.offboarding.cleanup import Cleanup
from services.offboarding.report import Report


@dataclass(frozen=True)
class CleanupStatus:
    """`next_run_at` is in seconds since the epoch; None, like the report, where there is none."""

    enabled: bool
    running: bool
    next_run_at: float | None
    last_report: Report | None


class CleanupAdministration:
    """`cleanup` is None where there is no catalog to ask; `scheduled` says whether it runs by itself."""

    def __init__(self, cleanup: Cleanup | None, *, scheduled: bool) -> None:
        self._cleanup = cleanup
        self._scheduled = scheduled
        self._under_way: set[asyncio.Task[Report]] = set()

    async def status(self, principal: Principal) -> CleanupStatus:
        """The last report and the next run. Raises NotAllowedError."""
        authorize_admin(principal)
        if self._cleanup is None:
            return CleanupStatus(enabled=False, running=False, next_run_at=None, last_report=None)
        schedule, report = await self._cleanup.schedule(), await self._cleanup.last_report()
        next_run_at = schedule.next_run_at if self._scheduled else None
        return CleanupStatus(self._scheduled, schedule.running, next_run_at, report)

    async def plan(self, principal: Principal) -> Report:
        """A dry run. Raises NotAllowedError, ConflictError where there is no catalog, UpstreamError."""
        return await self._configured(principal).plan(principal.subject)

    async def start(self, principal: Principal, plan_hash: str | None) -> None:
        """Begin a run and leave it running. Raises NotAllowedError, and ConflictError also while one runs."""
        cleanup = self._configured(principal)
        held = await cleanup.take(plan_hash)
        task = asyncio.create_task(cleanup.run(held, principal.subject, plan_hash))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def finish(self) -> None:
        """Wait for the runs that were begun here."""
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _configured(self, principal: Principal) -> Cleanup:
        authorize_admin(principal)
        if self._cleanup is None:
            raise ConflictError("There is no cleanup here: it needs litellmOrchestrator.backstage.catalogToken")
        return self._cleanup
