"""The models that LiteLLM serves, and those that a caller may use."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from fnmatch import fnmatchcase

from cachetools import TTLCache

from clients.litellm.client import LiteLLM
from clients.litellm.usage import LiteLLMUsage
from domain.errors import InputError
from domain.identity import Principal
from services.access import authorize_member
from services.single_flight import SingleFlight
from services.users.tiers import Tiers

_CACHE_SECONDS = 60.0
_ALL = "all"


class Models:
    """Models by the names that callers send to LiteLLM. The list is cached for a minute."""

    def __init__(self, *, usage: LiteLLMUsage, litellm: LiteLLM, tiers: Tiers, now: Callable[[], float]) -> None:
        self._usage = usage
        self._litellm = litellm
        self._tiers = tiers
        self._served: TTLCache[str, list[str]] = TTLCache(1, ttl=_CACHE_SECONDS, timer=now)
        self._lookups: SingleFlight[list[str]] = SingleFlight()

    async def served(self) -> list[str]:
        """All models that LiteLLM serves, sorted. Raises UpstreamError."""
        if (known := self._served.get(_ALL)) is not None:
            return known
        return await self._lookups.run(_ALL, self._read)

    async def require_served(self, models: Collection[str] | None) -> None:
        """Raises InputError if LiteLLM does not serve one of `models`; UpstreamError."""
        if models and set(models) - set(served := await self.served()):
            raise InputError(f"models must be among those that LiteLLM serves: {', '.join(served) or 'none'}")

    async def usable(self, principal: Principal) -> list[str]:
        """The models that the caller may use: those of their LiteLLM user, or of their tier before they have one.

        Raises NotAllowedError, UpstreamError.
        """
        authorize_member(principal)
        user = await self._litellm.read_user(principal.subject) if principal.is_user else None
        tier = await self._tiers.of(principal, principal.subject)
        allowed = tier.models if user is None else user.models
        return [name for name in await self.served() if _is_allowed(name, allowed)]

    async def _read(self) -> list[str]:
        served = self._served[_ALL] = await self._usage.models()
        return served


def _is_allowed(name: str, allowed: Sequence[str]) -> bool:
    """LiteLLM accepts `openai/*` for all models of a provider. Its `no-default-models` matches none."""
    return not allowed or any(fnmatchcase(name, pattern) for pattern in allowed)
