"""Leaked keys: anyone who finds one can report it, and it is blocked at once, for good."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from clients.litellm.blocking import LiteLLMBlocking
from clients.litellm.client import LiteLLM
from domain.actions import Action, AuditEvent
from domain.due import Task
from domain.errors import NotFoundError, UpstreamError
from domain.identity import Principal, Role
from domain.keys import Block, Blocker, ListedKey, OwnedKey
from domain.rates import RateLimit
from services.changes.change import Repaired
from services.changes.changes import Changes
from state.due import DueQueue
from state.rates import RatePolicy
from state.revocations import ReportedKeys
from state.short_keys import ShortKeys

log = structlog.get_logger(__name__)

_REPORTS = Principal("reports", frozenset({Role.SYSTEM}))
"""The actor that annotates leaked keys."""


@dataclass(frozen=True, kw_only=True)
class LeakedKeys:
    """What is done about a leaked key, once it is marked."""

    litellm: LiteLLM
    reported: ReportedKeys

    async def block(self, key_id: str) -> bool:
        """Blocks the key. Returns whether LiteLLM has it. Raises UpstreamError."""
        try:
            await self.litellm.set_key_blocked(key_id, blocked=True)
        except NotFoundError:
            return False
        return True

    async def owned(self, key_id: str) -> OwnedKey | None:
        """Whose key it is, for the audit log; None if it is nobody's, or if LiteLLM does not say."""
        try:
            return await self.litellm.owner_of_key(key_id)
        except UpstreamError as error:
            log.warning("the owner of a leaked key is not known", key=key_id, error=error.message)
            return None

    async def review(self, task: Task) -> None:
        """Forgets the mark of a key that LiteLLM does not have. Raises UpstreamError."""
        if await self.litellm.has_key(task.subject):
            await self.reported.keep(task.subject)
        else:
            await self.reported.forget(task.subject)


@dataclass(frozen=True, kw_only=True)
class AnnotateReport:
    """Writes into LiteLLM why a leaked key is blocked.

    Not in the report itself, which waits for nobody: LiteLLM replaces metadata as a whole, so this takes the owner's
    lock.
    """

    changes: Changes
    litellm: LiteLLM
    blocking: LiteLLMBlocking
    due: DueQueue

    async def __call__(self, task: Task) -> None:
        """Annotates the key of a task of the due queue. Raises OverloadedError, UpstreamError."""
        key_id = task.subject
        owned = await self.litellm.owner_of_key(key_id)
        if owned is None or await self._annotated(owned.owner, key_id) is None:
            await self.due.drop(task)  # nobody's, or made elsewhere: LiteLLM says that it is blocked
            return
        block = Block(_REPORTS.subject, Blocker.REPORT, task.due_at)
        async with self.changes.begin(
            _REPORTS,
            Action.KEY_UPDATE,
            owned.owner,
            key_id=key_id,
            key_version=owned.key_version,
            requested={"blockedBy": Blocker.REPORT},
        ) as change:
            key = await self._annotated(owned.owner, key_id)
            if key is not None:
                await self.blocking.block(key, block)
            async with change.transaction() as connection:
                await self.due.remove(connection, task.kind, key_id)
                await change.done(after={"exists": key is not None}, connection=connection)

    async def _annotated(self, owner: str, key_id: str) -> ListedKey | None:
        try:
            key = await self.blocking.key_of(owner, key_id)
        except NotFoundError:
            return None
        return None if key.metadata is None else key


@dataclass(frozen=True, kw_only=True)
class ReportKey:
    """Accepts reports of leaked keys."""

    changes: Changes
    leaked: LeakedKeys
    short_keys: ShortKeys
    rate: RatePolicy

    async def __call__(self, principal: Principal, secret: str) -> RateLimit | None:
        """Blocks the key with this secret if it exists; the caller does not learn whether. Any caller may report.

        The key is marked together with the intent, then blocked: neither the owner nor the cleanup unblocks a marked
        key. Raises RateLimitedError, UpstreamError: then reconciliation blocks it.
        """
        key_id = hashlib.sha256(secret.encode()).hexdigest()

        async def mark(connection: AsyncConnection) -> None:
            await self.leaked.reported.add(connection, key_id)
            await self.short_keys.withhold(connection, key_id)

        # Without a target: a leaked key is blocked at once, whatever else happens to its owner.
        async with self.changes.begin(
            principal, Action.KEY_REPORT, None, key_id=key_id, rate=self.rate, also=mark
        ) as change:
            is_known = await self.leaked.block(key_id)
            # Asked for every key, or the time that it takes would tell which ones exist.
            owned = await self.leaked.owned(key_id)
            if owned is not None:
                change.key_version = owned.key_version
            await change.done(target=None if owned is None else owned.owner, after={"known": is_known})
            return change.rate

    async def repair(self, event: AuditEvent) -> Repaired:
        """Marks and blocks a key whose report was interrupted. Raises UpstreamError."""
        assert event.key_id is not None
        await self.leaked.reported.keep(event.key_id)
        found = {"known": await self.leaked.block(event.key_id)}
        owned = await self.leaked.owned(event.key_id)
        return Repaired(found) if owned is None else Repaired(found, owned.owner, owned.key_version)
