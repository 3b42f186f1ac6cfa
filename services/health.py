"""Whether the dependencies of this service are available."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from clients.backstage.tokens import TokenVerifier
from clients.litellm.client import LiteLLM
from domain.errors import UpstreamError
from services.single_flight import SingleFlight
from state.database import Database

_CACHE_SECONDS = 2.0
_CHECK = "readiness"


@dataclass(frozen=True, slots=True)
class Readiness:
    """Which dependencies are available."""

    litellm: bool
    backstage: bool
    database: bool

    @property
    def is_ready(self) -> bool:
        """Whether requests can be served. Without the database, reads still can."""
        return self.litellm and self.backstage


class Health:
    """Checks readiness at most every 2 seconds: anybody may ask, and that must not load the dependencies."""

    def __init__(
        self, *, litellm: LiteLLM, tokens: TokenVerifier, database: Database, now: Callable[[], float]
    ) -> None:
        self._litellm = litellm
        self._tokens = tokens
        self._database = database
        self._now = now
        self._checks: SingleFlight[Readiness] = SingleFlight()
        self._last: tuple[float, Readiness] | None = None

    async def readiness(self) -> Readiness:
        """The readiness, at most 2 seconds old."""
        if self._last is not None and self._now() - self._last[0] < _CACHE_SECONDS:
            return self._last[1]
        return await self._checks.run(_CHECK, self._check)

    async def _check(self) -> Readiness:
        litellm, backstage, database = await asyncio.gather(
            self._litellm_is_ready(), self._tokens.is_ready(), self._database.is_ready()
        )
        readiness = Readiness(litellm=litellm, backstage=backstage, database=database)
        self._last = (self._now(), readiness)
        return readiness

    async def _litellm_is_ready(self) -> bool:
        try:
            return await self._litellm.is_ready()
        except UpstreamError:
            return False
