"""Calls LiteLLM and Backstage: timeouts, retries, no redirects, and our own errors instead of httpx's.

The transport is the seam: tests and standalone mode pass an ASGI transport, production uses aiohttp's (2.5 to 3.4 times
the throughput of httpx's own, measured with `make bench`).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
import httpx
import orjson
import structlog
from httpx_aiohttp import AiohttpTransport

from domain.errors import UpstreamFaultError, UpstreamTimeoutError, UpstreamUnavailableError
from settings.model import Timeouts

log = structlog.get_logger(__name__)

Sleep = Callable[[float], Awaitable[None]]

_LONGEST_WAITS = (0.1, 0.4)
_RETRIED_STATUSES = frozenset({502, 503, 504})
_MAX_CONNECTIONS = 100


@dataclass(frozen=True)
class Reply:
    """An upstream's response: its status, and its JSON value if it is JSON (`is_json`)."""

    status: int
    body: Any
    is_json: bool


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
        limits = httpx.Limits(max_connections=_MAX_CONNECTIONS, keepalive_expiry=15)
        self._transport = transport or AiohttpTransport(limits=limits)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        timeout = httpx.Timeout(timeouts.read, connect=timeouts.connect, read=timeouts.read, pool=timeouts.pool)
        self._extensions = {"timeout": timeout.as_dict()}

    async def aclose(self) -> None:
        """Closes every connection."""
        await self._transport.aclose()

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
        # An absolute URL is parsed once; httpx splits and joins a relative one again.
        url = self._base_url + target
        headers = self._headers if token is None else {"Authorization": f"Bearer {token}"}
        try:
            # Without httpx's client, whose authentication, cookies and redirects cost a seventh of a request here.
            request = httpx.Request(method, url, json=body, headers=headers, extensions=self._extensions)
            response = await self._transport.handle_async_request(request)
            async with aclosing(response):
                await response.aread()
        except (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, ValueError) as error:
            raise self._translated(error) from error
        return _reply(response)

    def _translated(self, error: Exception) -> Exception:
        # httpx-aiohttp reports a refused or dropped connection as ConnectTimeout; its cause distinguishes them.
        cause = error.__cause__ if isinstance(error.__cause__, aiohttp.ClientError) else error
        if isinstance(cause, (httpx.TimeoutException, aiohttp.ServerTimeoutError)):
            return UpstreamTimeoutError(f"{self.name} did not answer in time")
        if isinstance(cause, (httpx.NetworkError, aiohttp.ClientConnectionError)):
            return UpstreamUnavailableError(f"{self.name} cannot be reached")
        return UpstreamFaultError(f"{self.name} returned a response that is not HTTP")


def encoded_query(query: Mapping[str, Any] | None) -> str:
    """`query` with spaces as %20 (RFC 3986): some LiteLLM calls take a `+` literally."""
    return f"?{urlencode(query, quote_via=quote)}" if query else ""


def _reply(response: httpx.Response) -> Reply:
    try:
        # orjson rejects NaN, lone surrogates and deep nesting, which the standard library accepts.
        return Reply(response.status_code, orjson.loads(response.content), is_json=True)
    except orjson.JSONDecodeError:
        return Reply(response.status_code, None, is_json=False)
