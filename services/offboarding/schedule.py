"""The schedule of the cleanup: every replica asks regularly whether a run is due."""

from __future__ import annotations

from services.offboarding.cleanup import Cleanup
from services.repetition import Sleep, jittered, repeat

_FIRST_CHECK_SECONDS = 10.0
_CHECKS_PER_INTERVAL = 10


async def run_forever(cleanup: Cleanup, interval: float, sleep: Sleep) -> None:
    """Runs the cleanup whenever it is due: checks ten times per `interval` (seconds), first shortly after the start.

    The lease of a replica that dies expires, so another replica takes over within two intervals.
    """
    between = interval / _CHECKS_PER_INTERVAL
    await sleep(jittered(min(_FIRST_CHECK_SECONDS, between)))
    await repeat(cleanup.run_if_due, "cleanup", between, sleep)
