"""Keys of signed-in devices: what the device code and each refresh end in.

The catalog is asked each time whether the person may still have keys of that owner, and never by an old answer of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.actions import Action, Ending, Intent, Outcome
from domain.errors import (
    BusyError,
    CallerError,
    ConflictError,
    NotAllowedError,
    OverloadedError,
    RateLimitedError,
    TokenRequestError,
)
from domain.identity import Caller, Permission
from domain.keys import MintRequest, ShortLivedKey
from domain.sessions import Session, SessionTokens, source_of_session
from domain.workloads import IssuedSession, IssuedToken, KeyTerms
from services.access import authorize
from services.changes.changes import Changes
from services.changes.sealing import Sealing
from services.owners.owners import Owners
from services.tokens.codes import hash_of, new_refresh_token
from services.tokens.mint import MintKey, Within, leaving
from services.users.membership import CatalogMembership
from state.kept_answers import KeptAnswer
from state.short_keys import ShortKeys

log = structlog.get_logger(__name__)

SAME_ANSWER_SECONDS = 30.0
"""A device whose answer was lost asks again within that. Later it is somebody else who does."""
_PER_MINUTE = 30
_MOST_LIVING = 10


@dataclass(frozen=True, slots=True)
class Turn:
    """The one time that a token may be used. `take` gets the hash of the next one, and the sealed answer.

    Both say whether it is not too late.
    """

    is_left: Callable[[AsyncConnection], Awaitable[bool]]
    take: Callable[[AsyncConnection, str, bytes], Awaitable[bool]]


class _TooLateError(ConflictError):
    """Another request used the token, or the session has ended."""


@dataclass(frozen=True, kw_only=True)
class FreshAuthority:
    """Decides by what the catalog says now: `membership` and `owners` are made anew, so that they know nothing yet."""

    membership: Callable[[], CatalogMembership]
    owners: Callable[[CatalogMembership], Owners]

    async def require(self, person: str, owner: str) -> None:
        """Raises NotAllowedError unless the person may have keys of the owner, UpstreamError if that is not known."""
        membership = self.membership()
        principal = await membership.principal(Caller(person))
        principal = await self.owners(membership).acting(principal, owner)
        authorize(principal, Permission.SESSIONS_CREATE, owner)


@dataclass(frozen=True, kw_only=True)
class SessionKeys:
    """Gives keys and refresh tokens to sessions. `now` is in seconds since the epoch, `key_life` in seconds."""

    authority: FreshAuthority
    mint: MintKey
    changes: Changes
    sealing: Sealing
    short_keys: ShortKeys
    key_life: int
    litellm_url: str | None
    now: Callable[[], float]

    async def give(self, session: Session, shown: str, turn: Turn) -> IssuedToken | None:
        """What a device gets for the token `shown`; None if it was another one's `turn`, or none at all, meanwhile.

        Raises TokenRequestError, RateLimitedError, OverloadedError, UpstreamError.
        """
        given: list[SessionTokens] = []

        async def check(connection: AsyncConnection) -> None:
            if not await turn.is_left(connection):
                raise _TooLateError("The token was used")

        async def record(connection: AsyncConnection, operation: str, key: ShortLivedKey) -> None:
            if await self.short_keys.was_leaving(connection, session.principal, operation=operation):
                raise leaving(session.principal)
            ends_at = self.now() + session.life
            tokens = SessionTokens(session.id, key.secret, key.ends_at, new_refresh_token(), ends_at)
            sealed = await self._sealed(session, shown, tokens)
            if not await turn.take(connection, hash_of(tokens.refresh_token), sealed):
                raise _TooLateError("The session has ended, or the token was used")
            given.append(tokens)

        try:
            await self._require_authority(session)
            await self.mint(self._request(session), Within(check, record))
        except _TooLateError:
            return None
        except BusyError as error:
            raise OverloadedError("The same request is running; retry", BusyError.retry_after) from error
        except RateLimitedError:
            raise
        except CallerError as error:
            log.info("no key for a session", session=session.id, reason=error.message)
            raise not_accepted() from error
        return self.token_of(session, given[0])

    def token_of(self, session: Session, tokens: SessionTokens) -> IssuedToken:
        """The answer that has these tokens."""
        left, session_left = (int(end - self.now()) for end in (tokens.key_ends_at, tokens.session_ends_at))
        issued = IssuedSession(
            tokens.refresh_token, max(1, session_left), session.id, session.principal, session.owner, self.litellm_url
        )
        return IssuedToken(tokens.key, max(1, left), issued)

    async def kept(self, session: Session, shown: str, sealed: bytes | None) -> SessionTokens:
        """What the token `shown` got before. Raises TokenRequestError if that cannot be opened any more."""
        if sealed is None:
            raise not_accepted()
        request = await self.sealing.request(session.id, shown, None)
        try:
            return SessionTokens(**request.unseal(KeptAnswer(request.fingerprint, session.id, sealed)))
        except ConflictError as error:
            raise not_accepted() from error

    async def _sealed(self, session: Session, shown: str, tokens: SessionTokens) -> bytes:
        request = await self.sealing.request(session.id, shown, None)
        return request.seal(asdict(tokens), session.id).sealed

    async def _require_authority(self, session: Session) -> None:
        try:
            await self.authority.require(session.principal, session.owner)
        except NotAllowedError as error:
            actor, owner = source_of_session(session.id), session.owner
            intent = Intent(self.changes.context.new_id(), actor, Action.KEY_MINT, owner, requested=_evidence(session))
            with suppress(RateLimitedError):
                await self.changes.refusals.record(intent, Ending(Outcome.DENIED, detail=error.message))
            raise

    def _request(self, session: Session) -> MintRequest:
        return MintRequest(
            source=source_of_session(session.id),
            owner=session.owner,
            # One at a time: what repeats an answer is the refresh token.
            token=session.id,
            alias=session.device.words,
            terms=KeyTerms(life=min(self.key_life, int(session.life))),
            repeated_for=0.0,
            per_minute=_PER_MINUTE,
            most_living=_MOST_LIVING,
            evidence=_evidence(session),
        )


def not_accepted() -> TokenRequestError:
    """The error for a device that has to be signed in again. Why is in the log."""
    return TokenRequestError("invalid_grant", "The device is not signed in, or may not be any more: sign in again")


def _evidence(session: Session) -> dict[str, str | None]:
    device = session.device
    return {"session": session.id, "person": session.principal, "device": device.name, "tool": device.tool}
