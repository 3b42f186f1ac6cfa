"""Jobs that run again and again in the background of every replica."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

import structlog

from domain.errors import OrchestratorError, UpstreamError

log = structlog.get_logger(__name__)

T = TypeVar("T")

Sleep = Callable[[float], Awaitable[None]]
_JITTER = 0.1
_RETRY_SECONDS = 60.0


def jittered(seconds: float) -> float:
    """`seconds`, give or take a tenth, so that replicas do not act at the same moment."""
    return seconds * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311  # jitter is not a secret


@dataclass(frozen=True, slots=True)
class Job:
    """What `run` does is done `first` seconds after the start, and then every `interval` seconds, give or take a tenth.

    `name` is that of its logs and traces.
    """

    name: str
    run: Callable[[], Awaitable[object]]
    interval: float
    first: float = 0.0


async def repeat(
    job: Job, sleep: Sleep, *, traced: Callable[[str], AbstractContextManager[None]] = lambda _: nullcontext()
) -> None:
    """Runs `job` until it is cancelled, each time within `traced` of its name. A failure is logged."""
    if job.first:
        await sleep(jittered(job.first))
    while True:
        with traced(job.name):
            try:
                await job.run()
            except OrchestratorError as error:
                log.warning("background job failed", job=job.name, error=error.message)
            except Exception:  # a fault of ours must not end the job
                log.exception("background job failed", job=job.name)
        await sleep(jittered(job.interval))


async def until_answered(ask: Callable[[], Awaitable[T]], sleep: Sleep) -> T:
    """What `ask` returns, asked again after a minute while it raises UpstreamError."""
    while True:
        try:
            return await ask()
        except UpstreamError:
            await sleep(_RETRY_SECONDS)
