"""Reconciliation: repairs what interrupted changes left behind, and records that in the audit log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import structlog

from clients.litellm.client import LiteLLM
from domain.actions import Action, AuditEvent
from domain.due import Kind, Task
from services.changes.change import Repaired
from services.changes.changes import Changes
from state.due import DueQueue
from state.events import Events

log = structlog.get_logger(__name__)

_AFTER_SECONDS = 300.0
"""Longer than any request takes: it calls LiteLLM about ten times, each within the deadline of a call."""


@dataclass(frozen=True, kw_only=True)
class Reconciliation:
    """Ends the changes that were interrupted more than five minutes ago.

    `repairs` has how those are repaired that leave something behind; of all others it records what LiteLLM has.
    """

    changes: Changes
    events: Events
    due: DueQueue
    litellm: LiteLLM
    repairs: Mapping[Action, Callable[[AuditEvent], Awaitable[Repaired]]]

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
            repaired = await self.repairs.get(event.action, self._look)(event)
            async with change.transaction() as connection:
                await self.due.remove(connection, task.kind, task.subject)
                await change.reconciled(repaired, connection)
        log.info("reconciled an interrupted change", change=event.id, action=event.action)

    async def _look(self, event: AuditEvent) -> Repaired:
        if event.target is None or (event.key_id is None and event.key_stable_id is not None):
            return Repaired({})  # nothing that could be looked at, or it did not come to find the version
        if event.key_id is None:
            return Repaired({"exists": await self.litellm.user_exists(event.target)})
        key = await self.litellm.show_key(event.target, event.key_id)
        found = {"exists": key is not None, "blocked": key is not None and key.is_blocked}
        return Repaired(found, key_version=None if key is None else key.key_version)
