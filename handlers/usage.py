"""The operations on `/models` and `/users/{userId}/usage`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import field
from starlette.responses import Response

from domain.identity import Principal
from domain.usage import UsageGroup
from handlers.responses import Answer, json_response
from services.usage_report import Usage
from services.users.models import Models


class _AvailableModel(Answer):
    id: str
    groups: Sequence[str]
    provider: str | None
    context_window: int | None
    input_price: float | None = field(name="inputPricePerMillion")
    output_price: float | None = field(name="outputPricePerMillion")


class _UsageFigures(Answer):
    spend: float
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    requests: int
    failed_requests: int
    cache_read_input_tokens: int
    cache_creation_input_tokens: int


class _UsageBudget(Answer):
    max_budget: float | None
    budget_duration: str | None
    spend: float
    remaining: float | None
    budget_reset_at: str | None = field(name="resetsAt")


async def get_models(service: Models, principal: Principal) -> Response:
    """`GET /models`: 200 with the models."""
    return json_response({"models": [_AvailableModel.of(model) for model in await service.usable(principal)]})


async def get_user_usage(
    service: Usage,
    principal: Principal,
    user_id: str,
    *,
    from_: str | None,
    to: str | None,
    group_by: str,
    split_by: str | None,
) -> Response:
    """`GET /users/{userId}/usage`: 200 with the usage in total and by group."""
    report = await service.of(principal, user_id, first=from_, last=to, group_by=group_by, split_by=split_by)
    span = {"userId": report.user.user_id, "from": report.first, "to": report.last, "groupBy": group_by}
    sums = {"total": _UsageFigures.of(report.total), "groups": [_group(row) for row in report.groups]}
    return json_response(span | sums | {"budget": _UsageBudget.of(report.user, remaining=report.remaining)})


def _group(row: UsageGroup) -> dict[str, Any]:
    parts = {}
    if row.parts is not None:
        parts["parts"] = [{"group": group, "spend": figures.spend} for group, figures in sorted(row.parts.items())]
    known = {"keyId": row.key_id, "userId": row.user_id}
    key = {name: value for name, value in known.items() if value is not None}
    return {"group": row.group, "alias": row.alias, "figures": _UsageFigures.of(row.figures)} | key | parts
