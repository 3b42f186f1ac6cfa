"""Whether a key may have the requested properties: the served models, and the limits of its owner's tier."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from domain.identity import Scope
from domain.keys import KeyChanges, KeyRequest
from domain.users import Tier
from services import limits
from services.users.models import Models


@dataclass(frozen=True, kw_only=True)
class KeyPolicy:
    """Checks requests. `now` is in seconds since the epoch.

    A tier limits callers who act for themselves. An admin who acts for another user may exceed it.
    """

    models: Models
    now: Callable[[], float]

    async def check(self, scope: Scope, tier: Tier, requested: KeyRequest) -> int | None:
        """The life of the new key in seconds, None if unlimited. Raises InputError, NotAllowedError, UpstreamError."""
        life = limits.life_of(requested, self.now())
        await self.check_changes(scope, tier, requested)
        return limits.life_within(tier, life) if scope is Scope.OWN else life

    async def check_changes(self, scope: Scope, tier: Tier, requested: KeyRequest | KeyChanges) -> None:
        """Raises InputError, NotAllowedError (beyond the tier), UpstreamError."""
        limits.require_metadata_names(requested)
        served = await self.models.require_known(requested.get("models"))
        if scope is Scope.OWN:
            limits.require_within(tier, requested, served)
