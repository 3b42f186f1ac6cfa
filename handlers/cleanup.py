"""The operations on `/cleanup`."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from domain.identity import Principal
from domain.offboarding import CleanupReport
from handlers.responses import iso, json_response
from services.offboarding.administration import CleanupAdministration
from services.offboarding.report import report_as_json


async def get_cleanup(service: CleanupAdministration, principal: Principal) -> Response:
    """`GET /cleanup`: 200 with the last report and the time of the next run."""
    status = await service.status(principal)
    report = None if status.last_report is None else _report(status.last_report)
    times = {"nextRunAt": iso(status.next_run_at), "lastReport": report}
    return json_response({"enabled": status.enabled, "running": status.running} | times)


async def run_cleanup(service: CleanupAdministration, principal: Principal, body: dict[str, Any] | None) -> Response:
    """`POST /cleanup`: 200 with the report of a dry run, or 202 after starting a run."""
    requested = body or {}
    if requested.get("dryRun", True):
        return json_response(_report(await service.plan(principal)))
    await service.start(principal, requested.get("planHash"))
    return json_response({"running": True}, 202)


def _report(report: CleanupReport) -> dict[str, Any]:
    body = report_as_json(report)
    body |= {name: iso(body[name]) for name in ("startedAt", "finishedAt")}
    for entry in body["plan"]["entries"] if body["plan"] else []:
        entry["since"] = iso(entry["since"])
    return body
