"""Leaked keys: whoever finds one may report it, and it is blocked at once and for good."""

from __future__ import annotations

import contextlib
import hashlib

from clients.litellm.client import LiteLLM
from domain.errors import Allowance, NotFoundError
from services.access import Principal
from services.changes.audit import Action, Audit
from services.changes.creations import Creations
from state.revocations import ReportedKeys


class Leaks:
    """Takes reports."""

    def __init__(self, litellm: LiteLLM, reported: ReportedKeys, creations: Creations, audit: Audit) -> None:
        self._litellm = litellm
        self._reported = reported
        self._creations = creations
        self._audit = audit

    async def report(self, principal: Principal, secret: str) -> Allowance:
        """Block the key of `secret`, if there is one; nobody is told whether. Any signed-in caller may.

        What was reported is written down before it is blocked, and never unblocked by the cleanup or its owner. Raises
        TooManyRequestsError, UpstreamError.
        """
        allowance = await self._creations.take(principal, "reports")
        key_id = hashlib.sha256(secret.encode()).hexdigest()
        owner = await self._litellm.owner_of_key(key_id)
        async with self._audit.attempt(principal, Action.KEY_REPORT, owner, key_id) as attempt:
            await attempt.begin(wanted={"known": owner is not None})
            await self._reported.add(key_id)
            with contextlib.suppress(NotFoundError):
                await self._litellm.set_key_blocked(key_id, blocked=True)
        return allowance
