"""The operations on `/users/{userId}/keys`."""

from __future__ import annotations

from starlette.responses import Response

from handlers.answers import answer
from services.access import Principal
from services.container import Services


async def create_user_key(services: Services, principal: Principal, user_id: str) -> Response:
    """201 with the key and, this once, its secret."""
    key = await services.keys.create(principal, user_id.lower())
    return answer({"userId": key.user_id, "keyId": key.key_id, "keySecret": key.secret}, 201)


async def get_user_keys(services: Services, principal: Principal, user_id: str) -> Response:
    """200 with the keys, under LiteLLM's field names."""
    return answer({"keys": await services.keys.list(principal, user_id.lower())})


async def delete_user_key(services: Services, principal: Principal, user_id: str, key_id: str) -> Response:
    """204."""
    await services.keys.delete(principal, user_id.lower(), key_id)
    return Response(status_code=204)
