"""Reconciliation: repairs what interrupted changes left behind, and records that in the audit log."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog

from clients.litellm.client import LiteLLM
from domain.audit import Action, AuditEvent
from domain.errors import NotFoundError, OrchestratorError
from domain.keys import Replaced
from services.changes.changes import Changes
from services.keys.issuer import CREATING, KeyIssuer
from services.keys.predecessors import Predecessors, outcome
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
    predecessors: Predecessors

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
        if event.action is Action.KEY_DELETE and key is None:
            return {"exists": False} | await self._end_deletion(event.target, event.key_id, event)
        return {"exists": key is not None, "blocked": key is not None and key.is_blocked}

    async def _end_deletion(self, user_id: str, key_id: str, event: AuditEvent) -> dict[str, Any]:
        """What the deletion of a key had left to do once LiteLLM had done it."""
        replaced = Replaced((event.requested or {}).get("replaced", Replaced.KEEP))
        older = await self.predecessors.in_overlap(user_id, key_id, at=event.started_at)
        await self.predecessors.settle(older, replaced)
        async with self.changes.store.transaction() as connection:
            await self.predecessors.release(connection, [key_id, *older])
        return outcome(older, replaced)
