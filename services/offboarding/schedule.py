"""The schedule of the cleanup: every replica asks regularly whether a run is due."""

from __future__ import annotations

from services.offboarding.cleanup import Cleanup
from services.repetition import Job

_FIRST_CHECK_SECONDS = 10.0
_CHECKS_PER_INTERVAL = 10


def cleanup_job(cleanup: Cleanup, interval: float) -> Job:
    """Runs the cleanup whenever it is due: checks ten times per `interval` (seconds), first shortly after the start.

    The lease of a replica that dies expires, so another replica takes over within two intervals.
    """
    between = interval / _CHECKS_PER_INTERVAL
    return Job("cleanup", cleanup.run_if_due, between, first=min(_FIRST_CHECK_SECONDS, between))
