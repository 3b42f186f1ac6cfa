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
from services.changes.changes import Sleep
from state.changes import LEASE_SECONDS, ChangeTable
from state.deletions import Deletions
from state.lease import HeldLease, Lease

_POLL_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class UserDeletion:
    """Deletes users, for the holder of the lease."""

    litellm: LiteLLM
    deletions: Deletions
    lease: Lease
    changes: ChangeTable
    sleep: Sleep

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
        await self._wait_for_mints(entry.user_id)
        await self.lease.renew(held)
        with suppress(NotFoundError):
            await self.litellm.delete_user(entry.user_id)
        if await self.litellm.user_exists(entry.user_id):
            raise UpstreamFaultError("LiteLLM still has the user after deleting them")
        return keys

    async def _wait_for_mints(self, owner: str) -> None:
        """Waits until no short key is being made for the owner. Raises UpstreamTimeoutError after half a minute."""
        for _ in range(int(LEASE_SECONDS / _POLL_SECONDS)):
            if not any(row.is_running for row in await self.changes.open_mints(owner)):
                return
            await self.sleep(_POLL_SECONDS)
        raise UpstreamTimeoutError("Short keys are still being made for the user; the next run goes on")

    async def forget(self) -> None:
        """Forgets the deletions that do not count any more."""
        await self.deletions.forget()
