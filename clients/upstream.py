"""Calls LiteLLM and Backstage: a deadline, and retries of what may be repeated."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import orjson
import structlog

from clients.exchange import Exchange, NetworkExchange, TransportExchange
from domain.errors import UpstreamBusyError, UpstreamTimeoutError, UpstreamUnavailableError
from settings.model import Timeouts

log = structlog.get_logger(__name__)

Sleep = Callable[[float], Awaitable[None]]

NOT_JSON: Any = object()
"""What is parsed of a body that is not JSON."""

_REMEMBERED = 256
_LONGEST_WAITS = (0.1, 0.4)
_JSON = {"Content-Type": "application/json"}
_RETRIED_STATUSES = frozenset({502, 503, 504})


class Reply:
    """An upstream's response: its status and the bytes of its body."""

    __slots__ = ("content", "status")

    def __init__(self, status: int, content: bytes) -> None:
        self.status = status
        self.content = content

    def parsed(self) -> Any:
        """The body's JSON value, or NOT_JSON."""
        try:
            # orjson rejects NaN, lone surrogates and deep nesting, which the standard library accepts.
            return orjson.loads(self.content)
        except orjson.JSONDecodeError:
            return NOT_JSON


class Upstream:
    """Calls the service at `base_url`. Error messages call it `name`."""

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        timeouts: Timeouts,
        token: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.name = name
        self._base_url = base_url
        self._deadline = timeouts.deadline
        self._sleep = sleep
        self._exchange: Exchange = NetworkExchange(name, timeouts)
        if transport is not None:
            self._exchange = TransportExchange(name, timeouts, transport)
        self._headers = _authorization(token) if token else {}

    async def aclose(self) -> None:
        """Closes every connection."""
        await self._exchange.aclose()

    async def read(self, path: str, query: Mapping[str, Any] | None = None, *, token: str | None = None) -> Reply:
        """GET, up to three times with jitter if the fault may be temporary. Raises UpstreamError."""
        return await self._within_deadline(self._read_with_retries(path + encoded_query(query), token))

    async def change(self, path: str, body: Mapping[str, Any]) -> Reply:
        """POST, once: it may have taken effect even without a response. Raises UpstreamError."""
        return await self._within_deadline(self._send("POST", path, body=body))

    async def _read_with_retries(self, target: str, token: str | None) -> Reply:
        # Our own loop: a retry library took a sixth of the CPU time of the usual request, which is never retried.
        for longest_wait in _LONGEST_WAITS:
            try:
                reply = await self._send("GET", target, token=token)
                if reply.status not in _RETRIED_STATUSES:
                    return reply
            except UpstreamBusyError:
                raise
            except UpstreamUnavailableError as error:
                log.info("retrying", upstream=self.name, cause=type(error.__cause__).__name__)
            await self._sleep(random.uniform(0, longest_wait))  # noqa: S311  # jitter is no secret
        return await self._send("GET", target, token=token)

    async def _within_deadline(self, call: Awaitable[Reply]) -> Reply:
        try:
            async with asyncio.timeout(self._deadline):
                return await call
        except TimeoutError as error:
            raise UpstreamTimeoutError(f"{self.name} did not answer within {self._deadline:g} s") from error

    async def _send(
        self, method: str, target: str, *, body: Mapping[str, Any] | None = None, token: str | None = None
    ) -> Reply:
        headers = self._headers if token is None else _authorization(token)
        content = None
        if body is not None:
            headers, content = headers | _JSON, orjson.dumps(body)
        return Reply(*await self._exchange(method, self._base_url + target, headers, content))


def _authorization(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def encoded_query(query: Mapping[str, Any] | None) -> str:
    """`query` with spaces as %20 (RFC 3986): some LiteLLM calls take a `+` literally."""
    return _encoded(tuple(query.items())) if query else ""


@lru_cache(_REMEMBERED)
def _encoded(query: tuple[tuple[str, Any], ...]) -> str:
    return f"?{urlencode(query, quote_via=quote)}"
