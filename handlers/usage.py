"""The operations on `/models` and `/users/{userId}/usage`."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from domain.identity import Principal
from domain.models import ServedModel
from domain.usage import UsageFigures, UsageGroup, UsageReport
from handlers.responses import camel_case, json_response
from services.usage_report import Usage
from services.users.models import Models


async def get_models(service: Models, principal: Principal) -> Response:
    """`GET /models`: 200 with the models."""
    return json_response({"models": [_model(model) for model in await service.usable(principal)]})


async def get_user_usage(
    service: Usage,
    principal: Principal,
    user_id: str,
    *,
    from_: str | None,
    to: str | None,
    **query: Any,
) -> Response:
    """`GET /users/{userId}/usage`: 200 with the usage in total and by group."""
    report = await service.of(principal, user_id, first=from_, last=to, **query)
    groups = [_group(row) for row in report.groups]
    span = {"from": report.first.isoformat(), "to": report.last.isoformat(), "groupBy": query["group_by"]}
    sums = {"total": _figures(report.total), "groups": groups, "budget": _budget(report)}
    return json_response({"userId": report.user.user_id} | span | sums)


def _model(model: ServedModel) -> dict[str, Any]:
    return {
        "id": model.id,
        "groups": model.groups,
        "provider": model.provider,
        "contextWindow": model.context_window,
        "inputPricePerMillion": model.input_price,
        "outputPricePerMillion": model.output_price,
    }


def _group(row: UsageGroup) -> dict[str, Any]:
    parts = {}
    if row.parts is not None:
        parts["parts"] = [{"group": group, "spend": figures.spend} for group, figures in sorted(row.parts.items())]
    return {"group": row.group, "alias": row.alias, "figures": _figures(row.figures)} | parts


def _figures(figures: UsageFigures) -> dict[str, Any]:
    return camel_case(vars(figures))


def _budget(report: UsageReport) -> dict[str, Any]:
    return {
        "maxBudget": report.user.max_budget,
        "budgetDuration": report.user.budget_duration,
        "spend": report.user.spend,
        "remaining": report.remaining,
        "resetsAt": report.user.budget_reset_at,
    }
