"""The models that LiteLLM serves, and those that somebody may use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from cachetools import TTLCache

from clients.litellm.client import LiteLLM
from clients.litellm.usage import LiteLLMUsage
from domain.errors import InputError
from services.access import Principal, authorize_member
from services.users.single_flight import SingleFlight
from services.users.tiers import Tiers

_REMEMBERED_SECONDS = 60.0
_ALL = "all"


class Models:
    """Models by the names that callers send to LiteLLM. What is served is remembered for a minute."""

    def __init__(self, usage: LiteLLMUsage, litellm: LiteLLM, tiers: Tiers, *, now: Callable[[], float]) -> None:
        self._usage = usage
        self._litellm = litellm
        self._tiers = tiers
        self._served: TTLCache[str, list[str]] = TTLCache(1, ttl=_REMEMBERED_SECONDS, timer=now)
        self._questions: SingleFlight[list[str]] = SingleFlight()

    async def served(self) -> list[str]:
        """All that LiteLLM serves, sorted. Raises UpstreamError."""
        if (known := self._served.get(_ALL)) is not None:
            return known
        return await self._questions.run(_ALL, self._ask)

    async def require_served(self, asked: Mapping[str, Any]) -> None:
        """Raise InputError where `asked["models"]` has one that LiteLLM does not serve; UpstreamError."""
        models = asked.get("models")
        if models and set(models) - set(served := await self.served()):
            raise InputError(f"models must be of those that LiteLLM serves: {', '.join(served) or 'none'}")

    async def usable(self, principal: Principal) -> list[str]:
        """What the caller may use: by their LiteLLM user, or by their tier where they have none yet.

        Raises NotAllowedError, UpstreamError.
        """
        authorize_member(principal)
        user = await self._litellm.read_user(principal.subject) if principal.is_user else None
        tier = await self._tiers.of(principal, principal.subject)
        allowed = tier.models if user is None else user.models
        return [name for name in await self.served() if _is_allowed(name, allowed)]

    async def _ask(self) -> list[str]:
        served = self._served[_ALL] = await self._usage.models()
        return served


def _is_allowed(name: str, allowed: Sequence[str]) -> bool:
    """LiteLLM takes `openai/*` for all of a provider's models; its name for none, `no-default-models`, matches none."""
    return not allowed or any(fnmatchcase(name, pattern) for pattern in allowed)
