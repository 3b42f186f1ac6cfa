"""The operations on `/users` and `/me`."""

from __future__ import annotations

from typing import Any, TypedDict

from starlette.responses import Response

from domain import refs
from domain.identity import Principal
from domain.users import Tier, User, UserChanges
from handlers.responses import (
    camel_case,
    effect_headers,
    entity_tag,
    iso,
    json_response,
    next_link,
    odd_fields,
    rate_headers,
    versions,
)
from services.access import permissions_of
from services.effect import Effect
from services.offboarding.removal import RemoveUser
from services.users.list import ListUsers
from services.users.tiers import Tiers
from services.users.update import UpdateUser
from services.users.users import CreateUser, Users


class CreateUserRequest(TypedDict):
    """Who is to be created."""

    user_id: str


async def get_me(service: Tiers, principal: Principal) -> Response:
    """`GET /me`: 200 with the caller, their tier and its limits."""
    tier = await service.own(principal)
    caller = {
        "subject": principal.subject,
        "roles": sorted(role.value for role in principal.roles),
        "permissions": [
            {"name": name.value, "scope": scope.value} for name, scope in permissions_of(principal).items()
        ],
        "via": principal.via,
    }
    return json_response(caller | {"tier": tier.name, "limits": _limits(tier)})


async def get_users(
    service: ListUsers,
    principal: Principal,
    *,
    limit: int | None,
    cursor: str | None,
    query: str | None,
    status: str | None,
) -> Response:
    """`GET /users`: 200 with a page of users."""
    page = await service(principal, limit=limit, cursor=cursor, query=query, status=status)
    link = next_link(("users",), page.next_cursor, {"limit": limit, "query": query, "status": status})
    listed = [_listed(row.user) | {"status": row.status.value} for row in page.items]
    body = {"users": listed, "nextCursor": page.next_cursor, "sweptAt": iso(page.swept_at)}
    return json_response(body, headers=link)


async def create_user(
    service: CreateUser, principal: Principal, body: CreateUserRequest, idempotency_key: str | None
) -> Response:
    """`POST /users`: 201 with the new user."""
    created = await service(principal, refs.user_id(body["user_id"]), idempotency_key)
    return json_response(_user(created.resource), 201, rate_headers(created.rate))


async def get_user(service: Users, principal: Principal, user_id: str) -> Response:
    """`GET /users/{userId}`: 200 with the user."""
    user = await service.get(principal, user_id)
    return json_response(_user(user), headers=entity_tag(user.version))


async def update_user(
    service: UpdateUser, principal: Principal, user_id: str, body: UserChanges, *, if_match: str | None
) -> Response:
    """`PATCH /users/{userId}`: 200 with the changed user."""
    user = await service(principal, user_id, body, versions(if_match))
    return json_response(_user(user), headers=entity_tag(user.version))


async def delete_user(
    service: RemoveUser, principal: Principal, user_id: str, *, if_match: str | None, effect: Effect
) -> Response:
    """`DELETE /users/{userId}`: 200 with the number of deleted keys."""
    keys = await service(principal, user_id, versions(if_match))
    return json_response({"userId": user_id, "keysDeleted": keys}, headers=effect_headers(effect.seconds))


def _user(user: User) -> dict[str, Any]:
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
        **odd_fields(camel_case(dict.fromkeys(user.odd))),
    }


def _listed(user: User) -> dict[str, Any]:
    return _user(user) | {"displayName": user.display_name, "email": user.email}


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
