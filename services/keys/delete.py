"""Deleting a key."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from clients.litellm.client import LiteLLM
from domain.audit import Action
from domain.identity import Principal
from domain.keys import Replaced
from services.changes.changes import Changes
from services.keys.keys import Keys
from services.keys.predecessors import Predecessors, outcome
from services.users.users import Users
from state.rates import RatePolicy


@dataclass(frozen=True, kw_only=True)
class DeleteKey:
    """Deletes a key of a user."""

    changes: Changes
    users: Users
    keys: Keys
    litellm: LiteLLM
    predecessors: Predecessors
    rate: RatePolicy

    async def __call__(
        self,
        principal: Principal,
        user_id: str,
        key_id: str,
        replaced: Replaced,
        expected: frozenset[str] | None = None,
    ) -> None:
        """`replaced` says what becomes of a key that this one replaced and that still works for its overlap.

        The key must have one of the `expected` versions; None means any. A key that exists is deleted at any rate.
        Raises NotAllowedError, NotFoundError (also for another's key), PreconditionFailedError, RateLimitedError,
        OverloadedError, UpstreamError.
        """
        await self.users.ensure_own(principal, user_id)
        async with self.changes.begin(
            principal,
            Action.KEY_DELETE,
            user_id,
            key_id=key_id,
            requested={"replaced": replaced},
            rate=self.rate,
            is_worth_it=partial(self._exists, user_id, key_id),
        ) as change:
            key = (await self.keys.show(user_id, key_id, expected=expected)).key
            change.before = key.changeable
            # The older keys first: until the last step the request can be sent again.
            older = await self.predecessors.in_overlap(user_id, key_id, at=self.keys.now())
            await self.predecessors.settle(older, replaced)
            await self.litellm.delete_key(key_id)
            async with change.transaction() as connection:
                await self.predecessors.release(connection, [key_id, *older])
                await change.done(after=outcome(older, replaced) or None, connection=connection)

    async def _exists(self, user_id: str, key_id: str) -> bool:
        return await self.litellm.show_key(user_id, key_id) is not None
