"""The grant `refresh_token` (RFC 6749, section 6): a signed-in device gets a new key and a new refresh token.

Each refresh token is used once. Who shows it again within 30 seconds has lost the answer, and gets it again. Later, or
once the token in that answer was used, two have it, of whom one has stolen it: the session ends, and its keys are
blocked (RFC 9700, section 4.14.2).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import OverloadedError
from domain.sessions import Origin, Session
from domain.workloads import IssuedToken
from services.tokens.codes import hash_of, is_refresh_token
from services.tokens.parameters import require_client, require_no_scope, required
from services.tokens.session_ends import SessionEnds
from services.tokens.session_keys import SAME_ANSWER_SECONDS, SessionKeys, Turn, not_accepted
from state.database import Database
from state.sessions import KnownToken, Sessions

log = structlog.get_logger(__name__)

REFRESH_GRANT = "refresh_token"
_ATTEMPTS = 2


@dataclass(frozen=True, kw_only=True)
class RefreshGrant:
    """Renews what sessions have."""

    clients: Collection[str]
    database: Database
    sessions: Sessions
    keys: SessionKeys
    ends: SessionEnds

    async def __call__(self, given: Mapping[str, str], origin: Origin) -> IssuedToken:
        """The next key and refresh token.

        Raises TokenRequestError, RateLimitedError, OverloadedError, UpstreamError.
        """
        client, (shown,) = require_client(self.clients, given), required(given, "refresh_token")
        require_no_scope(given)
        for _ in range(_ATTEMPTS):
            known = await self._known(client, shown)
            if known.used_ago is not None:
                return await self._used(known, shown, known.used_ago)
            if (issued := await self._renew(known.session, shown, origin)) is not None:
                return issued
        raise OverloadedError("The same request is running; retry", 1)

    async def _known(self, client: str, shown: str) -> KnownToken:
        async with self.database.reading() as connection:
            known = await self.sessions.known(connection, hash_of(shown))
        if known is None or known.session.device.client_id != client or not is_refresh_token(shown):
            raise not_accepted()
        if known.session.is_ended or known.session.left <= 0:
            raise not_accepted()
        return known

    async def _renew(self, session: Session, shown: str, origin: Origin) -> IssuedToken | None:
        address = None if origin.address is None else str(origin.address)

        async def is_left(connection: AsyncConnection) -> bool:
            known = await self.sessions.known(connection, hash_of(shown))
            return known is not None and known.used_ago is None and not known.session.is_ended

        async def take(connection: AsyncConnection, token_hash: str, sealed: bytes) -> bool:
            return await self.sessions.rotate(
                connection, session.id, old=hash_of(shown), new=token_hash, sealed=sealed, address=address
            )

        return await self.keys.give(session, shown, Turn(is_left, take))

    async def _used(self, known: KnownToken, shown: str, used_ago: float) -> IssuedToken:
        if used_ago <= SAME_ANSWER_SECONDS:
            tokens = await self.keys.kept(known.session, shown, known.sealed)
            if await self._is_unused(tokens.refresh_token):
                return self.keys.token_of(known.session, tokens)
        log.warning("a refresh token was used again: its session ends", session=known.session.id)
        await self.ends.stolen(known.session)
        raise not_accepted()

    async def _is_unused(self, token: str) -> bool:
        """Asked of the token itself: the times at which two were used do not tell which was first."""
        async with self.database.reading() as connection:
            known = await self.sessions.known(connection, hash_of(token))
        return known is not None and known.used_ago is None
