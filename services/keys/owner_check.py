"""Deleting new keys whose owner LiteLLM does not have.

LiteLLM creates keys for users that do not exist, and one may have been deleted since this service saw them last. Asking
before each key would be a call that a caller waits for, so it is asked afterwards, for a hundred keys at once: see
`docs/adr/0031-owners-are-checked-afterwards.md`.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from clients.litellm.client import LiteLLM
from domain.actions import Action
from domain.due import Task
from domain.identity import Principal, Role
from services.changes.changes import Changes
from services.keys.issuer import KeyIssuer
from services.users.users import Users
from state.due import DueQueue
from state.kept_answers import KeptAnswers
from state.revocations import key_version_of

log = structlog.get_logger(__name__)

_OWNER_CHECK = Principal("owner-check", frozenset({Role.SYSTEM}))
"""The actor that deletes keys without an owner."""
_AT_ONCE = 100


@dataclass(frozen=True, kw_only=True)
class OwnerCheck:
    """Checks the owners of new keys."""

    changes: Changes
    due: DueQueue
    litellm: LiteLLM
    users: Users
    issuer: KeyIssuer
    kept_answers: KeptAnswers

    async def __call__(self, task: Task) -> None:
        """Checks the key of a task of the due queue, and others that are due. Raises OverloadedError, UpstreamError.

        Then the others are due again when their claim ends.
        """
        tasks = [task, *await self.due.claim_batch(task.kind, _AT_ONCE - 1)]
        owners = {task.owner for task in tasks if task.owner is not None}
        missing = owners - (await self.litellm.find_users(owners)).keys()
        settled = [new for new in tasks if new.owner not in missing]
        if settled:
            await self.due.drop(*settled)
        for new in tasks:
            if new.owner in missing:
                await self._delete(new, new.owner)

    async def _delete(self, task: Task, owner: str) -> None:
        async with self.changes.begin(
            _OWNER_CHECK,
            Action.KEY_REVOKE,
            owner,
            key_id=task.subject,
            key_version=key_version_of(task),
            requested={"because": "no such user"},
        ) as change:
            # Another change had the lock until now: it may have created the user again.
            is_owned = await self.users.exists(owner)
            # The key may have gone with its owner.
            is_deleted = not is_owned and await self.issuer.delete(task.subject)
            if is_deleted:
                version = key_version_of(task)
                log.warning(
                    "deleted a new key: LiteLLM does not have its owner",
                    key=task.subject,
                    key_stable_id=version and version.stable_id,
                    user=owner,
                )
            async with change.transaction() as connection:
                await self.due.remove(connection, task.kind, task.subject)
                if not is_owned:
                    await self.kept_answers.drop(connection, task.subject)
                await change.done(after={"deleted": [task.subject] if is_deleted else []}, connection=connection)
