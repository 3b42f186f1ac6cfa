"""Runs of the cleanup: each under the lease, each with a report, never two at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import structlog

from clients.backstage.catalog import Catalog
from domain.errors import ConflictError, OrchestratorError
from services.access import GroupRefs, Principal
from services.offboarding import report as reports
from services.offboarding import snapshot as snapshots
from services.offboarding.apply import Done, Steps
from services.offboarding.plan import Limits, Plan, UnbelievableError, make
from services.offboarding.report import Outcome, Report
from services.offboarding.snapshot import Snapshot
from state.cleanup_runs import Believed, CleanupRuns
from state.lease import Held, LeaseLostError, Schedule

log = structlog.get_logger(__name__)

_CONFIRMABLE_SECONDS = 3600.0
Progress = Callable[[int, int], None]
CLEANUP = Principal("cleanup", frozenset())
"""Who blocks, restores and removes by itself."""


@dataclass(frozen=True)
class Neighbours:
    """What a run looks at and changes."""

    catalog: Catalog
    runs: CleanupRuns
    steps: Steps


class Cleanup:
    """The cleanup of one service. `owner` names this replica; `interval` is in seconds."""

    def __init__(
        self, neighbours: Neighbours, groups: GroupRefs, limits: Limits, *, owner: str, interval: Callable[[], float]
    ) -> None:
        self._catalog = neighbours.catalog
        self._litellm = neighbours.steps.litellm
        self._lease = neighbours.steps.lease
        self._runs = neighbours.runs
        self._offboardings = neighbours.steps.offboardings
        self._steps = neighbours.steps
        self._groups = groups
        self._limits = limits
        self._owner = owner
        self._interval = interval

    async def plan(self, trigger: str) -> Report:
        """A dry run: what a run would do now, changing nothing. Raises UpstreamError."""
        run_id, started_at = await self._runs.start(trigger=trigger, owner=self._owner, fence=None)
        report = reports.begun(run_id, trigger, started_at, dry_run=True)
        plan: Plan | None = None
        try:
            snapshot = await self._snapshot(_nothing)
            report |= reports.found(snapshot)
            plan = await self._counted(await self._plan(snapshot, started_at))
            report |= reports.planned(plan) | {"outcome": Outcome.PLANNED.value}
        except UnbelievableError as error:
            report |= {"outcome": Outcome.REFUSED.value, "reason": str(error)}
        except OrchestratorError as error:
            report["reason"] = error.message
            raise
        finally:
            report["finishedAt"] = await self._finish(run_id, report, plan, believed=None)
        return report

    async def run_if_due(self) -> Report | None:
        """A run, where one is due and no other replica has it; else None."""
        held = await self._lease.acquire(self._owner, only_if_due=True)
        return None if held is None else await self.run(held, "schedule")

    async def take(self, plan_hash: str | None) -> Held:
        """The lease for a run that an admin asked for.

        Raises ConflictError where a run is under way, or where nobody came to the plan of that hash lately.
        """
        if plan_hash is not None and not await self._runs.knows_plan(plan_hash, within=_CONFIRMABLE_SECONDS):
            raise ConflictError(
                "No run or dry run of the last hour came to that plan; make a dry run and confirm its hash"
            )
        held = await self._lease.acquire(self._owner, only_if_due=False)
        if held is None:
            raise ConflictError("A run is under way; ask for its report and try again")
        return held

    async def run(
        self, held: Held, trigger: str, plan_hash: str | None = None, progress: Progress = lambda *_: None
    ) -> Report:
        """One run under `held`. Whatever goes wrong stands in the report; the next run makes good."""
        run_id, started_at = await self._runs.start(trigger=trigger, owner=self._owner, fence=held.fence)
        report = reports.begun(run_id, trigger, started_at, dry_run=False)
        plan: Plan | None = None
        believed: Believed | None = None
        try:
            snapshot = await self._snapshot(lambda: self._lease.renew(held))
            report |= reports.found(snapshot)
            plan = await self._plan(snapshot, started_at)
            refusal = _refusal(plan, plan_hash)
            if refusal is None:
                believed = Believed(len(snapshot.members), len(snapshot.admins))
            confirmed = plan.refusal is not None and refusal is None
            applying = self._steps.held_by(held, CLEANUP, confirmed=confirmed)
            done = await applying.run(plan.without_removals() if refusal else plan, snapshot.offboardings, progress)
            report |= reports.planned(plan) | reports.applied(done) | _outcome(refusal, done)
        except UnbelievableError as error:
            report |= {"outcome": Outcome.REFUSED.value, "reason": str(error)}
        except LeaseLostError:
            report["reason"] = "Another replica took over"
        except OrchestratorError as error:
            report |= {"outcome": Outcome.REFUSED.value, "reason": error.message}
        report["finishedAt"] = await self._finish(run_id, report, plan, believed)
        await self._release(held)
        return report

    async def last_report(self) -> Report | None:
        """Of the last run that finished."""
        return await self._runs.last_report()

    async def schedule(self) -> Schedule:
        """When the next run is due."""
        return await self._lease.schedule()

    async def _snapshot(self, still_ours: Callable[[], Awaitable[None]]) -> Snapshot:
        return await snapshots.take(self._catalog, self._litellm, self._offboardings, self._groups, still_ours)

    async def _plan(self, snapshot: Snapshot, now: float) -> Plan:
        return make(snapshot, await self._runs.last_believed(), self._limits, now)

    async def _counted(self, plan: Plan) -> Plan:
        counted = [replace(e, keys=len(await self._litellm.list_keys(e.user_id))) for e in plan.entries]
        return replace(plan, entries=tuple(counted))

    async def _finish(self, run_id: int, report: Report, plan: Plan | None, believed: Believed | None) -> float:
        level = log.info if report["outcome"] in (Outcome.DONE, Outcome.PLANNED) else log.warning
        told = {"outcome": report["outcome"], "reason": report["reason"], "users": report["users"]}
        level("cleanup", run=run_id, **told, **reports.figures(report))
        plan_hash = plan.hash if plan else None
        return await self._runs.finish(
            run_id, outcome=report["outcome"], plan_hash=plan_hash, believed=believed, report=report
        )

    async def _release(self, held: Held) -> None:
        try:
            await self._lease.release(held, next_run_in=self._interval())
        except LeaseLostError:
            log.warning("cleanup took longer than its lease; another replica has it by now")


def _refusal(plan: Plan, confirmed_hash: str | None) -> str | None:
    """Why nobody is to be removed, or None. A confirmation holds for exactly the plan that it names."""
    if confirmed_hash is None or confirmed_hash == plan.hash:
        return plan.refusal if confirmed_hash is None else None
    return "Who is to be removed has changed since the plan that was confirmed; look at it again"


def _outcome(refusal: str | None, done: Done) -> Report:
    if refusal is not None:
        return {"outcome": Outcome.REFUSED.value, "reason": refusal}
    if done.failed:
        return {"outcome": Outcome.FAILED.value, "reason": f"{len(done.failed)} users failed and are tried again"}
    return {"outcome": Outcome.DONE.value}


async def _nothing() -> None:
    """A dry run holds no lease."""
