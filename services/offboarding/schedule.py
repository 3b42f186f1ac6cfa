"""The clockwork behind the cleanup: every replica asks again and again whether a run is due."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import structlog

from services.offboarding.cleanup import Cleanup

log = structlog.get_logger(__name__)

_FIRST_RUN_AFTER = 10.0
_ASKS_AN_INTERVAL = 10
_JITTER = 0.1


def jittered(seconds: float) -> float:
    """`seconds`, give or take a tenth, so that replicas and services do not march in step."""
    return seconds * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311  # jitter is no secret


async def run_forever(cleanup: Cleanup, interval: float, sleep: Callable[[float], Awaitable[None]]) -> None:
    """Ask whether a run is due, ten times an interval, the first time a little after the start. Seconds.

    A replica that dies leaves its lease to run out, so another one finds the run due within two intervals.
    """
    await sleep(jittered(min(_FIRST_RUN_AFTER, interval / _ASKS_AN_INTERVAL)))
    while True:
        try:
            await cleanup.run_if_due()
        except Exception:  # a database out of reach must not end the clockwork
            log.exception("cleanup failed")
        await sleep(jittered(interval / _ASKS_AN_INTERVAL))
