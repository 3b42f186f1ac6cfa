"""Leaked keys: anyone who finds one can report it, and it is blocked at once, for good."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass

from clients.litellm.client import LiteLLM
from domain.audit import Action
from domain.errors import NotFoundError
from domain.identity import Principal
from domain.rates import RateLimit
from services.changes.changes import Changes
from state.rates import RatePolicy
from state.revocations import ReportedKeys


@dataclass(frozen=True, kw_only=True)
class ReportKey:
    """Accepts reports of leaked keys."""

    changes: Changes
    litellm: LiteLLM
    reported: ReportedKeys
    rate: RatePolicy

    async def __call__(self, principal: Principal, secret: str) -> RateLimit | None:
        """Blocks the key with this secret if it exists; the caller does not learn whether. Any caller may report.

        The report is stored before the key is blocked. Neither the owner nor the cleanup unblocks a reported key.
        Raises RateLimitedError, UpstreamError.
        """
        key_id = hashlib.sha256(secret.encode()).hexdigest()
        # Without a target: a leaked key is blocked at once, whatever else happens to its owner.
        async with self.changes.begin(principal, Action.KEY_REPORT, None, key_id=key_id, rate=self.rate) as change:
            owner = await self.litellm.owner_of_key(key_id)
            await self.reported.add(key_id)
            with suppress(NotFoundError):
                await self.litellm.set_key_blocked(key_id, blocked=True)
            await change.done(target=owner, after={"known": owner is not None})
            return change.rate
