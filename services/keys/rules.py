"""Which keys may exist, and with which properties: every rule about creating, changing and replacing a key.

A tier limits callers who act for themselves. An admin who acts for another user may exceed it, but not its number of
keys: see `docs/adr/0011-limits-of-keys.md`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

from domain.errors import ConflictError, InputError, NotAllowedError
from domain.identity import Permission, Principal, Scope
from domain.keys import (
    KEY_LIMITS,
    Block,
    Blocker,
    DescribedKey,
    Key,
    KeyChanges,
    KeyRequest,
    KeyStatus,
    RotationRequest,
)
from domain.models import ServedModels
from domain.times import seconds_of
from domain.users import Tier
from domain.workloads import KeyTerms
from services.access import permits
from services.keys.keys import Keys
from services.users.models import Models
from services.users.tiers import Tiers
from state.revocations import ReportedKeys

N = TypeVar("N", int, float)
_SHORTEST_LIFE_SECONDS = 60
_LONGEST_LIFE_SECONDS = 315_360_000
_LONGEST_METADATA_NAME = 64


@dataclass(frozen=True, kw_only=True)
class KeyRules:
    """Decides for a principal whose scope is `scope`. `now` is in seconds since the epoch."""

    keys: Keys
    models: Models
    tiers: Tiers
    reported: ReportedKeys
    now: Callable[[], float]

    async def check_creation(
        self, principal: Principal, scope: Scope, user_id: str, requested: KeyRequest
    ) -> int | None:
        """Whether the user may have one more key like this. Returns its life in seconds, None if unlimited.

        Raises InputError, NotAllowedError (beyond the tier), ConflictError (alias taken, too many keys), UpstreamError.
        """
        tier = await self.tiers.of(principal, user_id)
        life = await self._check_new(scope, tier, requested)
        alias = requested.get("alias")
        if tier.max_keys is not None or alias is not None:
            keys = await self.keys.active(user_id)
            _require_free_alias(alias, keys)
            _require_room(tier, keys, self.now())
        return life

    async def check_replacement(
        self, principal: Principal, scope: Scope, old: DescribedKey, requested: RotationRequest
    ) -> int | None:
        """Whether a new key may replace `old`. Returns its life in seconds, None if unlimited.

        Unless another is requested it is what is left of the old key's. Raises InputError, NotAllowedError (beyond the
        tier), ConflictError (replaced, expired, blocked, alias taken), UpstreamError.
        """
        await self._require_replaceable(old)
        key, alias = old.key, requested.get("alias")
        life = await self._check_new(scope, await self.tiers.of(principal, key.owner), requested)
        if alias is not None:
            _require_free_alias(alias, await self.keys.active(key.owner), except_id=key.id)
        if requested.keys() & {"expires_in", "expires_at"} or key.expires_at is None:
            return life
        return max(1, int(key.expires_at - self.now()))

    async def check_transfer(self, principal: Principal, scope: Scope, key: Key, owner: str) -> None:
        """Whether `owner` may have `key` as it is. Raises as `check_creation` does."""
        _require_lasting(key)
        tier = await self.tiers.of(principal, owner)
        if scope is not Scope.ANY:
            limits = cast("KeyRequest", {name: key.fields.get(name) for name in KEY_LIMITS})
            _require_within(tier, limits, await self.models.require_known(limits["models"]))
            left = None if key.expires_at is None else math.ceil(key.expires_at - self.now())
            if tier.max_key_life is not None and (left is None or left > tier.max_key_life):
                raise NotAllowedError(f"A key may live at most {tier.max_key_life} seconds (tier {tier.name})")
        keys = await self.keys.active(owner)
        _require_free_alias(key.alias, keys)
        _require_room(tier, keys, self.now())

    async def narrowed(self, principal: Principal, owner: str, asked: KeyTerms) -> KeyTerms:
        """The terms of a short key: what is `asked`, as far as the owner's tier allows it.

        Raises ConflictError if the tier allows none of its models, UpstreamError.
        """
        tier, models = await self.tiers.of(principal, owner), asked.models
        if models and tier.models:
            beyond = (await self.models.served()).exceeding(models, tier.models)
            models = tuple(name for name in models if name not in beyond)
            if not models:
                raise ConflictError(f"The tier {tier.name} allows none of {', '.join(asked.models)}")
        return KeyTerms(
            life=asked.life if tier.max_key_life is None else min(asked.life, tier.max_key_life),
            models=models,
            max_budget=_smaller(asked.max_budget, tier.max_budget),
            tpm_limit=_smaller(asked.tpm_limit, tier.tpm_limit),
            rpm_limit=_smaller(asked.rpm_limit, tier.rpm_limit),
        )

    async def check_change(
        self, principal: Principal, scope: Scope, key: Key, requested: KeyChanges, active: Sequence[Key]
    ) -> Block | None:
        """Whether `key` may be changed like this. Returns whose block it has then, None if it is not to be blocked.

        `active` are the keys whose aliases are taken. Raises InputError, NotAllowedError (beyond the tier, or a block
        that is not theirs to lift), ConflictError (alias taken), UpstreamError.
        """
        if requested.keys() - {"blocked"}:
            _require_lasting(key)
        served = await self._require_known(requested)
        if scope is not Scope.ANY and not requested.keys().isdisjoint(KEY_LIMITS):
            # Not for a block: that waits for nobody to say which tier it is.
            _require_within(await self.tiers.of(principal, key.owner), requested, served)
        _require_free_alias(requested.get("alias"), active, except_id=key.id)
        if key.is_blocked and requested.get("blocked") is False:
            await self._require_unblockable(principal, key)
        return self._block_after(principal, scope, key, requested)

    def block_by(self, principal: Principal, scope: Scope) -> Block:
        """A block of now."""
        return Block(principal.subject, Blocker.ADMIN if scope is Scope.ANY else Blocker.OWNER, self.now())

    async def require_unreported(self, key_id: str) -> None:
        """Raises NotAllowedError for a key that was reported as leaked."""
        if await self.reported.among([key_id]):
            raise NotAllowedError("This key was reported as leaked and stays blocked; create a new one")

    async def _check_new(self, scope: Scope, tier: Tier, requested: KeyRequest) -> int | None:
        life = _life_of(requested, self.now())
        served = await self._require_known(requested)
        if scope is Scope.ANY:
            return life
        _require_within(tier, requested, served)
        return _life_within(tier, life)

    async def _require_known(self, requested: KeyRequest | KeyChanges) -> ServedModels:
        """Whether the properties can be had at all. Returns the models that LiteLLM serves."""
        _require_metadata_names(requested)
        return await self.models.require_known(requested.get("models"))

    async def _require_replaceable(self, old: DescribedKey) -> None:
        _require_lasting(old.key)
        if await self.keys.is_replaced(old):
            raise ConflictError("This key was replaced already; rotate the key that replaced it")
        if old.key.status(self.now()) is KeyStatus.EXPIRED:
            raise ConflictError("This key has expired; create a new one")
        if old.key.is_blocked and not await self.reported.among([old.key.id]):
            raise ConflictError("This key is blocked; unblock it first")

    async def _require_unblockable(self, principal: Principal, key: Key) -> None:
        await self.require_unreported(key.id)
        is_owners = key.block is not None and key.block.blocker == Blocker.OWNER
        if not is_owners and permits(principal, Permission.KEYS_UNBLOCK).scope is None:
            raise NotAllowedError("Only an admin may unblock a key that its owner did not block here")

    def _block_after(self, principal: Principal, scope: Scope, key: Key, requested: KeyChanges) -> Block | None:
        """A stronger block takes over that of a key that is blocked already."""
        if not requested.get("blocked", key.is_blocked):
            return None
        if "blocked" not in requested:
            return key.block
        block = self.block_by(principal, scope)
        return block if not key.is_blocked or block.takes_over(key.block) else key.block


def _smaller(asked: N | None, limit: N | None) -> N | None:
    """What is asked, or the limit if that is smaller. None if nothing is asked: the limit is the owner's."""
    return asked if asked is None or limit is None else min(asked, limit)


