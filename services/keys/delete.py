"""Deleting a key."""

from __future__ import annotations

from dataclasses import dataclass

from clients.litellm.client import LiteLLM
from domain.audit import Action
from domain.identity import Principal
from domain.keys import Replaced
from services.changes.changes import Changes
from services.keys.keys import Keys
from services.keys.predecessors import Predecessors, outcome
from services.users.users import Users


@dataclass(frozen=True, kw_only=True)
class DeleteKey:
    """Deletes a key of a user."""

    changes: Changes
    users: Users
    keys: Keys
    litellm: LiteLLM
    predecessors: Predecessors

    async def __call__(
        self,
        principal: Principal,
        user_id: str,
        key_id: str,
        replaced: Replaced,
        expected: frozenset[str] | None = None,
    ) -> None:
        """`replaced` says what becomes of a key that this one replaced and that still works for its overlap.

        The key must have one of the `expected` versions; None means any. Raises NotAllowedError, NotFoundError (also
        for another's key), PreconditionFailedError, UpstreamError.
        """
        await self.users.ensure_own(principal, user_id)
        requested = {"replaced": replaced}
        async with self.changes.begin(
            principal, Action.KEY_DELETE, user_id, key_id=key_id, requested=requested
        ) as change:
            key = (await self.keys.read(user_id, key_id, expected=expected)).key
            change.before = key.changeable
            # The older keys first: until the last step the request can be sent again.
            older = await self.predecessors.in_overlap(user_id, key_id, at=self.keys.now())
            await self.predecessors.settle(older, replaced)
            await self.litellm.delete_key(key_id)
            async with change.transaction() as connection:
                await self.predecessors.release(connection, [key_id, *older])
                await change.done(after=outcome(older, replaced) or None, connection=connection)
