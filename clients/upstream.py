"""Calls LiteLLM and Backstage: a deadline, and retries of what may be repeated."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import orjson
import structlog

from clients.breaker import Breaker
from clients.exchange import Exchange, NetworkExchange, Reply, TransportExchange
from clients.traced import TracedExchange
from domain.errors import (
    CircuitOpenError,
    UpstreamBusyError,
    UpstreamError,
    UpstreamFaultError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from settings.model import CircuitSettings, Timeouts
from telemetry.tracing import Tracing

log = structlog.get_logger(__name__)

Sleep = Callable[[float], Awaitable[None]]
ObserveCall = Callable[[str, float], None]
"""Gets the outcome of each attempt and its duration in seconds."""

_REMEMBERED = 256
_LONGEST_WAITS = (0.1, 0.4)
_JSON = {"Content-Type": "application/json"}
_TOO_MANY_REQUESTS = 429
_TEMPORARY_STATUSES = frozenset({502, 503, 504})
_OUTCOMES: dict[type, str] = {
    UpstreamBusyError: "busy",
    UpstreamUnavailableError: "unreachable",
    UpstreamTimeoutError: "timeout",
    UpstreamFaultError: "not_http",
}


class Upstream:
    """Calls the service at `base_url`. Error messages call it `name`.

    `authorities` and `max_bytes` are those of `NetworkExchange`.

    The outcome of an attempt is the class of its status, such as 2xx, or why there is none: `timeout`, `unreachable`,
    `not_http`, `cancelled`, or, if it was not made, `busy` or `paused` (see `Breaker`).
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        timeouts: Timeouts,
        token: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Sleep = asyncio.sleep,
        observe: ObserveCall = lambda *_: None,
        breaker: Breaker | None = None,
        tracing: Tracing | None = None,
        authorities: str | None = None,
        max_bytes: int | None = None,
    ) -> None:
        self.name = name
        self._base_url = base_url
        self._deadline = timeouts.deadline
        self._sleep = sleep
        self._observe = observe
        self._breaker = breaker or Breaker(name, CircuitSettings(failures=0), time.monotonic)
        self._exchange: Exchange = NetworkExchange(name, timeouts, authorities=authorities, max_bytes=max_bytes)
        if transport is not None:
            self._exchange = TransportExchange(name, timeouts, transport, max_bytes=max_bytes)
        if tracing is not None:
            self._exchange = TracedExchange(name, self._exchange, tracing)
        self._headers = _authorization(token) if token else {}

    @property
    def connections_in_use(self) -> int:
        """The number of its connections in use."""
        return self._exchange.in_use

    @property
    def waiting_calls(self) -> int:
        """The number of calls that wait for a connection."""
        return self._exchange.waiting

    async def aclose(self) -> None:
        """Closes every connection."""
        await self._exchange.aclose()

    async def read(self, path: str, query: Mapping[str, Any] | None = None, *, token: str | None = None) -> Reply:
        """GET, up to three times with jitter if the fault may be temporary. Raises UpstreamError."""
        target = path + encoded_query(query)
        return await self._within_deadline(lambda deadline: self._read_with_retries(target, token, deadline))

    async def change(self, path: str, body: Mapping[str, Any]) -> Reply:
        """POST, once: it may have taken effect even without a response. Raises UpstreamError."""
        return await self._within_deadline(lambda deadline: self._send("POST", path, deadline, body=body))

    async def watch(self, path: str) -> Reply:
        """GET, once, for those who only want to know how the upstream is. Raises UpstreamError.

        Its failure does not open the circuit: what a probe asks for may fail while all that callers need works.
        """
        return await self._within_deadline(lambda deadline: self._send("GET", path, deadline, is_watching=True))

    async def _read_with_retries(self, target: str, token: str | None, deadline: asyncio.Timeout) -> Reply:
        # Our own loop: a retry library took a sixth of the CPU time of the usual request, which is never retried.
        for longest_wait in _LONGEST_WAITS:
            try:
                reply = await self._send("GET", target, deadline, token=token)
                if reply.status not in _TEMPORARY_STATUSES:
                    return reply
            except (UpstreamBusyError, CircuitOpenError):
                raise
            except UpstreamUnavailableError as error:
                log.info("retrying", upstream=self.name, cause=type(error.__cause__).__name__)
            await self._sleep(random.uniform(0, longest_wait))  # noqa: S311  # jitter is no secret
        return await self._send("GET", target, deadline, token=token)

    async def _within_deadline(self, call: Callable[[asyncio.Timeout], Awaitable[Reply]]) -> Reply:
        try:
            async with asyncio.timeout(self._deadline) as deadline:
                return await call(deadline)
        except TimeoutError as error:
            raise UpstreamTimeoutError(f"{self.name} did not answer within {self._deadline:g} s") from error

    async def _send(
        self,
        method: str,
        target: str,
        deadline: asyncio.Timeout,
        *,
        body: Mapping[str, Any] | None = None,
        token: str | None = None,
        is_watching: bool = False,
    ) -> Reply:
        headers = self._headers if token is None else _authorization(token)
        content = None
        if body is not None:
            headers, content = headers | _JSON, orjson.dumps(body)
        generation = self._admitted()
        # What remains if the call is cancelled: only a call that the deadline ends is a failure of the upstream.
        outcome: str = "cancelled"
        failed: bool | None = None
        started = time.perf_counter()
        try:
            reply = await self._exchange(method, self._base_url + target, headers, content)
            outcome, failed = f"{reply.status // 100}xx", reply.status in _TEMPORARY_STATUSES
        except UpstreamError as error:
            outcome, failed = _OUTCOMES[type(error)], None if isinstance(error, UpstreamBusyError) else True
            raise
        except asyncio.CancelledError:
            if deadline.expired():
                outcome, failed = "timeout", True
            raise
        finally:
            self._observe(outcome, time.perf_counter() - started)
            self._breaker.record(generation, failed=None if failed and is_watching else failed)
        self._require_answered(reply.status)
        return reply

    def _require_answered(self, status: int) -> None:
        """Raises for what says nothing about what was asked: a sign-in before the upstream, or a limit of its own."""
        if 300 <= status < 400:
            message = f"{self.name} redirects (status {status}); its address must lead to {self.name} without a sign-in"
            raise UpstreamFaultError(message)
        if status == _TOO_MANY_REQUESTS:
            raise UpstreamBusyError(f"{self.name} takes no more calls for now (status {status}); retry later")

    def _admitted(self) -> int:
        try:
            return self._breaker.admit()
        except CircuitOpenError:
            self._observe("paused", 0)
            raise


def _authorization(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def encoded_query(query: Mapping[str, Any] | None) -> str:
    """`query` with spaces as %20 (RFC 3986): some LiteLLM calls take a `+` literally."""
    return _encoded(tuple(query.items())) if query else ""


@lru_cache(_REMEMBERED)
def _encoded(query: tuple[tuple[str, Any], ...]) -> str:
    return f"?{urlencode(query, quote_via=quote)}"