def _require_within(tier: Tier, requested: KeyRequest | KeyChanges, served: ServedModels) -> None:
    """Raises NotAllowedError that names each exceeded limit of `tier` and its value."""
    limits: list[tuple[str, float | None, float | None]] = [
        ("maxBudget", requested.get("max_budget"), tier.max_budget),
        ("tpmLimit", requested.get("tpm_limit"), tier.tpm_limit),
        ("rpmLimit", requested.get("rpm_limit"), tier.rpm_limit),
    ]
    exceeded = [
        f"{name} must be at most {limit}"
        for name, value, limit in limits
        if value is not None and limit is not None and value > limit
    ]
    if served.exceeding(requested.get("models") or (), tier.models):
        exceeded.append(f"models must be among {', '.join(tier.models)}")
    if exceeded:
        raise NotAllowedError(f"{'; '.join(exceeded)} (tier {tier.name})")


def _require_metadata_names(requested: KeyRequest | KeyChanges) -> None:
    """Raises InputError for metadata names that no database can store. The contract checks the values."""
    names = requested.get("metadata") or {}
    if any(not name or len(name) > _LONGEST_METADATA_NAME or "\0" in name for name in names):
        raise InputError(f"metadata names must have 1 to {_LONGEST_METADATA_NAME} characters, without NUL")


