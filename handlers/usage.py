"""What was spent, and on which models it can be."""

from __future__ import annotations

from typing import Any

import inflection
from starlette.responses import Response

from clients.litellm.rows import User
from clients.litellm.usage import Figures
from handlers.answers import answer
from services.access import Principal
from services.container import Services
from services.usage import UsageReport


async def get_models(services: Services, principal: Principal) -> Response:
    """200 with the names of the models."""
    return answer({"models": [{"id": name} for name in await services.models.usable(principal)]})


async def get_user_usage(
    services: Services, principal: Principal, user_id: str, *, from_: str | None, to: str | None, group_by: str
) -> Response:
    """200 with what was spent, in all and by group."""
    report = await services.usage.of(principal, user_id.lower(), first=from_, last=to, group_by=group_by)
    groups = [{"group": row.group, "alias": row.alias, "figures": _figures(row.figures)} for row in report.groups]
    span = {"from": report.first.isoformat(), "to": report.last.isoformat(), "groupBy": group_by}
    sums = {"total": _figures(report.total), "groups": groups, "budget": _budget(report, report.user)}
    return answer({"userId": report.user.user_id} | span | sums)


def _figures(figures: Figures) -> dict[str, Any]:
    return {inflection.camelize(name, uppercase_first_letter=False): value for name, value in vars(figures).items()}


def _budget(report: UsageReport, user: User) -> dict[str, Any]:
    return {
        "maxBudget": user.max_budget,
        "budgetDuration": user.budget_duration,
        "spend": user.spend,
        "remaining": report.remaining,
        "resetsAt": user.budget_reset_at,
    }
