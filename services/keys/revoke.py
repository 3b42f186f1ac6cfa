"""Deleting replaced keys when their overlap ends, whatever restarts meanwhile."""

from __future__ import annotations

from dataclasses import dataclass

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.audit import Action
from domain.due import Task
from domain.errors import OrchestratorError
from domain.identity import Principal, Role
from domain.keys import CreatedKey, Revocation
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
    issuer: KeyIssuer
    revocations: Revocations

    async def schedule(
        self, connection: AsyncConnection, key_id: str, replaced_by: CreatedKey, overlap: int
    ) -> Revocation:
        """Schedules the deletion of `key_id` in `overlap` seconds, in the caller's transaction."""
        return await self.revocations.schedule(
            connection, key_id, replaced_by.user_id, replaced_by.key_id, revoke_in=overlap
        )

    async def revoke_due(self, task: Task) -> None:
        """Deletes the replaced key of a task of the due queue. Raises OverloadedError, UpstreamError."""
        await self._revoke(revocation_of(task))

    async def try_to_revoke(self, revocation: Revocation) -> None:
        """Deletes a replaced key now. A failure is logged; the revocation stays due."""
        try:
            await self._revoke(revocation)
        except OrchestratorError as error:
            log.warning("a replaced key could not be deleted yet", key=revocation.key_id, error=error.message)

    async def _revoke(self, revocation: Revocation) -> None:
        requested = {"replacedBy": revocation.replaced_by}
        async with self.changes.begin(
            ROTATION, Action.KEY_REVOKE, revocation.user_id, key_id=revocation.key_id, requested=requested
        ) as change:
            await self.issuer.delete(revocation.key_id)
            async with change.transaction() as connection:
                await self.revocations.remove(connection, revocation.key_id)
                await change.done(connection=connection)
