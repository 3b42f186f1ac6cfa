"""Changing a key."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from clients.litellm.blocking import LiteLLMBlocking
from clients.litellm.client import LiteLLM
from domain.actions import Action
from domain.errors import NotAllowedError, UpstreamFaultError
from domain.identity import Principal
from domain.keys import KEY_LIMITS, Block, DescribedKey, Key, KeyAnnotations, KeyChanges
from services.changes.changes import TAKE_AWAY_SECONDS, Changes
from services.keys.keys import Keys
from services.keys.rules import KeyRules
from services.users.users import Users
from state.rates import RatePolicy

_BLOCK: KeyChanges = {"blocked": True}
"""What is possible whatever the row of the key contains."""


@dataclass(frozen=True, kw_only=True)
class UpdateKey:
    """Updates a key of a user, within the limits of their tier."""

    changes: Changes
    users: Users
    keys: Keys
    litellm: LiteLLM
    blocking: LiteLLMBlocking
    rules: KeyRules
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
            takes_away_within=TAKE_AWAY_SECONDS if requested == _BLOCK else None,
            is_worth_it=works,
        ) as change:
            key, active = await self._read(user_id, key_id, requested, expected)
            block = await self.rules.check_change(principal, change.scope, key, requested, active)
            change.before = key.changeable
            await self._write(key, requested, block)
            if requested.get("blocked") is False:
                await self._keep_reported_blocked(key_id)
            updated = await self.keys.show(user_id, key_id)
            await change.done(after=updated.key.changeable)
        _require_applied(updated.key, requested)
        return updated

    async def _read(
        self, user_id: str, key_id: str, requested: KeyChanges, expected: frozenset[str] | None
    ) -> tuple[Key, list[Key]]:
        """The key, and the active ones if an alias is requested. A key that is only to be blocked may be odd."""
        if requested.get("alias") is not None:
            described, active = await self.keys.read_among(user_id, key_id, expected=expected)
            return described.key, active
        read = self.keys.show if requested == _BLOCK else self.keys.read
        return (await read(user_id, key_id, expected=expected)).key, []

    async def _write(self, key: Key, requested: KeyChanges, block: Block | None) -> None:
        if key.undecidable and requested == _BLOCK and block is not None:
            await self.blocking.block(await self.blocking.key_of(key.owner, key.id), block)
            return
        fields = {name: value for name, value in requested.items() if name in (*KEY_LIMITS, "blocked")}
        await self.litellm.update_key(key, fields, _annotations(key, requested, block))

    async def _works(self, user_id: str, key_id: str) -> bool:
        key = await self.litellm.show_key(user_id, key_id)
        return key is not None and not key.is_blocked

    async def _keep_reported_blocked(self, key_id: str) -> None:
        # A report waits for nobody: it marks the key, then blocks it, and may have come after we looked.
        try:
            await self.rules.require_unreported(key_id)
        except NotAllowedError:
            await self.litellm.set_key_blocked(key_id, blocked=True)
            raise


def _require_applied(key: Key, requested: KeyChanges) -> None:
    """LiteLLM ignores some values silently. Raises UpstreamFaultError for those."""
    actual = key.changeable | {"alias": key.alias}
    ignored = [name for name, value in requested.items() if _cleared(actual[name]) != _cleared(value)]
    if ignored:
        raise UpstreamFaultError(f"LiteLLM ignored {', '.join(ignored)}")


def _cleared(value: Any) -> Any:
    """The value, with None for everything that means none. 0 is a budget."""
    return None if value is False or value in ([], {}) else value


def _annotations(key: Key, requested: KeyChanges, block: Block | None) -> KeyAnnotations:
    given: dict[str, Any] = {name: value for name, value in requested.items() if name in ("alias", "metadata")}
    return replace(key.to_annotate, block=block, **given)
