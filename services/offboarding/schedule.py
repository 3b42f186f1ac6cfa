"""The schedule of the cleanup: every replica asks regularly whether a run is due."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import structlog

from services.offboarding.cleanup import Cleanup

log = structlog.get_logger(__name__)

_FIRST_CHECK_SECONDS = 10.0
_CHECKS_PER_INTERVAL = 10
_JITTER = 0.1


def jittered(seconds: float) -> float:
    """`seconds`, give or take a tenth, so that replicas do not act at the same moment."""
    return seconds * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311  # jitter is not a secret


async def run_forever(cleanup: Cleanup, interval: float, sleep: Callable[[float], Awaitable[None]]) -> None:
    """Runs the cleanup whenever it is due: checks ten times per `interval` (seconds), first shortly after the start.

    The lease of a replica that dies expires, so another replica takes over within two intervals.
    """
    await sleep(jittered(min(_FIRST_CHECK_SECONDS, interval / _CHECKS_PER_INTERVAL)))
    while True:
        try:
            await cleanup.run_if_due()
        except Exception:  # an unavailable database must not end the schedule
            log.exception("cleanup failed")
        await sleep(jittered(interval / _CHECKS_PER_INTERVAL))
