"""Changing a key."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from clients.litellm.blocking import LiteLLMBlocking
from clients.litellm.client import LiteLLM
from domain.actions import Action, AuditEvent
from domain.errors import NotAllowedError, NotFoundError, UpstreamFaultError
from domain.identity import Principal
from domain.keys import KEY_LIMITS, Block, Blocker, DescribedKey, Key, KeyAnnotations, KeyChanges, is_stable_id
from services.changes.change import Repaired
from services.changes.changes import TAKE_AWAY_SECONDS, Changes
from services.keys.keys import Keys
from services.keys.rules import KeyRules
from services.users.users import Users
from state.rates import RatePolicy
from state.short_keys import ShortKeys

_BLOCK: KeyChanges = {"blocked": True}
"""What is possible whatever the row of the key contains."""
_UNBLOCK: KeyChanges = {"blocked": False}


@dataclass(frozen=True, kw_only=True)
class UpdateKey:
    """Updates a key of a user, within the limits of their tier."""

    changes: Changes
    users: Users
    keys: Keys
    litellm: LiteLLM
    blocking: LiteLLMBlocking
    rules: KeyRules
    short_keys: ShortKeys
    rate: RatePolicy

    async def __call__(
        self, principal: Principal, user_id: str, key_id: str, requested: KeyChanges, expected: frozenset[str] | None
    ) -> DescribedKey:
        """The key as LiteLLM has it after the change. It must have one of the `expected` versions; None means any.

        By stable id it is the newest version; a block, and its end, is that of the others too (see `_block_others`). A
        key that works is blocked above the rate too. Raises NotAllowedError, InputError, NotFoundError (also for
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
            newest_id, others = await self.keys.find(change, user_id, key_id)
            key, active = await self._read(user_id, newest_id, requested, expected)
            block = await self.rules.check_change(principal, change.scope, key, requested, active)
            change.key_version = key.key_version
            change.before = change.before or key.changeable
            if requested.get("blocked") and key.source is not None:
                async with self.changes.table.transaction() as connection:
                    await self.short_keys.withhold(connection, key.id)
            if requested.get("blocked") is False:
                await self._unblock_others(key, others)
            await self._write(key, requested, block)
            if requested.get("blocked") is False:
                await self._keep_reported_blocked(key.id)
            updated = await self.keys.show(user_id, key.id)
            if requested.get("blocked"):
                await self._block_others(others, updated.key.block or self.rules.block_by(principal, change.scope))
            await change.done(after=updated.key.changeable)
        _require_applied(updated.key, requested)
        return updated

    async def repair(self, event: AuditEvent) -> Repaired:
        """Does what an interrupted block by stable id had left to do, if the newest version is blocked.

        Nothing else was written in several steps. Raises UpstreamError.
        """
        if event.target is None or event.key_id is None:
            return Repaired({})  # it did not come to find the version
        key = await self.litellm.show_key(event.target, event.key_id)
        if key is None:
            return Repaired({"exists": False, "blocked": False})
        if key.is_blocked and (event.requested or {}).get("blocked"):
            blocker = Blocker.OWNER if event.actor == event.target else Blocker.ADMIN
            found = [
                await self.litellm.show_key(event.target, other)
                for other in (event.before or {}).get("versions", [])
                if other != key.id
            ]
            others = [other for other in found if other is not None]
            await self._block_others(others, key.block or Block(event.actor, blocker, event.started_at))
        return Repaired({"exists": True, "blocked": key.is_blocked}, key_version=key.key_version)

    async def _block_others(self, others: Sequence[Key], block: Block) -> None:
        """Blocks the other versions by the block of the newest.

        The newest is blocked first: no rotation replaces a blocked key, so the others stay the others until all are
        blocked, after a crash too. A stronger block stays.
        """
        for other in others:
            if other.is_blocked and not block.takes_over(other.block):
                continue
            with suppress(NotFoundError):  # deleted elsewhere
                await self._write(other, _BLOCK, block)
            after = await self.litellm.show_key(other.owner, other.id)
            if after is not None and not after.is_blocked:
                raise UpstreamFaultError("LiteLLM ignored blocked")

    async def _unblock_others(self, newest: Key, others: Sequence[Key]) -> None:
        """Unblocks those that one change blocked together with the newest, which is unblocked last."""
        together = [key for key in others if newest.is_blocked and key.is_blocked and key.block == newest.block]
        reported = await self.rules.reported.among([key.id for key in together])
        for other in together:
            if other.id not in reported:
                with suppress(NotFoundError):
                    await self._write(other, _UNBLOCK, None)
                    await self._keep_reported_blocked(other.id)

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
        if is_stable_id(key_id):
            return not all(key.is_blocked for key in await self.litellm.versions_of(user_id, key_id))
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
