"""The operations on `/users/{userId}/keys`, and `/keys/report`."""

from __future__ import annotations

import hashlib
from typing import Any
from urllib.parse import quote

from starlette.responses import Response

from clients.litellm.client import MintedKey
from handlers.answers import answer, asked, entity_tag, iso, next_link, rate_headers, versions
from services.access import Principal
from services.container import Services
from services.keys.keys import DescribedKey
from services.keys.rotate import RotatedKey
from state.revocations import Revocation


async def create_user_key(
    services: Services, principal: Principal, user_id: str, body: dict[str, Any] | None, idempotency_key: str | None
) -> Response:
    """201 with the key and, this once, its secret."""
    created = await services.minting.create(principal, user_id.lower(), asked(body), idempotency_key)
    return answer(_minted(created.made), 201, rate_headers(created.allowance))


async def get_user_keys(
    services: Services,
    principal: Principal,
    user_id: str,
    limit: int | None,
    **filters: str | None,
) -> Response:
    """200 with the keys, under LiteLLM's field names."""
    page = await services.keys.page(principal, user_id.lower(), limit=limit, **filters)
    link = next_link(f"/users/{quote(user_id, safe='')}/keys", page.next_cursor, {**filters, "limit": limit})
    version = hashlib.sha256("".join(row.version for row in page.items).encode()).hexdigest()[:32]
    more = {} if limit is None else {"nextCursor": page.next_cursor}
    return answer({"keys": [_rendered(row) for row in page.items]} | more, headers=entity_tag(version) | link)


async def get_user_key(services: Services, principal: Principal, user_id: str, key_id: str) -> Response:
    """200 with the key."""
    key = await services.keys.get(principal, user_id.lower(), key_id)
    return answer(_rendered(key), headers=entity_tag(key.version))


async def update_user_key(
    services: Services, principal: Principal, user_id: str, key_id: str, body: dict[str, Any], *, if_match: str | None
) -> Response:
    """200 with the key as it is now."""
    key = await services.keys.update(principal, user_id.lower(), key_id, asked(body), versions(if_match))
    return answer(_rendered(key), headers=entity_tag(key.version))


async def delete_user_key(
    services: Services, principal: Principal, user_id: str, key_id: str, if_match: str | None
) -> Response:
    """204."""
    await services.keys.delete(principal, user_id.lower(), key_id, versions(if_match))
    return Response(status_code=204)


async def regenerate_user_key(
    services: Services,
    principal: Principal,
    user_id: str,
    key_id: str,
    body: dict[str, Any] | None,
    **headers: str | None,
) -> Response:
    """201 with the new key, its secret, and when the old one ends."""
    expected, once = versions(headers["if_match"]), headers["idempotency_key"]
    created = await services.rotation.regenerate(
        principal, user_id.lower(), key_id, asked(body), expected=expected, idempotency_key=once
    )
    return answer(_rotated(created.made), 201, rate_headers(created.allowance))


async def report_key(services: Services, principal: Principal, body: dict[str, str]) -> Response:
    """202, whether there is such a key or not."""
    return answer({"received": True}, 202, rate_headers(await services.leaks.report(principal, body["key"])))


def _minted(key: MintedKey | RotatedKey) -> dict[str, Any]:
    return {"userId": key.user_id, "keyId": key.key_id, "keySecret": key.secret}


def _rotated(key: RotatedKey) -> dict[str, Any]:
    return _minted(key) | {"revokes": {"keyId": key.revokes, "revokeAt": iso(key.revoke_at)}}


def _rendered(described: DescribedKey) -> dict[str, Any]:
    ends = described.revocation
    return {
        **described.key.row,
        "pendingRevocations": [_pending(row) for row in described.replaced],
        "revokeAt": iso(ends.revoke_at) if ends else None,
        "replacedBy": ends.replaced_by if ends else None,
    }


def _pending(row: Revocation) -> dict[str, Any]:
    return {"keyId": row.key_id, "revokeAt": iso(row.revoke_at)}
