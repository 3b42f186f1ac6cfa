"""Deleting a key."""

from __future__ import annotations

from clients.litellm.client import LiteLLM
from domain.audit import Action
from domain.identity import Principal
from services.changes.changes import Changes
from services.keys.keys import Keys
from services.users.users import Users
from state.revocations import Revocations


class DeleteKey:
    """Deletes a key of a user."""

    def __init__(
        self, *, changes: Changes, users: Users, keys: Keys, litellm: LiteLLM, revocations: Revocations
    ) -> None:
        self._changes = changes
        self._users = users
        self._keys = keys
        self._litellm = litellm
        self._revocations = revocations

    async def __call__(
        self, principal: Principal, user_id: str, key_id: str, expected: frozenset[str] | None = None
    ) -> None:
        """The key must have one of the `expected` versions; None means any.

        Raises NotAllowedError, NotFoundError (also for another's key), PreconditionFailedError, UpstreamError.
        """
        await self._users.ensure_own(principal, user_id)
        async with self._changes.begin(principal, Action.KEY_DELETE, user_id, key_id=key_id) as change:
            key = (await self._keys.read(user_id, key_id, expected=expected)).key
            change.before = key.changeable
            await self._litellm.delete_key(key_id)
            async with change.transaction() as connection:
                await self._revocations.remove(connection, key_id)
                await change.done(connection=connection)
