"""Reconciliation: repairs what interrupted changes left behind, and records that in the audit log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import structlog

from clients.litellm.client import LiteLLM
from domain.audit import Action, AuditEvent
from domain.due import Kind, Task
from domain.keys import Replaced
from services.changes.changes import Changes
from services.keys.issuer import CREATING, KeyIssuer
from services.keys.predecessors import Predecessors, outcome
from services.keys.report import LeakedKeys
from state.due import DueQueue
from state.events import Events

log = structlog.get_logger(__name__)

_AFTER_SECONDS = 300.0
"""Longer than any request takes: it calls LiteLLM about ten times, each within the deadline of a call."""


@dataclass(frozen=True, kw_only=True)
class Reconciliation:
    """Ends the changes that were interrupted more than five minutes ago."""

    changes: Changes
    events: Events
    due: DueQueue
    litellm: LiteLLM
    issuer: KeyIssuer
    leaked: LeakedKeys
    predecessors: Predecessors

    async def find(self) -> None:
        """Makes them due."""
        await self.due.schedule_found(Kind.RECONCILIATION, self.changes.table.interrupted(older_than=_AFTER_SECONDS))

    async def reconcile(self, task: Task) -> None:
        """Repairs and ends one change. Raises OverloadedError while its user is being changed, UpstreamError."""
        event = await self.events.open_event(int(task.subject))
        if event is None:
            await self.due.drop(task)
            return
        async with self.changes.resume(event) as change:
            found, owner = await self._repair(event)
            async with change.transaction() as connection:
                await self.due.remove(connection, task.kind, task.subject)
                await change.reconciled(found, target=owner, connection=connection)
        log.info("reconciled an interrupted change", change=event.id, action=event.action)

    async def _repair(self, event: AuditEvent) -> tuple[dict[str, Any], str | None]:
        """Repairs one change. Returns what it found, and the owner of a key that was reported."""
        if event.action in CREATING and event.target is not None:
            # Nobody received the secret: the answer is given after the outcome is recorded.
            return {"deleted": await self.issuer.delete_created_by(event.target, {event.operation})}, None
        if event.action is Action.KEY_REPORT and event.key_id is not None:
            await self.leaked.reported.keep(event.key_id)
            return {"known": await self.leaked.block(event.key_id)}, await self.leaked.owner(event.key_id)
        if event.target is None:
            return {}, None
        if event.key_id is None:
            return {"exists": await self.litellm.user_exists(event.target)}, None
        key = await self.litellm.show_key(event.target, event.key_id)
        if event.action is Action.KEY_DELETE and key is None:
            return {"exists": False} | await self._end_deletion(event.target, event.key_id, event), None
        return {"exists": key is not None, "blocked": key is not None and key.is_blocked}, None

    async def _end_deletion(self, user_id: str, key_id: str, event: AuditEvent) -> dict[str, Any]:
        """What the deletion of a key had left to do once LiteLLM had done it."""
        replaced = Replaced((event.requested or {}).get("replaced", Replaced.KEEP))
        older = await self.predecessors.in_overlap(user_id, key_id, at=event.started_at)
        await self.predecessors.settle(older, replaced)
        async with self.changes.table.transaction() as connection:
            await self.predecessors.release(connection, [key_id, *older])
        return outcome(older, replaced)
