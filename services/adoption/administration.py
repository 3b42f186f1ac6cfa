"""Adoptions for admins: what one would do, running it, and its report."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

from domain.adoption import AdoptionOrder, AdoptionReport
from domain.errors import ConflictError, NotFoundError, OrchestratorError
from domain.identity import Permission, Principal
from services.access import authorize
from services.adoption.adoption import Adoption

log = structlog.get_logger(__name__)


class AdoptionAdministration:
    """`adoption` is None if there is no catalog to ask."""

    def __init__(self, *, adoption: Adoption | None) -> None:
        self._adoption = adoption
        self._running: set[asyncio.Task[AdoptionReport]] = set()

    async def start(self, principal: Principal, order: AdoptionOrder, *, dry_run: bool) -> AdoptionReport:
        """Starts a run or a dry run in the background, and returns its report so far.

        Raises NotAllowedError, InputError (a run without a hash), ConflictError without a catalog or without a dry run
        of the last hour that made the plan, BusyError, DatabaseUnavailableError.
        """
        authorize(principal, Permission.ADOPTIONS_READ if dry_run else Permission.USERS_ADOPT)
        if self._adoption is None:
            raise ConflictError("Adoption is not configured: it needs litellmOrchestrator.backstage.catalogToken")
        if dry_run:
            report = await self._adoption.begin(principal.subject, order, None)
            self._in_background(self._adoption.plan(report))
            return report
        held = await self._adoption.take(order)
        report = await self._adoption.begin(principal.subject, order, held)
        self._in_background(self._adoption.run(held, report, principal))
        return report

    async def report(self, principal: Principal, adoption_id: int) -> AdoptionReport:
        """The report of a run or dry run of the last 30 days. Raises NotAllowedError, NotFoundError."""
        authorize(principal, Permission.ADOPTIONS_READ)
        report = None if self._adoption is None else await self._adoption.report(adoption_id)
        if report is None:
            raise NotFoundError("There is no adoption with that id; they are kept for 30 days")
        return report

    async def finish(self) -> None:
        """Waits for those that were started here."""
        await asyncio.gather(*self._running, return_exceptions=True)

    def _in_background(self, run: Coroutine[Any, Any, AdoptionReport]) -> None:
        task = asyncio.create_task(run)
        self._running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[AdoptionReport]) -> None:
        self._running.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, OrchestratorError):
            log.error("unexpected error in an adoption", exc_info=error)
