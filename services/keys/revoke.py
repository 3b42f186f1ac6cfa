"""Deleting replaced keys when their overlap ends, whatever restarts meanwhile."""

from __future__ import annotations

from dataclasses import dataclass

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from clients.litellm.client import LiteLLM
from domain.actions import Action
from domain.due import Task
from domain.errors import BusyError, OrchestratorError
from domain.identity import Principal, Role
from domain.keys import CreatedKey, DescribedKey, Revocation
from services.changes.change import Change
from services.changes.changes import Changes
from services.keys.issuer import KeyIssuer
from state.revocations import Revocations, revocation_of

log = structlog.get_logger(__name__)

ROTATION = Principal("rotation", frozenset({Role.SYSTEM}))
"""The actor that deletes replaced keys."""


@dataclass(frozen=True, kw_only=True)
class RevokeKeys:
    """Schedules and executes revocations."""

    changes: Changes
    litellm: LiteLLM
    issuer: KeyIssuer
    revocations: Revocations

    async def schedule(
        self, connection: AsyncConnection, old: DescribedKey, replaced_by: CreatedKey, overlap: int
    ) -> tuple[Revocation, list[Revocation]]:
        """Schedules the deletion of `old` in `overlap` seconds, and of the keys that it had replaced at once.

        A key has one predecessor that still works, so rotations do not multiply keys. Runs in the caller's
        transaction. Returns the revocation of `old`, and those of the others.
        """
        user_id = replaced_by.user_id
        schedule = self.revocations.schedule
        # In the place of that of an earlier rotation whose key is gone.
        ending = await schedule(
            connection, old.key.id, user_id, replaced_by.key_id, revoke_in=overlap, key_version=old.key.key_version
        )
        at_once = [
            await schedule(connection, row.key_id, user_id, row.replaced_by, revoke_in=0, key_version=row.key_version)
            for row in old.replaced
        ]
        return ending, at_once

    async def revoke_due(self, task: Task) -> None:
        """Deletes the replaced key of a task of the due queue. Raises OverloadedError, UpstreamError."""
        await self._revoke(revocation_of(task))

    async def try_to_revoke(self, revocation: Revocation) -> None:
        """Deletes a replaced key now. A failure is logged; the revocation stays due."""
        try:
            await self._revoke(revocation)
        except OrchestratorError as error:
            log.warning(
                "a replaced key could not be deleted yet",
                key=revocation.key_id,
                key_stable_id=revocation.key_version and revocation.key_version.stable_id,
                error=error.message,
            )

    async def _revoke(self, revocation: Revocation) -> None:
        requested = {"replacedBy": revocation.replaced_by}
        async with self.changes.begin(
            ROTATION,
            Action.KEY_REVOKE,
            revocation.user_id,
            key_id=revocation.key_id,
            key_version=revocation.key_version,
            requested=requested,
        ) as change:
            # Another change had the lock until now: it may have kept the key, or deleted it.
            if revocation not in await self.revocations.of_user(revocation.user_id):
                await change.done(after={"deleted": []})
                return
            await self._require_settled(change, revocation)
            await self.issuer.delete(revocation.key_id)
            async with change.transaction() as connection:
                await self.revocations.remove(connection, revocation.key_id)
                await change.done(connection=connection)

    async def _require_settled(self, change: Change, revocation: Revocation) -> None:
        """Raises BusyError while an interrupted deletion of the newer key has not said what becomes of this one."""
        is_deletion_open = any(row.action is Action.KEY_DELETE for row in change.interrupted)
        if is_deletion_open and await self.litellm.show_key(revocation.user_id, revocation.replaced_by) is None:
            raise BusyError("The deletion of the key that replaced this one was interrupted; it is reconciled first")
