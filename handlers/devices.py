"""The operations on devices that sign in: `/oauth/device_authorization`, `/device-codes`, `/sessions` and others."""

from __future__ import annotations

from typing import TypedDict

from starlette.responses import Response

from domain import refs
from domain.identity import Principal
from domain.sessions import Origin, Session
from domain.times import text_of
from handlers.responses import Answer, effect_headers, json_response
from services.effect import Effect
from services.tokens.approval import DeviceApproval, LookedAt
from services.tokens.authorization import AuthorizeDevice
from services.tokens.revocation import RevokeToken
from services.tokens.sessions import SignedInDevices

_NOT_STORED = {"Cache-Control": "no-store"}


class _Client(TypedDict):
    client_id: str


class _DeviceAuthorizationRequest(_Client, total=False):
    device_name: str
    tool: str
    scope: str


class _Token(TypedDict):
    token: str


class _TokenRevocation(_Token, total=False):
    token_type_hint: str
    client_id: str


class _Owner(TypedDict):
    owner: str


class _DeviceApproval(_Owner, total=False):
    life: int


class _DeviceRequest(Answer):
    client_id: str
    device_name: str | None
    tool: str | None
    address: str | None
    is_same_network: bool
    requested_at: str
    age_seconds: int
    expires_at: str
    state: str
    owner: str | None
    key_life: int
    longest_life: int


class _Session(Answer):
    id: str
    user_id: str
    owner: str
    client_id: str
    device_name: str | None
    tool: str | None
    address: str | None
    created_at: str
    last_used_at: str
    expires_at: str
    living_keys: int


async def authorize_device(service: AuthorizeDevice, body: _DeviceAuthorizationRequest, origin: Origin) -> Response:
    """`POST /oauth/device_authorization`: 200 with the codes of a device that asks."""
    codes = await service(body, origin)
    names = ("device_code", "user_code", "verification_uri", "verification_uri_complete", "expires_in", "interval")
    return json_response({name: getattr(codes, name) for name in names})


async def revoke_token(service: RevokeToken, body: _TokenRevocation, effect: Effect) -> Response:
    """`POST /oauth/revoke`: 200 without a body, whether or not the token was known."""
    has_ended = await service(body)
    return Response(headers=_NOT_STORED | effect_headers(effect.seconds if has_ended else None))


async def get_device_code(service: DeviceApproval, principal: Principal, user_code: str, origin: Origin) -> Response:
    """`GET /device-codes/{userCode}`: 200 with what asks."""
    return json_response(_request(await service.look(principal, user_code, origin)))


async def approve_device_code(
    service: DeviceApproval, principal: Principal, user_code: str, body: _DeviceApproval, origin: Origin
) -> Response:
    """`POST /device-codes/{userCode}/approval`: 200 with what was approved."""
    owner, life = refs.owner_id(body["owner"], "owner"), body.get("life")
    return json_response(_request(await service.approve(principal, user_code, origin, owner=owner, life=life)))


async def refuse_device_code(service: DeviceApproval, principal: Principal, user_code: str, origin: Origin) -> Response:
    """`POST /device-codes/{userCode}/refusal`: 200 with what was refused."""
    return json_response(_request(await service.refuse(principal, user_code, origin)))


async def get_sessions(service: SignedInDevices, principal: Principal, user_id: str | None) -> Response:
    """`GET /sessions`: 200 with the signed-in devices."""
    return json_response({"sessions": [_session(row) for row in await service.of(principal, user_id)]})


async def end_session(
    service: SignedInDevices, principal: Principal, session_id: str, user_id: str | None, effect: Effect
) -> Response:
    """`DELETE /sessions/{sessionId}`: 204."""
    await service.end(principal, user_id, session_id)
    return Response(status_code=204, headers=effect_headers(effect.seconds))


def _request(looked: LookedAt) -> _DeviceRequest:
    code, device = looked.code, looked.code.device
    return _DeviceRequest(
        client_id=device.client_id,
        device_name=device.name,
        tool=device.tool,
        address=device.address,
        is_same_network=looked.is_same_network,
        requested_at=text_of(code.created_at),
        age_seconds=max(0, int(code.age)),
        expires_at=text_of(code.expires_at),
        state=code.state,
        owner=code.owner if code.principal == looked.viewer else None,
        key_life=looked.key_life,
        longest_life=looked.longest_life,
    )


def _session(row: Session) -> _Session:
    device = row.device
    return _Session(
        id=row.id,
        user_id=row.principal,
        owner=row.owner,
        client_id=device.client_id,
        device_name=device.name,
        tool=device.tool,
        address=device.address,
        created_at=text_of(row.created_at),
        last_used_at=text_of(row.used_at),
        expires_at=text_of(row.expires_at),
        living_keys=row.living_keys,
    )
