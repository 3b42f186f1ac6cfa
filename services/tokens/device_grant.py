"""The grant `urn:ietf:params:oauth:grant-type:device_code` (RFC 8628, section 3.4): an approved device is signed in."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import OverloadedError, TokenRequestError
from domain.sessions import CodeState, DeviceCode, Origin, Session
from domain.workloads import IssuedToken
from services.tokens.codes import hash_of
from services.tokens.parameters import require_client, required
from services.tokens.session_keys import SAME_ANSWER_SECONDS, SessionKeys, Turn
from state.database import Database
from state.device_codes import DeviceCodes
from state.sessions import Sessions

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_ATTEMPTS = 2


@dataclass(frozen=True, kw_only=True)
class DeviceGrant:
    """Turns approved device codes into sessions."""

    clients: Collection[str]
    database: Database
    codes: DeviceCodes
    sessions: Sessions
    keys: SessionKeys

    async def __call__(self, given: Mapping[str, str], _origin: Origin) -> IssuedToken:
        """The first key and refresh token; within 30 seconds the same again for the same device code.

        Raises TokenRequestError, RateLimitedError, OverloadedError, UpstreamError.
        """
        client, (shown,) = require_client(self.clients, given), required(given, "device_code")
        for _ in range(_ATTEMPTS):
            code = await self._ready(client, shown)
            if code.state is CodeState.SIGNED_IN:
                return await self._again(shown)
            if (issued := await self._sign_in(code, shown)) is not None:
                return issued
        raise OverloadedError("The same request is running; retry", 1)

    async def _ready(self, client: str, shown: str) -> DeviceCode:
        """The code if it is approved or was used already. Raises TokenRequestError that says what it is otherwise."""
        is_too_soon = False
        async with self.database.transaction() as connection:
            code = await self.codes.of_device(connection, hash_of(shown))
            if code is not None and code.state is CodeState.PENDING and not code.is_over:
                is_too_soon = await self.codes.ask(connection, code.device_hash)
        if code is None or code.device.client_id != client:
            raise _unknown()
        if code.state is CodeState.SIGNED_IN:
            return code
        if code.state is CodeState.REFUSED:
            raise TokenRequestError("access_denied", "The person refused it")
        if code.is_over:
            raise TokenRequestError("expired_token", "The device code has expired: begin again")
        if code.state is CodeState.PENDING and is_too_soon:
            raise TokenRequestError("slow_down", "Wait five seconds more between two requests from now on")
        if code.state is CodeState.PENDING:
            raise TokenRequestError("authorization_pending", "The person has not decided yet")
        return code

    async def _sign_in(self, code: DeviceCode, shown: str) -> IssuedToken | None:
        session = _session(code)

        async def is_left(connection: AsyncConnection) -> bool:
            found = await self.codes.of_device(connection, code.device_hash)
            return found is not None and found.state is CodeState.APPROVED

        async def take(connection: AsyncConnection, token_hash: str, sealed: bytes) -> bool:
            if not await self.codes.sign_in(connection, code.device_hash):
                return False
            await self.sessions.add(connection, session, code=code.device_hash, token=token_hash, sealed=sealed)
            return True

        return await self.keys.give(session, shown, Turn(is_left, take))

    async def _again(self, shown: str) -> IssuedToken:
        async with self.database.reading() as connection:
            known = await self.sessions.known(connection, hash_of(shown))
        if known is None or known.session.is_ended or (known.used_ago or 0) > SAME_ANSWER_SECONDS:
            raise _unknown()
        return self.keys.token_of(known.session, await self.keys.kept(known.session, shown, known.sealed))


def _session(code: DeviceCode) -> Session:
    """The session that a code becomes. Its times are written when it does."""
    assert code.session_id is not None
    assert code.principal is not None
    assert code.owner is not None
    assert code.life is not None
    return Session(code.session_id, code.principal, code.owner, code.device, code.life, 0, 0, 0, code.life)


def _unknown() -> TokenRequestError:
    return TokenRequestError("invalid_grant", "The device code is not known for this client_id, or was used")
