"""The rules about what may be requested of a key. Pure functions of a request, a tier and the existing keys."""

from __future__ import annotations

import math
from collections.abc import Sequence

from domain.errors import ConflictError, InputError, NotAllowedError
from domain.keys import Key, KeyChanges, KeyRequest, KeyStatus
from domain.models import ServedModels
from domain.times import seconds_of
from domain.users import Tier

_SHORTEST_LIFE_SECONDS = 60
_LONGEST_LIFE_SECONDS = 315_360_000
_LONGEST_METADATA_NAME = 64


def require_within(tier: Tier, requested: KeyRequest | KeyChanges, served: ServedModels) -> None:
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


def require_metadata_names(requested: KeyRequest | KeyChanges) -> None:
    """Raises InputError for metadata names that no database can store. The contract checks the values."""
    names = requested.get("metadata") or {}
    if any(not name or len(name) > _LONGEST_METADATA_NAME or "\0" in name for name in names):
        raise InputError(f"metadata names must have 1 to {_LONGEST_METADATA_NAME} characters, without NUL")


def life_of(requested: KeyRequest, now: float) -> int | None:
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


def life_within(tier: Tier, life: int | None) -> int | None:
    """`life`, or the tier's longest life if unspecified. Raises NotAllowedError."""
    if tier.max_key_life is None or life is None:
        return tier.max_key_life if life is None else life
    if life > tier.max_key_life:
        raise NotAllowedError(f"A key may live at most {tier.max_key_life} seconds (tier {tier.name})")
    return life


def require_room(tier: Tier, keys: Sequence[Key], now: float) -> None:
    """Raises ConflictError if the user has as many keys as `tier` allows. Expired keys and sign-ins do not count."""
    counted = [key for key in keys if key.status(now) is not KeyStatus.EXPIRED and not key.is_session]
    if tier.max_keys is not None and len(counted) >= tier.max_keys:
        raise ConflictError(f"The user has {len(counted)} keys; the tier {tier.name} allows {tier.max_keys}")


def require_free_alias(alias: str | None, keys: Sequence[Key], *, except_id: str | None = None) -> None:
    """Raises ConflictError if one of `keys` has the alias. The key `except_id` does not count."""
    if alias is not None and any(key.alias == alias and key.id != except_id for key in keys):
        raise ConflictError(f"Another key has the alias {alias}; choose a different one")
