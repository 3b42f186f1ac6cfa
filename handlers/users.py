"""The operations on `/users`, and `/me`."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from clients.litellm.rows import User
from handlers.answers import answer, asked, next_link, rate_headers
from services.access import Principal
from services.container import Services
from settings.model import Tier


async def get_me(services: Services, principal: Principal) -> Response:
    """200 with the caller, their tier and its limits."""
    tier = await services.tiers.own(principal)
    roles = sorted(role.value for role in principal.roles)
    caller = {"subject": principal.subject, "roles": roles, "via": principal.via}
    return answer(caller | {"tier": tier.name, "limits": _limits(tier)})


async def get_users(
    services: Services,
    principal: Principal,
    *,
    limit: int | None,
    cursor: str | None,
    query: str | None,
    status: str | None,
) -> Response:
    """200 with a page of users."""
    page = await services.administration.page(principal, limit=limit, cursor=cursor, query=query, status=status)
    link = next_link("/users", page.next_cursor, {"limit": limit, "query": query, "status": status})
    users = [_listed(row.user) | {"status": row.status.value} for row in page.items]
    return answer({"users": users, "nextCursor": page.next_cursor}, headers=link)


async def create_user(
    services: Services, principal: Principal, body: dict[str, Any], idempotency_key: str | None
) -> Response:
    """201 with the new user."""
    created = await services.users.create(principal, body["userId"].lower(), idempotency_key)
    return answer(_rendered(created.made), 201, rate_headers(created.allowance))


async def get_user(services: Services, principal: Principal, user_id: str) -> Response:
    """200 with the user."""
    return answer(_rendered(await services.users.get(principal, user_id.lower())))


async def update_user(services: Services, principal: Principal, user_id: str, body: dict[str, Any]) -> Response:
    """200 with the user as they are now."""
    return answer(_rendered(await services.administration.update(principal, user_id.lower(), asked(body))))


async def delete_user(services: Services, principal: Principal, user_id: str) -> Response:
    """200 with the number of keys that went."""
    keys = await services.removal.remove(principal, user_id.lower())
    return answer({"userId": user_id.lower(), "keysDeleted": keys})


def _rendered(user: User) -> dict[str, Any]:
    return {
        "userId": user.user_id,
        "createdAt": user.created_at,
        "maxBudget": user.max_budget,
        "budgetDuration": user.budget_duration,
        "spend": user.spend,
        "models": user.models,
        "tpmLimit": user.tpm_limit,
        "rpmLimit": user.rpm_limit,
        "tier": user.tier,
    }


def _listed(user: User) -> dict[str, Any]:
    return _rendered(user) | {"displayName": user.display_name, "email": user.email}


def _limits(tier: Tier) -> dict[str, Any]:
    return {
        "maxBudget": tier.max_budget,
        "budgetDuration": tier.budget_duration,
        "models": tier.models,
        "tpmLimit": tier.tpm_limit,
        "rpmLimit": tier.rpm_limit,
        "maxKeys": tier.max_keys,
        "maxKeyDuration": tier.max_key_life,
    }
