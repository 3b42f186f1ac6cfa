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
_PROBE_SECONDS = 0.5
_CHECK = "dependencies"


@dataclass(frozen=True, slots=True)
class Dependencies:
    """Which dependencies answer now, and the circuits towards `LiteLLM` and `Backstage`."""

    litellm: bool
    backstage: bool
    database: bool
    circuits: Mapping[str, Circuit]

    @property
    def all_answer(self) -> bool:
        """Whether everything works."""
        return self.litellm and self.backstage and self.database


class Health:
    """Asks the dependencies at most every 2 seconds: anybody may ask, and that must not load them.

    It only watches: what it asks changes nothing for callers. A dependency that does not answer within `patience`
    seconds is down.
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
        self._checks: SingleFlight[Dependencies] = SingleFlight()
        self._last: tuple[float, Dependencies] | None = None

    async def dependencies(self) -> Dependencies:
        """How the dependencies were, at most 2 seconds ago."""
        if self._last is not None and self._now() - self._last[0] < _CACHE_SECONDS:
            return self._last[1]
        return await self._checks.run(_CHECK, self._check)

    async def known_soon(self) -> Dependencies:
        """The same for probes, which are impatient: after half a second, what was known before."""
        try:
            async with asyncio.timeout(_PROBE_SECONDS):
                return await self.dependencies()
        except TimeoutError:
            return self._last[1] if self._last is not None else await self.dependencies()

    async def _check(self) -> Dependencies:
        litellm, backstage, database = await asyncio.gather(
            self._answers(self._litellm.is_ready()),
            self._answers(self._tokens.backstage_answers()),
            self._answers(self._database.is_ready()),
        )
        circuits = {name: breaker.circuit for name, breaker in self._breakers.items()}
        dependencies = Dependencies(litellm, backstage, database, circuits)
        self._last = (self._now(), dependencies)
        return dependencies

    async def _answers(self, check: Awaitable[bool]) -> bool:
        try:
            async with asyncio.timeout(self._patience):
                return await check
        except (UpstreamError, TimeoutError):
            return False
