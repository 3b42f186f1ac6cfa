"""The operations on `/users/{userId}/keys` and `/keys/report`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

from msgspec import field
from starlette.responses import Response

from domain import refs
from domain.identity import Principal
from domain.keys import DescribedKey, KeyChanges, KeyRequest, KeyVersion, Replaced, RotatedKey, RotationRequest
from domain.times import text_of
from handlers.responses import Answer, effect_headers, entity_tag, iso, json_response, next_link, rate_headers
from services.effect import Effect
from services.keys.create import CreateKey
from services.keys.delete import DeleteKey
from services.keys.keys import Keys
from services.keys.report import ReportKey
from services.keys.rotate import RotateKey
from services.keys.transfer import TransferKey
from services.keys.update import UpdateKey
from services.keys.versions import KeyVersions


class _PendingRevocation(Answer):
    key_id: str
    id: str
    revoke_at: str


class _UserKey(Answer):
    user_id: str
    key_id: str
    id: str
    version: int
    secret: str = field(name="keySecret")
    expires_at: str | None
    max_budget: float | None
    models: Sequence[str]


class _RegeneratedKey(Answer):
    user_id: str
    key_id: str
    id: str
    version: int
    secret: str = field(name="keySecret")
    revokes: _PendingRevocation
    revoked_at_once: Sequence[str]


class _TransferKeyRequest(TypedDict):
    owner: str


class _KeyVersion(Answer):
    version: int
    token: str
    status: str
    created_at: str | None
    created_by: str | None
    is_recorded: bool
    revoked_at: str | None
    revoke_at: str | None
    last_used_at: str | None


class _ReportKeyRequest(TypedDict):
    key: str


async def create_user_key(
    service: CreateKey, principal: Principal, user_id: str, body: KeyRequest, idempotency_key: str | None
) -> Response:
    """`POST /users/{userId}/keys`: 201 with the key and its secret, shown once."""
    created = await service(principal, user_id, body, idempotency_key)
    key = _UserKey.of(created.resource, **_names(created.resource.key_version))
    return json_response(key, 201, rate_headers(created.rate))


async def get_user_keys(
    service: Keys,
    principal: Principal,
    user_id: str,
    *,
    limit: int | None,
    cursor: str | None,
    alias: str | None,
    status: str | None,
) -> Response:
    """`GET /users/{userId}/keys`: 200 with the keys, under LiteLLM's field names."""
    page = await service.page(principal, user_id, limit=limit, cursor=cursor, alias=alias, status=status)
    link = next_link(("users", user_id, "keys"), page, alias=alias, status=status, limit=limit)
    following = {} if limit is None else {"nextCursor": page.next_cursor}
    return json_response({"keys": [_key(row) for row in page.items]} | following, headers=link)


async def get_user_key(service: Keys, principal: Principal, user_id: str, key_id: str) -> Response:
    """`GET /users/{userId}/keys/{keyId}`: 200 with the key."""
    key = await service.get(principal, user_id, key_id)
    return json_response(_key(key), headers=entity_tag(key.version))


async def update_user_key(
    service: UpdateKey,
    principal: Principal,
    user_id: str,
    key_id: str,
    body: KeyChanges,
    *,
    if_match: frozenset[str] | None,
    effect: Effect,
) -> Response:
    """`PATCH /users/{userId}/keys/{keyId}`: 200 with the changed key."""
    key = await service(principal, user_id, key_id, body, if_match)
    return json_response(_key(key), headers=entity_tag(key.version) | effect_headers(effect.of_update(body)))


async def delete_user_key(
    service: DeleteKey,
    principal: Principal,
    user_id: str,
    key_id: str,
    *,
    replaced: str,
    if_match: frozenset[str] | None,
    effect: Effect,
) -> Response:
    """`DELETE /users/{userId}/keys/{keyId}`: 204."""
    await service(principal, user_id, key_id, Replaced(replaced), if_match)
    return Response(status_code=204, headers=effect_headers(effect.seconds))


async def regenerate_user_key(
    service: RotateKey,
    principal: Principal,
    user_id: str,
    key_id: str,
    *,
    body: RotationRequest,
    if_match: frozenset[str] | None,
    idempotency_key: str | None,
    effect: Effect,
) -> Response:
    """`POST /users/{userId}/keys/{keyId}/regenerate`: 201 with the new key and the end of the old one."""
    rotated = await service(principal, user_id, key_id, body, expected=if_match, idempotency_key=idempotency_key)
    ended = effect_headers(effect.of_rotation(body, rotated.resource))
    return json_response(_rotated(rotated.resource), 201, rate_headers(rotated.rate) | ended)


async def transfer_user_key(
    service: TransferKey,
    principal: Principal,
    user_id: str,
    key_id: str,
    *,
    body: _TransferKeyRequest,
    if_match: frozenset[str] | None,
) -> Response:
    """`POST /users/{userId}/keys/{keyId}/transfer`: 200 with the key of its new owner."""
    key = await service(principal, user_id, key_id, refs.owner_id(body["owner"], "owner"), if_match)
    return json_response(_key(key), headers=entity_tag(key.version))


async def get_user_key_versions(service: KeyVersions, principal: Principal, user_id: str, key_id: str) -> Response:
    """`GET /users/{userId}/keys/{keyId}/versions`: 200 with what is known of them."""
    known = await service.of(principal, user_id, key_id)
    versions = [_KeyVersion.of(version) for version in known.versions]
    return json_response({"id": known.stable_id, "versions": versions, "unknownVersions": known.unknown})


async def report_key(service: ReportKey, principal: Principal, body: _ReportKeyRequest, effect: Effect) -> Response:
    """`POST /keys/report`: 202, whether the key exists or not."""
    rate = await service(principal, body["key"])
    return json_response({"received": True}, 202, rate_headers(rate) | effect_headers(effect.seconds))


def _rotated(key: RotatedKey) -> _RegeneratedKey:
    revokes = _pending(key.revokes, key.key_version, key.revoke_at)
    return _RegeneratedKey.of(key, revokes=revokes, **_names(key.key_version))


def _pending(key_id: str, key_version: KeyVersion, revoke_at: float) -> _PendingRevocation:
    """The end of a key that another one replaced, which has its id."""
    return _PendingRevocation(key_id=key_id, id=key_version.stable_id, revoke_at=text_of(revoke_at))


def _names(key_version: KeyVersion) -> dict[str, Any]:
    return {"id": key_version.stable_id, "version": key_version.number}


def _key(described: DescribedKey) -> dict[str, Any]:
    revocation, block, version = described.revocation, described.key.block, described.key.key_version
    return {
        **described.key.fields,
        **_names(version),
        "pendingRevocations": [_pending(row.key_id, version, row.revoke_at) for row in described.replaced],
        "revokeAt": iso(revocation.revoke_at) if revocation else None,
        "replacedBy": revocation.replaced_by if revocation else None,
        "blockedBy": block.blocker if block else None,
        "blockedAt": iso(block.since) if block else None,
        "source": described.key.source,
        "isSession": described.key.is_session,
    } | ({"oddFields": sorted(described.key.odd)} if described.key.odd else {})
