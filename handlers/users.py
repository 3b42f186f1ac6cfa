"""The operations on `/users`, `/me` and `/owners`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

import inflection
from msgspec import UNSET, UnsetType, field
from starlette.responses import Response

from domain import refs, users
from domain.identity import Principal
from domain.users import UserChanges, UserStatus
from handlers.responses import Answer, effect_headers, entity_tag, iso, json_response, next_link, rate_headers
from services.access import permissions_of
from services.effect import Effect
from services.offboarding.offboard_user import OffboardUser
from services.owners.known_secrets import SecretsKnown
from services.owners.sums import OwnerSums
from services.users.list import ListUsers
from services.users.tiers import Tiers
from services.users.update import UpdateUser
from services.users.users import CreateUser, Users


class _User(Answer):
    user_id: str
    kind: str
    entity_uid: str | None
    created_at: str
    max_budget: float | None
    budget_duration: str | None
    spend: float
    models: Sequence[str]
    tpm_limit: int | None
    rpm_limit: int | None
    tier: str | None
    odd_fields: Sequence[str] | UnsetType


class _TierLimits(Answer):
    max_budget: float | None
    budget_duration: str | None
    models: Sequence[str]
    tpm_limit: int | None
    rpm_limit: int | None
    max_keys: int | None
    max_key_life: int | None = field(name="maxKeyDuration")


class _ListedUser(_User):
    display_name: str | None
    email: str | None
    status: UserStatus
    limits: _TierLimits | UnsetType


class _Candidate(Answer):
    user_id: str
    kind: str
    display_name: str
    tier: str
    limits: _TierLimits


class _OwnerSum(Answer):
    owners: int
    max_budget: float | None
    spend: float


class _CreateUserRequest(TypedDict):
    user_id: str


async def get_me(service: Tiers, principal: Principal) -> Response:
    """`GET /me`: 200 with the caller, their tier and its limits."""
    tier = await service.own(principal)
    caller = {
        "subject": principal.subject,
        "roles": sorted(principal.roles),
        "permissions": [{"name": name, "scope": scope} for name, scope in permissions_of(principal).items()],
        "via": principal.via,
    }
    return json_response(caller | {"tier": tier.name, "limits": _TierLimits.of(tier)})


async def get_users(
    service: ListUsers,
    principal: Principal,
    *,
    limit: int | None,
    cursor: str | None,
    query: str | None,
    status: str | None,
    kind: str | None,
    managed_by: str | None,
) -> Response:
    """`GET /users`: 200 with a page of users."""
    page = await service(principal, users.UserFilters(query, status, kind, managed_by), limit=limit, cursor=cursor)
    link = next_link(("users",), page, limit=limit, query=query, status=status, kind=kind, managedBy=managed_by)
    return json_response(_listed(page), headers=link)


async def create_user(
    service: CreateUser, principal: Principal, body: _CreateUserRequest, idempotency_key: str | None
) -> Response:
    """`POST /users`: 201 with the new user."""
    created = await service(principal, refs.owner_id(body["user_id"]), idempotency_key)
    return json_response(_user(_User, created.resource), 201, rate_headers(created.rate))


async def get_user(service: Users, principal: Principal, user_id: str) -> Response:
    """`GET /users/{userId}`: 200 with the user."""
    user = await service.get(principal, user_id)
    return json_response(_user(_User, user), headers=entity_tag(user.version))


async def update_user(
    service: UpdateUser, principal: Principal, user_id: str, body: UserChanges, *, if_match: frozenset[str] | None
) -> Response:
    """`PATCH /users/{userId}`: 200 with the changed user."""
    user = await service(principal, user_id, body, if_match)
    return json_response(_user(_User, user), headers=entity_tag(user.version))


async def delete_user(
    service: OffboardUser, principal: Principal, user_id: str, *, if_match: frozenset[str] | None, effect: Effect
) -> Response:
    """`DELETE /users/{userId}`: 200 with the number of deleted keys."""
    keys = await service(principal, user_id, if_match)
    return json_response({"userId": user_id, "keysDeleted": keys}, headers=effect_headers(effect.seconds))


async def get_known_secrets(service: SecretsKnown, principal: Principal, user_id: str) -> Response:
    """`GET /users/{userId}/known-secrets`: 200 with the keys of software whose secret they received."""
    known = await service.of(principal, user_id)
    keys = [
        {"owner": row.owner, "keyId": row.key_id, "id": row.stable_id, "alias": row.alias, "receivedAt": iso(row.at)}
        for row in known.keys
    ]
    unknown = [
        {"owner": key.owner, "keyId": key.id, "id": key.key_version.stable_id, "alias": key.alias}
        for key in known.unknown
    ]
    return json_response({"userId": user_id, "keys": keys, "unknown": unknown})


async def get_owners(service: OwnerSums, principal: Principal) -> Response:
    """`GET /owners`: 200 with what groups and components may spend in sum."""
    sums = await service.of_all(principal)
    entries = [
        {
            "tier": row.entry.name,
            "kind": row.entry.kind,
            "maxOwners": row.entry.max_owners,
            "total": _OwnerSum.of(row.total),
            "groups": [{"group": group, "figures": _OwnerSum.of(figures)} for group, figures in row.groups.items()],
        }
        for row in sums.entries
    ]
    return json_response({"entries": entries, "unmatched": _OwnerSum.of(sums.unmatched)})


def _listed(page: users.UserPage) -> dict[str, Any]:
    listed = [_user(_ListedUser, row.user, status=row.status, limits=_limits(row.tier)) for row in page.items]
    candidates = {} if page.candidates is None else {"candidates": [_candidate(row) for row in page.candidates]}
    return {"users": listed, "nextCursor": page.next_cursor, "sweptAt": iso(page.swept_at)} | candidates


def _candidate(row: users.Candidate) -> _Candidate:
    return _Candidate.of(row, kind=refs.kind_of(row.user_id), tier=row.tier.name, limits=_TierLimits.of(row.tier))


def _limits(tier: users.Tier | None) -> _TierLimits | UnsetType:
    return UNSET if tier is None else _TierLimits.of(tier)


def _user(kind: type[_User], user: users.User, **more: Any) -> _User:
    odd = sorted(inflection.camelize(name, uppercase_first_letter=False) for name in user.odd)
    return kind.of(user, kind=refs.kind_of(user.user_id), odd_fields=odd or UNSET, **more)
