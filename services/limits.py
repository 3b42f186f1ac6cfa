"""What somebody asks of a key: whether it makes sense, and whether their tier allows it.

`asked` has the names `alias`, `models`, `max_budget`, `budget_duration`, `expires_in`, `expires_at`, `tpm_limit`,
`rpm_limit`, `metadata`, as far as they were given; None asks for no limit of the key's own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from clients.litellm.rows import Key
from domain.errors import ConflictError, InputError, NotAllowedError
from settings.model import Tier

LIMITS = ("models", "max_budget", "budget_duration", "tpm_limit", "rpm_limit")
_SHORTEST_LIFE = 60


def require_within(tier: Tier, asked: Mapping[str, Any]) -> None:
    """Raise NotAllowedError that says which limits of `tier` are exceeded, and what would be within them."""
    limits: list[tuple[str, float | None, float | None]] = [
        ("maxBudget", asked.get("max_budget"), tier.max_budget),
        ("tpmLimit", asked.get("tpm_limit"), tier.tpm_limit),
        ("rpmLimit", asked.get("rpm_limit"), tier.rpm_limit),
    ]
    exceeded = [
        f"{name} may be at most {most}"
        for name, given, most in limits
        if given is not None and most is not None and given > most
    ]
    if tier.models and set(asked.get("models") or ()) - set(tier.models):
        exceeded.append(f"models may be of {', '.join(tier.models)}")
    if exceeded:
        raise NotAllowedError(f"{'; '.join(exceeded)} (the tier {tier.name})")


def require_names(asked: Mapping[str, Any]) -> None:
    """Raise InputError for names in `metadata` that no database holds; their values the contract itself checks."""
    if any(not name or len(name) > 64 or "\0" in name for name in asked.get("metadata") or ()):
        raise InputError("metadata must have names of 1 to 64 characters, none of them NUL")


def life_of(asked: Mapping[str, Any], now: float) -> int | None:
    """The seconds that a key is asked to live; None where nothing is said. Raises InputError."""
    if "expires_in" in asked and "expires_at" in asked:
        raise InputError("expiresIn and expiresAt exclude each other")
    if "expires_at" not in asked:
        return asked.get("expires_in")
    try:
        life = math.ceil(datetime.fromisoformat(asked["expires_at"]).timestamp() - now)
    except ValueError as error:
        raise InputError("expiresAt must be a time such as 2026-11-23T12:00:00Z") from error
    if life < _SHORTEST_LIFE:
        raise InputError(f"expiresAt must be at least {_SHORTEST_LIFE} seconds from now")
    return life


def life_within(tier: Tier, life: int | None) -> int | None:
    """`life`, or the longest that `tier` allows where nothing is asked. Raises NotAllowedError."""
    if tier.max_key_life is None or life is None:
        return tier.max_key_life if life is None else life
    if life > tier.max_key_life:
        raise NotAllowedError(f"A key may live at most {tier.max_key_life} seconds (the tier {tier.name})")
    return life


def require_room(tier: Tier, keys: Sequence[Key], now: float) -> None:
    """Raise ConflictError where the user has as many `keys` as `tier` allows; expired ones do not count."""
    living = [key for key in keys if not is_over(key, now)]
    if tier.max_keys is not None and len(living) >= tier.max_keys:
        raise ConflictError(f"There are {len(living)} keys already, and the tier {tier.name} allows {tier.max_keys}")


def require_free_alias(alias: str | None, keys: Sequence[Key], but: str | None = None) -> None:
    """Raise ConflictError where one of `keys` has the alias; the one with the id `but` does not count."""
    if alias is not None and any(key.alias == alias and key.key_id != but for key in keys):
        raise ConflictError(f"There is another key with the alias {alias}")


def is_over(key: Key, now: float) -> bool:
    """Whether the key has expired."""
    expires = expires_at(key)
    return expires is not None and expires <= now


def expires_at(key: Key) -> float | None:
    """When the key expires, in seconds since the epoch."""
    expires = key.row.get("expires")
    if not isinstance(expires, str):
        return None
    moment = datetime.fromisoformat(expires)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
