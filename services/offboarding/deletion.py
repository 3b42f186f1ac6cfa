"""Deletes a leaver and their keys from LiteLLM, and counts what nobody confirmed.

Short keys that are being made would come after it, so it waits for them; those that begin later find the deletion in
the audit log (`services/tokens/mint.py`).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from clients.litellm.client import LiteLLM
from domain.errors import NotFoundError, UpstreamFaultError, UpstreamTimeoutError
from domain.offboarding import PlanEntry
from services.changes.changes import Changes
from services.offboarding.blocking import STILL_MADE
from state.deletions import Deletions
from state.lease import HeldLease, Lease


@dataclass(frozen=True, kw_only=True)
class UserDeletion:
    """Deletes users, for the holder of the lease."""

    litellm: LiteLLM
    deletions: Deletions
    lease: Lease
    changes: Changes

    async def delete(self, held: HeldLease, entry: PlanEntry, *, is_confirmed: bool) -> int:
        """Deletes the user, whether or not their keys could be blocked. Returns the number of keys by LiteLLM's count.

        A deletion that nobody confirmed is counted before it is made: LiteLLM may delete and not say so. It is only
        made if LiteLLM listed the user when the plan was made, because their row says who created them.
        """
        keys = entry.keys
        if keys is None:
            user = (await self.litellm.find_users([entry.user_id])).get(entry.user_id)
            if user is None and not await self.litellm.user_exists(entry.user_id):
                return 0
            if not is_confirmed:
                raise UpstreamFaultError("LiteLLM did not list the user before, and has them; the next run looks again")
            keys = 0 if user is None else user.keys
        if not is_confirmed:
            await self.deletions.reserve(held, entry.user_id, since=entry.since or 0.0)
        if not await self.changes.mints_ended(entry.user_id):
            raise UpstreamTimeoutError(f"{STILL_MADE}; the next run goes on")
        await self.lease.renew(held)
        with suppress(NotFoundError):
            await self.litellm.delete_user(entry.user_id)
        if await self.litellm.user_exists(entry.user_id):
            raise UpstreamFaultError("LiteLLM still has the user after deleting them")
        return keys

    async def forget(self) -> None:
        """Forgets the deletions that do not count any more."""
        await self.deletions.forget()
