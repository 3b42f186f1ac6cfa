"""The models that LiteLLM serves, those that a caller may use, and those that tiers name in vain."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

import structlog
from cachetools import TTLCache

from clients.litellm.client import LiteLLM
from clients.litellm.served_models import LiteLLMModels
from domain.errors import InputError
from domain.identity import Permission, Principal
from domain.models import ALL_MODELS, NO_MODELS, ServedModel, ServedModels
from domain.users import Tier
from services.access import authorize
from services.repetition import Sleep, until_answered
from services.single_flight import SingleFlight
from services.users.tiers import Tiers

log = structlog.get_logger(__name__)

_CACHE_SECONDS = 60.0
_ALL = "all"
_MAX_LISTED = 100


class Models:
    """What LiteLLM serves, cached for a minute, and what of it a caller may use."""

    def __init__(self, *, source: LiteLLMModels, litellm: LiteLLM, tiers: Tiers, now: Callable[[], float]) -> None:
        self._source = source
        self._litellm = litellm
        self._tiers = tiers
        self._served: TTLCache[str, ServedModels] = TTLCache(1, ttl=_CACHE_SECONDS, timer=now)
        self._lookups: SingleFlight[ServedModels] = SingleFlight()

    async def served(self) -> ServedModels:
        """All models that LiteLLM serves. Raises UpstreamError."""
        if (known := self._served.get(_ALL)) is not None:
            return known
        return await self._lookups.run(_ALL, self._read)

    async def require_known(self, names: Collection[str] | None) -> ServedModels:
        """All models that LiteLLM serves; none are read for no `names`.

        Raises InputError if one of `names` is neither a served model nor an access group nor a wildcard; UpstreamError.
        """
        if not names:
            return ServedModels()
        served = await self.served()
        if served.unknown(names):
            raise InputError(
                f"models must be among those that LiteLLM serves: {_listed([model.id for model in served.models])}; "
                f"or among its access groups: {_listed(served.groups)}; or wildcards such as gpt-*"
            )
        return served

    async def usable(self, principal: Principal) -> list[ServedModel]:
        """The models that the caller may use: those of their LiteLLM user, or of their tier before they have one.

        Raises NotAllowedError, UpstreamError.
        """
        authorize(principal, Permission.MODELS_READ, principal.subject)
        user = await self._litellm.read_user(principal.subject) if principal.is_user else None
        tier = await self._tiers.of(principal, principal.subject)
        return (await self.served()).reached(tier.models if user is None else user.models)

    async def _read(self) -> ServedModels:
        served = self._served[_ALL] = await self._source.served()
        return served


def not_served(tiers: Iterable[Tier], served: ServedModels) -> list[str]:
    """The names in `tiers` that LiteLLM does not serve, sorted."""
    return served.unknown({name for tier in tiers for name in tier.models} - {ALL_MODELS, NO_MODELS})


async def warn_of_models_not_served(tiers: Sequence[Tier], source: LiteLLMModels, sleep: Sleep) -> None:
    """Logs what `not_served` finds, once LiteLLM says what it serves."""
    if not any(tier.models for tier in tiers):
        return
    if missing := not_served(tiers, await until_answered(source.served, sleep)):
        log.warning("tiers name models that LiteLLM does not serve", models=missing)


def _listed(names: Collection[str]) -> str:
    shown = ", ".join(sorted(names)[:_MAX_LISTED]) or "none"
    return f"{shown} and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else shown
