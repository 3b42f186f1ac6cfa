"""Creating keys in LiteLLM, and deleting those that nobody received or owns."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from clients.litellm.client import LiteLLM
from domain.actions import CREATES_KEYS, AuditEvent
from domain.due import Kind, NewTask
from domain.errors import CallerError, ConflictError, NotFoundError, UpstreamFaultError
from domain.keys import CreatedKey, KeyVersion, NewKey
from domain.succession import losses, plain_losses
from services.changes.change import Repaired
from services.keys.keys import no_such_key
from state.changes import OpenChange
from state.due import DueQueue
from state.revocations import payload_of


@dataclass(frozen=True, kw_only=True)
class KeyIssuer:
    """Creates and deletes keys for a change."""

    litellm: LiteLLM
    due: DueQueue

    async def create(self, user_id: str, new: NewKey) -> CreatedKey:
        """A key for a user who was there a moment ago. Raises InputError, UpstreamError.

        LiteLLM creates keys for users that do not exist, and a user may be deleted meanwhile: the change that creates
        it ends with `schedule_owner_check`.
        """
        return await self.litellm.create_key(user_id, new)

    async def schedule_owner_check(
        self, connection: AsyncConnection, key_id: str, owner: str, version: KeyVersion
    ) -> None:
        """Lets `OwnerCheck` delete the key if LiteLLM does not have its owner, in the caller's transaction."""
        await self.due.schedule_all(connection, owner_check(key_id, owner, version))

    async def create_from(self, old_id: str, user_id: str, new: NewKey, *, changed: Collection[str]) -> CreatedKey:
        """A key made out of the user's key `old_id`, which stays. Every property but the `changed` ones must be kept.

        Raises ConflictError that names what the new key would lose, and leaves none; NotFoundError, UpstreamError.
        Whatever makes one key out of another creates it here.
        """
        _require_kept(plain_losses(await self._row(user_id, old_id)))
        created = await self.create(user_id, new)
        try:
            # The old one again: an operator may have set something meanwhile.
            copy, old = await asyncio.gather(self.litellm.read_row(user_id, created.key_id), self._row(user_id, old_id))
            if copy is None:
                raise UpstreamFaultError("LiteLLM does not have the key that it created")
            _require_kept(losses(old, copy, changed=changed))
        except CallerError:
            await self.delete(created.key_id)
            raise
        return created

    async def delete_abandoned(self, user_id: str, interrupted: Sequence[OpenChange]) -> None:
        """Deletes the keys that interrupted changes created; nobody received their secrets."""
        await self.delete_created_by(user_id, {row.operation for row in interrupted if row.action in CREATES_KEYS})

    async def repair(self, event: AuditEvent) -> Repaired:
        """Deletes what an interrupted change created. Nobody received the secret: it is given after the outcome."""
        assert event.target is not None
        return Repaired({"deleted": await self.delete_created_by(event.target, {event.operation})})

    async def delete_created_by(self, user_id: str, operations: Collection[str]) -> list[str]:
        """Deletes the keys that these operations created. Returns their ids."""
        if not operations:
            return []
        created = await self.litellm.created_by(user_id, operations)
        for key_id in created:
            await self.delete(key_id)
        return created

    async def delete(self, key_id: str) -> bool:
        """Deletes a key that may be gone already. Whether it was there."""
        try:
            await self.litellm.delete_key(key_id)
        except NotFoundError:
            return False
        return True

    async def _row(self, user_id: str, key_id: str) -> dict[str, Any]:
        row = await self.litellm.read_row(user_id, key_id)
        if row is None:
            raise no_such_key(user_id)
        return row


def owner_check(key_id: str, owner: str, version: KeyVersion) -> NewTask:
    """The task of `OwnerCheck` for a new key."""
    return NewTask(Kind.OWNER_CHECK, key_id, 0, owner, payload_of(version))


def _require_kept(lost: Sequence[str]) -> None:
    if lost:
        raise ConflictError(f"A new key would lose properties that were set elsewhere: {', '.join(lost)}")
