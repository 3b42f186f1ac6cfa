"""Reconciliation: repairs what interrupted changes left behind, and records that in the audit log."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog

from clients.litellm.client import LiteLLM
from domain.audit import Action, AuditEvent
from domain.errors import NotFoundError, OrchestratorError
from services.changes.changes import Changes
from services.keys.issuer import CREATING, KeyIssuer
from state.changes import ChangeTable

log = structlog.get_logger(__name__)

_AFTER_SECONDS = 300.0
"""Longer than any request takes: it calls LiteLLM about ten times, each within the deadline of a call."""
_BATCH = 20


@dataclass(frozen=True, kw_only=True)
class Reconciliation:
    """Ends the changes that were interrupted more than five minutes ago."""

    changes: Changes
    interrupted: ChangeTable
    litellm: LiteLLM
    issuer: KeyIssuer

    async def run(self) -> None:
        """Repairs what can be repaired. What fails is retried by the next run."""
        for event in await self.interrupted.interrupted(older_than=_AFTER_SECONDS, limit=_BATCH):
            try:
                async with self.changes.resume(event) as change:
                    await change.reconciled(await self._repair(event))
            except OrchestratorError as error:
                log.warning("an interrupted change is not reconciled yet", change=event.id, error=error.message)
            else:
                log.info("reconciled an interrupted change", change=event.id, action=event.action)

    async def _repair(self, event: AuditEvent) -> dict[str, Any]:
        """Repairs one change, and returns what it found."""
        if event.action in CREATING and event.target is not None:
            # Nobody received the secret: the answer is given after the outcome is recorded.
            return {"deleted": await self.issuer.delete_created_by(event.target, {event.operation})}
        if event.action is Action.KEY_REPORT and event.key_id is not None:
            with suppress(NotFoundError):
                await self.litellm.set_key_blocked(event.key_id, blocked=True)
            return {"known": await self.litellm.owner_of_key(event.key_id) is not None}
        if event.target is None:
            return {}
        if event.key_id is None:
            return {"exists": await self.litellm.user_exists(event.target)}
        key = await self.litellm.read_key(event.target, event.key_id)
        return {"exists": key is not None, "blocked": key is not None and key.is_blocked}
