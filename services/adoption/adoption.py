"""Runs of an adoption: each rests on a dry run's plan, holds the cleanup's lease and leaves a report.

The lease is the cleanup's, so that nobody who is being moved is off-boarded in the middle, and never two run at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import structlog

from domain.adoption import Adopted, AdoptionOrder, AdoptionPlan, AdoptionReport, AdoptionResult
from domain.errors import ConflictError, OrchestratorError
from domain.identity import Principal
from domain.offboarding import Progress, RunOutcome
from services.adoption.adopt_user import AdoptUser
from services.adoption.reading import AdoptionReader
from state.adoption_runs import AdoptionRuns
from state.lease import HeldLease, Lease, LeaseLostError

log = structlog.get_logger(__name__)

_CONFIRMABLE_SECONDS = 3600.0
_CHANGED = "What would be done is not what the confirmed plan says any more; make a new dry run"


@dataclass(frozen=True, kw_only=True)
class Adoption:
    """Plans and adopts."""

    reader: AdoptionReader
    adopt_user: AdoptUser
    runs: AdoptionRuns
    lease: Lease

    async def begin(self, trigger: str, order: AdoptionOrder, held: HeldLease | None) -> AdoptionReport:
        """Records the start of a run, or of a dry run, which holds no lease."""
        return await self.runs.start(trigger=trigger, order=order, fence=held.fence if held else None)

    async def take(self, order: AdoptionOrder) -> HeldLease:
        """The lease for a run.

        Raises ConflictError without a hash, or if no dry run of the last hour made that plan; BusyError while a cleanup
        or another adoption is in progress.
        """
        if order.plan_hash is None:
            raise ConflictError("planHash is required: make a dry run, and confirm the hash of its plan")
        if not await self.runs.has_plan(order.plan_hash, within=_CONFIRMABLE_SECONDS):
            raise ConflictError("No dry run of the last hour made this plan; make a dry run and confirm its hash")
        return await self.lease.acquire()

    async def plan(self, report: AdoptionReport) -> AdoptionReport:
        """A dry run that has begun: changes nothing. Its report contains whatever goes wrong."""
        try:
            plan = await self.reader.read(report.order, partial(self._beat, report.adoption_id, None))
            report = replace(report, plan=plan, outcome=RunOutcome.PLANNED)
        except OrchestratorError as error:
            report = replace(report, outcome=RunOutcome.FAILED, reason=error.message)
        return await self._close(report)

    async def run(self, held: HeldLease, report: AdoptionReport, principal: Principal) -> AdoptionReport:
        """A run that has begun: adopts each user of the confirmed plan. Its report contains whatever goes wrong."""
        try:
            plan = await self.reader.read(report.order, partial(self._beat, report.adoption_id, held))
            report = replace(report, plan=plan)
            if plan.hash != report.order.plan_hash:
                report = replace(report, outcome=RunOutcome.REFUSED, reason=_CHANGED)
            else:
                report = _with_result(report, await self._adopt(held, report, plan, principal))
        except LeaseLostError:
            report = replace(report, outcome=RunOutcome.FAILED, reason="Another replica took over")
        except OrchestratorError as error:
            report = replace(report, outcome=RunOutcome.FAILED, reason=error.message)
        report = await self._close(report)
        await self._release(held)
        return report

    async def report(self, adoption_id: int) -> AdoptionReport | None:
        """The report of a run or dry run, so far if it is running."""
        return await self.runs.report(adoption_id)

    async def _adopt(
        self, held: HeldLease, report: AdoptionReport, plan: AdoptionPlan, principal: Principal
    ) -> AdoptionResult:
        adopted: list[Adopted] = []
        failed: dict[str, str] = {}
        for number, entry in enumerate(plan.entries):
            await self._beat(report.adoption_id, held, Progress(number, len(plan.entries)))
            try:
                beat = partial(self.lease.renew, held)
                adopted.append(await self.adopt_user(principal, entry, report.order, self.reader, beat))
            except OrchestratorError as error:
                failed[entry.owner] = error.message
        return AdoptionResult(tuple(adopted), failed)

    async def _beat(self, adoption_id: int, held: HeldLease | None, progress: Progress | None) -> None:
        if held is not None:
            await self.lease.renew(held)
        await self.runs.record_progress(adoption_id, progress)

    async def _close(self, report: AdoptionReport) -> AdoptionReport:
        write = log.info if report.outcome in (RunOutcome.DONE, RunOutcome.PLANNED) else log.warning
        result = report.result or AdoptionResult()
        figures = {"adopted": len(result.adopted), "failed": len(result.failed)}
        write("adoption", run=report.adoption_id, outcome=report.outcome, reason=report.reason, **figures)
        report = replace(report, progress=None)
        return replace(report, finished_at=await self.runs.finish(report))

    async def _release(self, held: HeldLease) -> None:
        try:
            await self.lease.release(held, next_run_in=None)
        except LeaseLostError:
            log.warning("the adoption took longer than its lease; another replica took over")


def _with_result(report: AdoptionReport, result: AdoptionResult) -> AdoptionReport:
    if result.failed:
        reason = f"{len(result.failed)} users failed; make a new dry run"
        return replace(report, result=result, outcome=RunOutcome.FAILED, reason=reason)
    return replace(report, result=result, outcome=RunOutcome.DONE)
