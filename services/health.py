"""Whether what this service depends on is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from clients.backstage.tokens import Tokens
from clients.litellm.client import LiteLLM
from domain.errors import UpstreamError
from services.users.single_flight import SingleFlight

_REMEMBERED_SECONDS = 2.0


@dataclass(frozen=True)
class Readiness:
    """Which dependencies are up."""

    litellm: bool
    backstage: bool


class Health:
    """Readiness, asked at most every 2 s: probes are open to all and must not load what they probe."""

    def __init__(self, litellm: LiteLLM, tokens: Tokens, now: Callable[[], float]) -> None:
        self._litellm = litellm
        self._tokens = tokens
        self._now = now
        self._checks: SingleFlight[Readiness] = SingleFlight()
        self._last: tuple[float, Readiness] | None = None

    async def readiness(self) -> Readiness:
        """What is up, as of at most 2 s ago."""
        if self._last is not None and self._now() - self._last[0] < _REMEMBERED_SECONDS:
            return self._last[1]
        return await self._checks.run("readiness", self._check)

    async def _check(self) -> Readiness:
        litellm, backstage = await asyncio.gather(self._litellm_is_ready(), self._tokens.is_ready())
        readiness = Readiness(litellm=litellm, backstage=backstage)
        self._last = (self._now(), readiness)
        return readiness

    async def _litellm_is_ready(self) -> bool:
        try:
            return await self._litellm.is_ready()
        except UpstreamError:
            return False
