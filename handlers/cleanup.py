"""The operations on `/cleanup`."""

from __future__ import annotations

from typing import Any, TypedDict

from starlette.responses import Response

from domain.identity import Principal
from domain.offboarding import CleanupReport, RunOutcome
from handlers.responses import effect_headers, iso, json_response, location_of, long_json_response
from services.effect import Effect
from services.offboarding.administration import CleanupAdministration
from services.offboarding.cleanup_report import report_as_json


class _RunCleanupRequest(TypedDict, total=False):
    dry_run: bool
    plan_hash: str


async def get_cleanup(service: CleanupAdministration, principal: Principal) -> Response:
    """`GET /cleanup`: 200 with the last report and the time of the next run."""
    status = await service.status(principal)
    report = None if status.last_report is None else _report(status.last_report)
    plans = {"nextRunAt": iso(status.next_run_at), "gracePeriod": status.grace_period, "lastReport": report}
    return long_json_response({"enabled": status.enabled, "running": status.running} | plans)


async def run_cleanup(
    service: CleanupAdministration, principal: Principal, body: _RunCleanupRequest, effect: Effect
) -> Response:
    """`POST /cleanup`: 200 with the report of a dry run, or 202 for a run, or a dry run that takes long."""
    if body.get("dry_run", True):
        report = await service.plan(principal)
    else:
        report = await service.start(principal, body.get("plan_hash"))
    if report.outcome is not RunOutcome.RUNNING:
        return long_json_response(_report(report))
    headers = location_of(("cleanup", "runs", str(report.run_id))) | effect_headers(effect.of_run(report))
    return json_response({"running": True, "runId": report.run_id}, 202, headers)


async def get_cleanup_run(service: CleanupAdministration, principal: Principal, run_id: int) -> Response:
    """`GET /cleanup/runs/{runId}`: 200 with the report, so far if it is running."""
    return long_json_response(_report(await service.report(principal, run_id)))


def _report(report: CleanupReport) -> dict[str, Any]:
    return report_as_json(report, time=iso, rows=iter)
