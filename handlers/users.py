"""The operations on `/users`."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from clients.litellm import User
from handlers.answers import answer
from services.access import Principal
from services.container import Services


async def create_user(services: Services, principal: Principal, body: dict[str, Any]) -> Response:
    """201 with the new user."""
    return answer(_rendered(await services.users.create(principal, body["userId"].lower())), 201)


async def get_user(services: Services, principal: Principal, user_id: str) -> Response:
    """200 with the user."""
    return answer(_rendered(await services.users.get(principal, user_id.lower())))


def _rendered(user: User) -> dict[str, Any]:
    return {
        "userId": user.user_id,
        "createdAt": user.created_at,
        "maxBudget": user.max_budget,
        "budgetDuration": user.budget_duration,
        "spend": user.spend,
    }
