"""Deleting a key."""

from __future__ import annotations

from dataclasses import dataclass

from clients.litellm.client import LiteLLM
from domain.audit import Action
from domain.identity import Principal
from services.changes.changes import Changes
from services.keys.keys import Keys
from services.users.users import Users
from state.revocations import Revocations


@dataclass(frozen=True, kw_only=True)
class DeleteKey:
    """Deletes a key of a user."""

    changes: Changes
    users: Users
    keys: Keys
    litellm: LiteLLM
    revocations: Revocations

    async def __call__(
        self, principal: Principal, user_id: str, key_id: str, expected: frozenset[str] | None = None
    ) -> None:
        """The key must have one of the `expected` versions; None means any.

        Raises NotAllowedError, NotFoundError (also for another's key), PreconditionFailedError, UpstreamError.
        """
        await self.users.ensure_own(principal, user_id)
        async with self.changes.begin(principal, Action.KEY_DELETE, user_id, key_id=key_id) as change:
            key = (await self.keys.read(user_id, key_id, expected=expected)).key
            change.before = key.changeable
            await self.litellm.delete_key(key_id)
            async with change.transaction() as connection:
                await self.revocations.remove(connection, key_id)
                await change.done(connection=connection)
