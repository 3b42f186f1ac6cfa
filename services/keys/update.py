"""Changing a key."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from clients.litellm.client import LiteLLM
from domain.audit import Action
from domain.errors import NotAllowedError, UpstreamFaultError
from domain.identity import Principal, Role
from domain.keys import LIMITS, DescribedKey, Key, KeyAnnotations, KeyChanges
from services import limits
from services.access import Access
from services.changes.changes import Changes
from services.keys.keys import Keys
from services.keys.policy import KeyPolicy
from services.users.tiers import Tiers
from services.users.users import Users
from state.rates import RatePolicy
from state.revocations import ReportedKeys


@dataclass(frozen=True, kw_only=True)
class UpdateKey:
    """Updates a key of a user, within the limits of their tier."""

    changes: Changes
    users: Users
    keys: Keys
    litellm: LiteLLM
    rules: UpdateRules
    rate: RatePolicy

    async def __call__(
        self, principal: Principal, user_id: str, key_id: str, requested: KeyChanges, expected: frozenset[str] | None
    ) -> DescribedKey:
        """The key as LiteLLM has it after the change. It must have one of the `expected` versions; None means any.

        A key that works is blocked above the rate too. Raises NotAllowedError, InputError, NotFoundError (also for
        another's key), PreconditionFailedError, ConflictError (alias taken), RateLimitedError, OverloadedError,
        UpstreamError (also if LiteLLM ignored a value).
        """
        await self.users.ensure_own(principal, user_id)
        works = partial(self._works, user_id, key_id)
        async with self.changes.begin(
            principal,
            Action.KEY_UPDATE,
            user_id,
            key_id=key_id,
            requested=requested,
            rate=self.rate,
            is_worth_it=works,
        ) as change:
            key = (await self.keys.read(user_id, key_id, expected=expected)).key
            await self.rules.check(principal, change.access, key, requested)
            change.before = key.changeable
            fields = {name: value for name, value in requested.items() if name in (*LIMITS, "blocked")}
            await self.litellm.update_key(key, fields, _annotations(key, requested, principal))
            if requested.get("blocked") is False:
                await self._keep_blocked_if_reported(key_id)
            updated = await self.keys.read(user_id, key_id)
            await change.done(after=updated.key.changeable)
        _require_applied(updated.key, requested)
        return updated

    async def _keep_blocked_if_reported(self, key_id: str) -> None:
        """A report does not wait for other changes: it may have come between the check and the update."""
        if await self.rules.reported.among([key_id]):
            await self.litellm.set_key_blocked(key_id, blocked=True)
            raise _reported_as_leaked()

    async def _works(self, user_id: str, key_id: str) -> bool:
        key = await self.litellm.read_key(user_id, key_id)
        return key is not None and not key.is_blocked


@dataclass(frozen=True, kw_only=True)
class UpdateRules:
    """What may be changed of a key, and by whom."""

    policy: KeyPolicy
    tiers: Tiers
    keys: Keys
    reported: ReportedKeys

    async def check(self, principal: Principal, access: Access, key: Key, requested: KeyChanges) -> None:
        """Raises InputError, NotAllowedError, ConflictError (alias taken), UpstreamError."""
        tier = await self.tiers.of(principal, key.owner)
        await self.policy.check_changes(access, tier, requested)
        if requested.get("alias") is not None:
            limits.require_free_alias(requested["alias"], await self.keys.active(key.owner), except_id=key.id)
        if key.is_blocked and requested.get("blocked") is False:
            await self._require_unblockable(principal, key)

    async def _require_unblockable(self, principal: Principal, key: Key) -> None:
        if await self.reported.among([key.id]):
            raise _reported_as_leaked()
        blocked_by = key.annotations.blocked_by if key.annotations else None
        if blocked_by != principal.subject and Role.ADMIN not in principal.roles:
            raise NotAllowedError("Only an admin may unblock a key that its owner did not block here")


def _reported_as_leaked() -> NotAllowedError:
    return NotAllowedError("This key was reported as leaked and stays blocked; create a new one")


def _require_applied(key: Key, requested: KeyChanges) -> None:
    """LiteLLM ignores some values silently. Raises UpstreamFaultError for those."""
    actual = key.changeable | {"alias": key.alias}
    ignored = [name for name, value in requested.items() if _cleared(actual[name]) != _cleared(value)]
    if ignored:
        raise UpstreamFaultError(f"LiteLLM ignored {', '.join(ignored)}")


def _cleared(value: Any) -> Any:
    """The value, with None for everything that means none. 0 is a budget."""
    return None if value is False or value in ([], {}) else value


def _annotations(key: Key, requested: KeyChanges, principal: Principal) -> KeyAnnotations:
    annotations = key.annotations or KeyAnnotations(key.alias, key.other_metadata)
    if "alias" in requested:
        annotations = replace(annotations, alias=requested["alias"])
    if "metadata" in requested:
        annotations = replace(annotations, metadata=requested["metadata"])
    if "blocked" in requested and requested["blocked"] is not key.is_blocked:
        annotations = replace(annotations, blocked_by=principal.subject if requested["blocked"] else None)
    return annotations
