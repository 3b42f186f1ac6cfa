"""Whether the dependencies of this service are available."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from clients.backstage.tokens import TokenVerifier
from clients.breaker import Breaker
from clients.litellm.client import LiteLLM
from domain.circuits import Circuit
from domain.errors import UpstreamError
from services.single_flight import SingleFlight
from state.database import Database

_CACHE_SECONDS = 2.0
_CHECK = "readiness"


@dataclass(frozen=True, slots=True)
class Readiness:
    """Which dependencies are available, and the circuits towards `LiteLLM` and `Backstage`.

    Backstage is available while tokens can be verified; `backstage_answers` says whether it would answer now.
    """

    litellm: bool
    backstage: bool
    backstage_answers: bool
    database: bool
    circuits: Mapping[str, Circuit]

    @property
    def is_ready(self) -> bool:
        """Whether requests can be served. Without the database, reads still can."""
        return self.litellm and self.backstage


class Health:
    """Checks readiness at most every 2 seconds: anybody may ask, and that must not load the dependencies.

    A dependency that does not answer within `patience` seconds is not available.
    """

    def __init__(
        self,
        *,
        litellm: LiteLLM,
        tokens: TokenVerifier,
        database: Database,
        breakers: Mapping[str, Breaker],
        now: Callable[[], float],
        patience: float,
    ) -> None:
        self._litellm = litellm
        self._tokens = tokens
        self._database = database
        self._breakers = breakers
        self._now = now
        self._patience = patience
        self._checks: SingleFlight[Readiness] = SingleFlight()
        self._last: tuple[float, Readiness] | None = None

    async def readiness(self) -> Readiness:
        """The readiness, at most 2 seconds old."""
        if self._last is not None and self._now() - self._last[0] < _CACHE_SECONDS:
            return self._last[1]
        return await self._checks.run(_CHECK, self._check)

    async def _check(self) -> Readiness:
        litellm, backstage_answers, database = await asyncio.gather(
            self._answers(self._litellm.is_ready()),
            self._answers(self._tokens.backstage_answers()),
            self._answers(self._database.is_ready()),
        )
        backstage = backstage_answers or await self._answers(self._can_verify())
        circuits = {name: breaker.circuit for name, breaker in self._breakers.items()}
        readiness = Readiness(litellm, backstage, backstage_answers, database, circuits)
        self._last = (self._now(), readiness)
        return readiness

    async def _can_verify(self) -> bool:
        await self._tokens.require_keys()
        return True

    async def _answers(self, check: Awaitable[bool]) -> bool:
        try:
            async with asyncio.timeout(self._patience):
                return await check
        except (UpstreamError, TimeoutError):
            return False
