"""`POST /oauth/revoke` (RFC 7009): who has a token may revoke it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from domain.actions import Action
from domain.identity import Principal, Role
from domain.keys import KeyVersion
from services.changes.changes import Changes
from services.keys.issuer import KeyIssuer
from services.tokens.codes import hash_of, is_refresh_token
from services.tokens.parameters import parameters_of, required
from services.tokens.session_ends import SessionEnds
from state.database import Database
from state.sessions import Sessions
from state.short_keys import ShortKeys


@dataclass(frozen=True, kw_only=True)
class RevokeToken:
    """Revokes refresh tokens, with their sessions, and short keys."""

    changes: Changes
    database: Database
    sessions: Sessions
    short_keys: ShortKeys
    issuer: KeyIssuer
    ends: SessionEnds

    async def __call__(self, given: Mapping[str, object]) -> bool:
        """Whether a key was ended. An unknown token is no error. Raises TokenRequestError, UpstreamError."""
        (token,) = required(parameters_of(given), "token")
        token_hash = hash_of(token)
        async with self.database.reading() as connection:
            known = await self.sessions.known(connection, token_hash)
        if known is not None and is_refresh_token(token):
            if known.session.is_ended:
                await self.ends.finish(known.session)
            else:
                person = Principal(known.session.principal, frozenset({Role.MEMBER}))
                await self.ends.end(person, known.session)
            return True
        return await self._revoke_key(token_hash)

    async def _revoke_key(self, key_id: str) -> bool:
        """A key's hash in LiteLLM is that of its secret."""
        found = await self.short_keys.find(key_id)
        if found is None:
            return False
        source, owner = found
        version = KeyVersion.derived(key_id, None)
        holder = Principal(source, frozenset({Role.SYSTEM}))
        async with self.changes.begin(
            holder, Action.KEY_REVOKE, owner, key_id=key_id, key_version=version, in_turn=False
        ) as change:
            await self.issuer.delete(key_id)
            async with change.transaction() as connection:
                await self.short_keys.remove(connection, key_id)
                await change.done(connection=connection)
        return True
