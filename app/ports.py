"""What the service takes from the outside."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import httpx

from clients.upstream import Sleep
from domain.identity import Caller
from telemetry.tracing import Tracing


def _random_id() -> str:
    return secrets.token_hex(16)


@dataclass(frozen=True)
class Ports:
    """What the service takes from the outside. Tests and standalone mode pass their own.

    A transport of None is the network. `wall_clock` is in seconds since the epoch, `clock` is monotonic. `sleep` waits
    before retries, `pause` between renewals of a lease and between runs of a background job. `sign_in` may accept a
    token before Backstage is asked; `people` are the user ids for which it does, each with its role, for the console.
    Without `tracing` there are no traces. `patience` is the time in seconds that a caller waits for a dry run of the
    cleanup, `dependency_patience` the time within which a dependency has to answer in order to be available, and
    `change_patience` the time that a change waits for earlier ones of the same user.
    """

    litellm: httpx.AsyncBaseTransport | None = None
    backstage: httpx.AsyncBaseTransport | None = None
    issuers: httpx.AsyncBaseTransport | None = None
    wall_clock: Callable[[], float] = time.time
    clock: Callable[[], float] = time.monotonic
    new_id: Callable[[], str] = _random_id
    sleep: Sleep = asyncio.sleep
    pause: Sleep = asyncio.sleep
    sign_in: Callable[[str], Caller | None] = lambda _: None
    people: Mapping[str, str] = field(default_factory=dict)
    tracing: Tracing | None = None
    patience: float = 5.0
    dependency_patience: float = 2.0
    change_patience: float = 10.0
