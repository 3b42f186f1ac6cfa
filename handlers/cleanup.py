"""The operations on `/cleanup`."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from handlers.answers import answer, iso
from services.access import Principal
from services.container import Services
from services.offboarding.report import Report


async def get_cleanup(services: Services, principal: Principal) -> Response:
    """200 with the last report and the next run."""
    status = await services.cleanup.status(principal)
    last = None if status.last_report is None else _rendered(status.last_report)
    when = {"nextRunAt": iso(status.next_run_at), "lastReport": last}
    return answer({"enabled": status.enabled, "running": status.running} | when)


async def run_cleanup(services: Services, principal: Principal, body: dict[str, Any] | None) -> Response:
    """200 with the plan of a dry run, or 202: a run has begun."""
    asked = body or {}
    if asked.get("dryRun", True):
        return answer(_rendered(await services.cleanup.plan(principal)))
    await services.cleanup.start(principal, asked.get("planHash"))
    return answer({"running": True}, 202)


def _rendered(report: Report) -> dict[str, Any]:
    """`report` with its times in ISO 8601."""
    times = {name: iso(report[name]) for name in ("startedAt", "finishedAt")}
    plan = report["plan"]
    if plan is not None:
        plan = plan | {"entries": [entry | {"since": iso(entry["since"])} for entry in plan["entries"]]}
    return report | times | {"plan": plan}
