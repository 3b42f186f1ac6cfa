"""Adoptions for admins: what one would do, running it, and its report."""

from __future__ import annotations

from domain.adoption import AdoptionOrder, AdoptionReport
from domain.errors import ConflictError, NotFoundError
from domain.identity import Permission, Principal
from services.access import authorize
from services.adoption.adoption import Adoption
from services.background_runs import BackgroundRuns


class AdoptionAdministration:
    """`adoption` is None if there is no catalog to ask."""

    def __init__(self, *, adoption: Adoption | None) -> None:
        self._adoption = adoption
        self._runs: BackgroundRuns[AdoptionReport] = BackgroundRuns("unexpected error in an adoption")

    async def start(self, principal: Principal, order: AdoptionOrder, *, dry_run: bool) -> AdoptionReport:
        """Starts a run or a dry run in the background, and returns its report so far.

        Raises NotAllowedError, ConflictError (no catalog, no hash, or no dry run of the last hour that made the plan),
        BusyError, DatabaseUnavailableError.
        """
        authorize(principal, Permission.ADOPTIONS_READ if dry_run else Permission.USERS_ADOPT)
        if self._adoption is None:
            raise ConflictError("Adoption is not configured: it needs litellmOrchestrator.backstage.catalogToken")
        if dry_run:
            report = await self._adoption.begin(principal.subject, order, None)
            self._runs.start(self._adoption.plan(report))
            return report
        held = await self._adoption.take(order)
        report = await self._adoption.begin(principal.subject, order, held)
        self._runs.start(self._adoption.run(held, report, principal))
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
        await self._runs.finish()
