"""Deleting a key, and what becomes of a key in its overlap when the key that replaced it is deleted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from clients.litellm.client import LiteLLM
from domain.actions import Action, AuditEvent
from domain.identity import Principal
from domain.keys import Replaced, is_stable_id
from services.changes.change import Repaired
from services.changes.changes import TAKE_AWAY_SECONDS, Changes
from services.keys.issuer import KeyIssuer
from services.keys.keys import Keys
from services.users.users import Users
from state.rates import RatePolicy
from state.revocations import Revocations
from state.short_keys import ShortKeys


@dataclass(frozen=True, kw_only=True)
class DeleteKey:
    """Deletes a key of a user."""

    changes: Changes
    users: Users
    keys: Keys
    litellm: LiteLLM
    issuer: KeyIssuer
    revocations: Revocations
    short_keys: ShortKeys
    rate: RatePolicy

    async def __call__(
        self,
        principal: Principal,
        user_id: str,
        key_id: str,
        replaced: Replaced,
        expected: frozenset[str] | None,
    ) -> None:
        """`replaced` says what becomes of a key that this one replaced and that still works for its overlap.

        By stable id every version goes, whatever it says. The key must have one of the `expected` versions; None means
        any. A key that exists is deleted at any rate. Raises NotAllowedError, NotFoundError (also for another's key),
        PreconditionFailedError, RateLimitedError, OverloadedError, UpstreamError.
        """
        await self.users.ensure_own(principal, user_id)
        by_stable_id = is_stable_id(key_id)
        replaced = Replaced.DELETE if by_stable_id else replaced
        async with self.changes.begin(
            principal,
            Action.KEY_DELETE,
            user_id,
            key_id=key_id,
            requested={"replaced": replaced},
            rate=self.rate,
            takes_away_within=TAKE_AWAY_SECONDS,
            is_worth_it=partial(self._exists, user_id, key_id),
        ) as change:
            newest_id, others = await self.keys.find(change, user_id, key_id)
            key = (await self.keys.show(user_id, newest_id, expected=expected)).key
            change.key_version = key.key_version
            change.before = change.before or key.changeable
            if by_stable_id:
                # The newest first: it is what a repair looks at, and the id is that of the others then.
                await self.litellm.delete_key(newest_id)
                older = [other.id for other in others]
                await self._delete_all(older)
            else:
                # The older keys first: until the last step the request can be sent again.
                older = await self._settle_older(user_id, key_id, replaced, at=self.keys.now())
                await self.litellm.delete_key(key_id)
            async with change.transaction() as connection:
                await self._release(connection, [newest_id, *older])
                await change.done(after=_outcome(older, replaced) or None, connection=connection)

    async def repair(self, event: AuditEvent) -> Repaired:
        """Does what an interrupted deletion had left to do, if LiteLLM has deleted the key. Raises UpstreamError."""
        assert event.target is not None
        if event.key_id is None:
            return Repaired({})  # it did not come to find the version
        key = await self.litellm.show_key(event.target, event.key_id)
        if key is not None:
            return Repaired({"exists": True, "blocked": key.is_blocked}, key_version=key.key_version)
        replaced = Replaced((event.requested or {}).get("replaced", Replaced.KEEP))
        found = (event.before or {}).get("versions", [])
        if found:
            older = [other for other in found if await self.litellm.show_key(event.target, other) is not None]
            await self._delete_all(older)
        else:
            older = await self._settle_older(event.target, event.key_id, replaced, at=event.started_at)
        async with self.changes.table.transaction() as connection:
            await self._release(connection, [event.key_id, *older, *found])
        return Repaired({"exists": False} | _outcome(older, replaced))

    async def _settle_older(self, user_id: str, key_id: str, replaced: Replaced, *, at: float) -> list[str]:
        """The keys that this one replaced and whose overlap was not over `at` that time, deleted if they are to be."""
        pending = await self.revocations.of_user(user_id)
        older = [row.key_id for row in pending if row.replaced_by == key_id and row.revoke_at > at]
        if replaced is Replaced.DELETE:
            await self._delete_all(older)
        return older

    async def _delete_all(self, key_ids: Sequence[str]) -> None:
        for key_id in key_ids:
            await self.issuer.delete(key_id)

    async def _release(self, connection: AsyncConnection, key_ids: Sequence[str]) -> None:
        """Removes what is due for them, in the caller's transaction: they are gone, or stay."""
        for key_id in key_ids:
            await self.revocations.remove(connection, key_id)
            await self.short_keys.remove(connection, key_id)

    async def _exists(self, user_id: str, key_id: str) -> bool:
        if is_stable_id(key_id):
            return bool(await self.litellm.versions_of(user_id, key_id))
        return await self.litellm.show_key(user_id, key_id) is not None


def _outcome(key_ids: Sequence[str], replaced: Replaced) -> dict[str, Any]:
    """What the audit log says about the older keys."""
    return {"deleted" if replaced is Replaced.DELETE else "kept": list(key_ids)} if key_ids else {}
