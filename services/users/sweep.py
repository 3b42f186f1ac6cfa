"""The sweep that keeps the directory: reads LiteLLM's users window by window, and begins again at the end."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace

import structlog

from clients.litellm.client import LiteLLM
from domain.directory import Sweep, Window
from domain.errors import UpstreamFaultError
from settings.model import DirectorySettings
from state.directory import Directory

log = structlog.get_logger(__name__)

_ROWS_PER_WINDOW = 85
_STEP_BACK = 50


async def _no_step() -> None:
    """Between pages there is nothing else to do."""


@dataclass(frozen=True, kw_only=True)
class DirectorySweep:
    """Advances the sweep. Several replicas may do so at once: each page counts once.

    `interval` is the time between two runs in seconds.
    """

    directory: Directory
    litellm: LiteLLM
    settings: DirectorySettings
    interval: float

    async def run(self, each_page: Callable[[], Awaitable[None]] = _no_step, *, only_small: bool = False) -> None:
        """Reads up to `full_sweep_users` to the end; of more, so many pages that all are seen within `max_age`.

        With `only_small` it reads none of more. Awaits `each_page` after each page, and raises what it raises. Raises
        UpstreamError.
        """
        sweep, pages = await self.directory.sweep(), 0
        number = sweep.number
        while sweep.number == number and pages < min(self._needed_pages(sweep), self._most_pages(sweep)):
            if only_small and not self._is_small(sweep):
                return
            sweep = await self._next(sweep)
            pages += 1
            await each_page()
        if self._needed_pages(sweep) > self._most_pages(sweep):
            log.warning("directory.maxPages is too small to see every user within directory.maxAge", users=sweep.total)

    async def run_if_due(self) -> None:
        """Runs unless another replica did so recently. Raises UpstreamError."""
        if not await self.directory.advanced_within(self.interval / 2):
            await self.run()

    async def ensure_first(self) -> Sweep:
        """How far the sweep is, after a run if none was ever complete and it is not long. Raises UpstreamError."""
        sweep = await self.directory.sweep()
        if sweep.swept_at is not None:
            return sweep
        await self.run(only_small=True)
        return await self.directory.sweep()

    def _needed_pages(self, sweep: Sweep) -> int:
        if self._is_small(sweep):
            return self._most_pages(sweep)
        runs = max(1.0, self.settings.max_age / self.interval)
        return math.ceil((sweep.total or 0) / _ROWS_PER_WINDOW / runs)

    def _most_pages(self, sweep: Sweep) -> int:
        # A step back costs pages: twice as many as a table at rest needs.
        small = 2 * self.settings.full_sweep_users // _ROWS_PER_WINDOW + _STEP_BACK
        return small if self._is_small(sweep) else self.settings.max_pages

    def _is_small(self, sweep: Sweep) -> bool:
        return sweep.total is None or sweep.total <= self.settings.full_sweep_users

    async def _next(self, sweep: Sweep) -> Sweep:
        """The sweep after one more page, by this replica or by another that was faster."""
        started = await self.directory.start(sweep) if sweep.position == 0 else sweep
        if started is not None:
            window = await self.litellm.users_around(max(0, started.position - 1))
            reached = _reached(started, window)
            advanced = await self.directory.advance(started, reached, window)
            if advanced is not None and reached.position == window.end >= window.total:
                await self.directory.complete(advanced)
        return await self.directory.sweep()


async def all_windows(litellm: LiteLLM) -> AsyncIterator[Window]:
    """All users that LiteLLM has now, in windows that overlap, whatever is in the directory.

    Raises UpstreamError, also if a row has no id or is not shown, or if so many users come and go that there is no end.
    """
    sweep, pages = Sweep(0, 0, (), None, None, None, None, 0), 0
    while sweep.total is None or pages < 2 * sweep.total // _ROWS_PER_WINDOW + _STEP_BACK:
        window = await litellm.users_around(max(0, sweep.position - 1))
        if window.nameless:
            raise UpstreamFaultError(f"LiteLLM does not show {window.nameless} of its users")
        sweep, pages = _reached(sweep, window), pages + 1
        yield window
        if sweep.position == window.end >= window.total:
            return
    raise UpstreamFaultError("LiteLLM's users change too fast to read all of them")


def _reached(sweep: Sweep, window: Window) -> Sweep:
    """Where the sweep is after `window`: behind it, or a step back if there may be unread users before it.

    After a page with nameless rows there is nothing to compare: users may be missed, so such a sweep removes nobody.
    """
    if sweep.position == 0 or not sweep.tail or not set(sweep.tail).isdisjoint(window.ids):
        nameless = sweep.nameless + window.nameless
        tail = [] if window.nameless else window.ids
        return replace(sweep, position=window.end, tail=tail, total=window.total, nameless=nameless)
    return replace(sweep, position=max(0, min(window.start, sweep.position - 1) - _STEP_BACK), total=window.total)