def _life_of(requested: KeyRequest, now: float) -> int | None:
    """The requested life of a key in seconds, None if unspecified. Raises InputError."""
    if "expires_in" in requested and "expires_at" in requested:
        raise InputError("Send either expiresIn or expiresAt, not both")
    if "expires_at" not in requested:
        return requested.get("expires_in")
    life = math.ceil(seconds_of(requested["expires_at"], "expiresAt") - now)
    if life < _SHORTEST_LIFE_SECONDS:
        raise InputError(f"expiresAt must be at least {_SHORTEST_LIFE_SECONDS} seconds from now")
    if life > _LONGEST_LIFE_SECONDS:
        raise InputError(f"expiresAt must be at most {_LONGEST_LIFE_SECONDS} seconds (ten years) from now")
    return life


def _life_within(tier: Tier, life: int | None) -> int | None:
    """`life`, or the tier's longest life if unspecified. Raises NotAllowedError."""
    if tier.max_key_life is None or life is None:
        return tier.max_key_life if life is None else life
    if life > tier.max_key_life:
        raise NotAllowedError(f"A key may live at most {tier.max_key_life} seconds (tier {tier.name})")
    return life


def _require_room(tier: Tier, keys: Sequence[Key], now: float) -> None:
    """Raises ConflictError if the user has as many keys as `tier` allows.

    Expired keys, sign-ins and short keys do not count.
    """
    lasting = [key for key in keys if not key.is_session and key.source is None]
    counted = [key for key in lasting if key.status(now) is not KeyStatus.EXPIRED]
    if tier.max_keys is not None and len(counted) >= tier.max_keys:
        raise ConflictError(f"The user has {len(counted)} keys; the tier {tier.name} allows {tier.max_keys}")


def _require_lasting(key: Key) -> None:
    """Raises ConflictError for a short key."""
    if key.source is not None:
        raise ConflictError(f"This key was made for {key.source} and ends by itself; it can be blocked or deleted only")


def _require_free_alias(alias: str | None, keys: Sequence[Key], *, except_id: str | None = None) -> None:
    """Raises ConflictError if one of `keys` has the alias. The key `except_id` does not count."""
    if alias is not None and any(key.alias == alias and key.id != except_id for key in keys):
        raise ConflictError(f"Another key has the alias {alias}; choose a different one")
