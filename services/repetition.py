"""Jobs that run again and again in the background of every replica."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import structlog

from domain.errors import OrchestratorError

log = structlog.get_logger(__name__)

Sleep = Callable[[float], Awaitable[None]]
_JITTER = 0.1


def jittered(seconds: float) -> float:
    """`seconds`, give or take a tenth, so that replicas do not act at the same moment."""
    return seconds * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311  # jitter is not a secret


async def repeat(job: Callable[[], Awaitable[object]], name: str, interval: float, sleep: Sleep) -> None:
    """Awaits `job`, sleeps for `interval` seconds, give or take a tenth, and so on. A failure is logged as `name`."""
    while True:
        try:
            await job()
        except OrchestratorError as error:
            log.warning("background job failed", job=name, error=error.message)
        except Exception:  # a fault of ours must not end the job
            log.exception("background job failed", job=name)
        await sleep(jittered(interval))
