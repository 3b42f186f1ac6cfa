"""How the state machines run: the same steps each time in `make proof`, more and other ones in `make soak`."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

SOAK = "SOAK" in os.environ


def stateful(*, usually: int, at_length: int) -> settings:
    """So many examples of 30 steps, or of 50 at length."""
    return settings(
        max_examples=at_length if SOAK else usually,
        stateful_step_count=50 if SOAK else 30,
        derandomize=not SOAK,
        deadline=None,
        database=None,
        # A step may be a whole run of the cleanup.
        suppress_health_check=[HealthCheck.too_slow],
    )
