"""What is known of those who are leaving: our own records, and who of them may have a new key."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from clients.litellm.blocking import LiteLLMBlocking
from domain.errors import UpstreamFaultError
from domain.offboarding import Deletion, Offboarding
from state.cleanup_runs import CleanupRuns
from state.deletions import Deletions
from state.offboardings import Offboardings

log = structlog.get_logger(__name__)

_OVERLAP_SECONDS = 600.0
"""Longer than LiteLLM's own replicas differ about the time, and than one of them takes to commit a new key."""


@dataclass(frozen=True, slots=True)
class OnRecord:
    """`deletions`, `new_owners`, `newest_key_at`: as in `Snapshot`."""

    offboardings: Mapping[str, Offboarding]
    deletions: Sequence[Deletion]
    new_owners: frozenset[str] | None
    newest_key_at: float | None


@dataclass(frozen=True, kw_only=True)
class Departures:
    """Reads what is known of those who are leaving. Changes nothing."""

    offboardings: Offboardings
    deletions: Deletions
    runs: CleanupRuns
    keys: LiteLLMBlocking

    async def read(self, each_page: Callable[[], Awaitable[None]], now: float) -> OnRecord:
        """What is known at `now`, in seconds since the epoch. Raises UpstreamError, and what `each_page` raises.

        If LiteLLM fails to show its newest keys, because it cannot read a row among them, the next run asks for the
        same ones again; until then the numbers of keys have to tell.
        """
        offboardings, deletions = await self.offboardings.all(), await self.deletions.recent()
        since = await self.runs.newest_key_at()
        owners: set[str] = set()
        times: list[float] = []
        try:
            async for page in self.keys.newest(math.inf if since is None else since - _OVERLAP_SECONDS):
                owners |= page.owners
                # A time in the future would hide every key that is made before it.
                times += [] if page.latest is None else [min(page.latest, now)]
                await each_page()
        except UpstreamFaultError as error:
            log.warning("LiteLLM does not show its newest keys", error=error.message)
            times = [] if since is None else [since]
        new_owners = None if since is None else frozenset(owners)
        return OnRecord(offboardings, deletions, new_owners, max(times, default=now))
