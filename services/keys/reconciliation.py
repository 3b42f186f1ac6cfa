"""Changes that were cut short: what they left behind is put in order, and the audit log says so."""

from __future__ import annotations

from typing import Any

import structlog

from clients.litellm.client import LiteLLM
from domain.errors import OrchestratorError
from services.changes.audit import Action, Outcome
from services.keys.create import Minting
from services.keys.keys import keys_of
from state.changes import AuditLog, Conclusion, Event
from state.locks import Locks

log = structlog.get_logger(__name__)

_SILENT_SECONDS = 300.0
"""Longer than any request takes: it asks LiteLLM some ten times at most, each within the deadline of a call."""
_AT_ONCE = 20


class Reconciliation:
    """Concludes intents that have been without an outcome for five minutes."""

    def __init__(self, log: AuditLog, litellm: LiteLLM, minting: Minting, locks: Locks) -> None:
        self._log = log
        self._litellm = litellm
        self._minting = minting
        self._locks = locks

    async def run(self) -> None:
        """Put in order what can be; what fails is tried again by the next run."""
        for event in await self._log.unconcluded(older_than=_SILENT_SECONDS, limit=_AT_ONCE):
            try:
                await self._reconcile(event)
            except OrchestratorError as error:
                log.warning("a change that was cut short is not in order yet", intent=event.id, error=error.message)

    async def _reconcile(self, event: Event) -> None:
        target = event.intent.target
        if target is not None and event.intent.action in (Action.KEY_CREATE, Action.KEY_REGENERATE):
            async with self._locks.hold(keys_of(target)):
                # Nobody was told the secret of what it made: that is told after the outcome is written down.
                deleted = await self._minting.discard(target, event.intent.operation)
                await self._conclude(event, {"deleted": deleted})
        else:
            await self._conclude(event, await self._found(event))

    async def _found(self, event: Event) -> dict[str, Any]:
        target, key_id = event.intent.target, event.intent.key_id
        if target is None:
            return {}
        if key_id is None:
            return {"exists": await self._litellm.user_exists(target)}
        key = await self._litellm.read_key(target, key_id)
        return {"exists": key is not None, "blocked": key is not None and key.is_blocked}

    async def _conclude(self, event: Event, found: dict[str, Any]) -> None:
        conclusion = Conclusion(Outcome.RECONCILED.value, after=found, detail="It was cut short")
        if await self._log.conclude(event.id, conclusion):
            log.info("a change that was cut short is in order", intent=event.id, action=event.intent.action, **found)
