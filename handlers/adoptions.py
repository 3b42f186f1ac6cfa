"""The operations on `/adoptions`."""

from __future__ import annotations

from typing import TypedDict

from starlette.responses import Response

from domain.adoption import MOST_PEOPLE, AdoptionOrder
from domain.identity import Principal
from handlers.responses import iso, json_response, location_of
from services.adoption.administration import AdoptionAdministration
from services.adoption.report import report_as_json


class _StartAdoptionRequest(TypedDict, total=False):
    dry_run: bool
    by: str
    delete_emptied: bool
    limit: int
    plan_hash: str


async def start_adoption(
    service: AdoptionAdministration, principal: Principal, body: _StartAdoptionRequest
) -> Response:
    """`POST /adoptions`: 202 with the id of a run or dry run."""
    asked = AdoptionOrder(
        by_email=body.get("by") == "email",
        delete_emptied=body.get("delete_emptied", False),
        limit=body.get("limit", MOST_PEOPLE),
        plan_hash=body.get("plan_hash"),
    )
    report = await service.start(principal, asked, dry_run=body.get("dry_run", True))
    headers = location_of(("adoptions", str(report.adoption_id)))
    return json_response({"running": True, "adoptionId": report.adoption_id}, 202, headers)


async def get_adoption(service: AdoptionAdministration, principal: Principal, adoption_id: int) -> Response:
    """`GET /adoptions/{adoptionId}`: 200 with the report, so far if it is running."""
    return json_response(report_as_json(await service.report(principal, adoption_id), time=iso))
