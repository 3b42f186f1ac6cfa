"""One HTTP request and its whole response: over the network by aiohttp, or over a transport of httpx.

The network has its own way because httpx above aiohttp costs too much of each request. A transport is the seam for
standalone mode and tests. Why, in figures: `docs/adr/0013-calls-and-rows.md`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, Protocol
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx
import orjson
from yarl import URL

from domain.errors import (
    UpstreamBusyError,
    UpstreamError,
    UpstreamFaultError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from settings.model import Timeouts

NOT_JSON: Any = object()
"""What is parsed of a body that is not JSON."""

_MAX_CONNECTIONS = 100
_MAX_WAITING = 400
_KEEPALIVE_SECONDS = 15


class Reply:
    """An upstream's response: its status, its headers by names in any case, and the bytes of its body."""

    __slots__ = ("content", "headers", "status")

    def __init__(self, status: int, headers: Mapping[str, str], content: bytes) -> None:
        self.status = status
        self.headers = headers
        self.content = content

    def parsed(self) -> Any:
        """The body's JSON value, or NOT_JSON."""
        try:
            # orjson rejects NaN, lone surrogates and deep nesting, which the standard library accepts.
            return orjson.loads(self.content)
        except orjson.JSONDecodeError:
            return NOT_JSON

    def unexpected(self, sender: str, expected: str) -> UpstreamFaultError:
        """The error for a response without what was `expected`. Its status says why, unless it is 200."""
        found = "an unexpected response" if self.status == 200 else f"status {self.status}"
        return UpstreamFaultError(f"{sender} returned {found} (expected: {expected})")


class Exchange(Protocol):
    """Sends one request and returns its whole response.

    Follows no redirect, keeps no cookie. Raises UpstreamBusyError if no connection becomes free,
    UpstreamUnavailableError if the connection was refused or dropped, UpstreamTimeoutError, UpstreamFaultError if the
    response is not HTTP. Unless it was busy, the request may have taken effect all the same.
    """

    async def __call__(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Reply:
        """`url` is absolute and encoded."""
        ...

    @property
    def in_use(self) -> int:
        """The number of connections in use."""
        ...

    @property
    def waiting(self) -> int:
        """The number of calls that wait for one."""
        ...

    async def aclose(self) -> None:
        """Closes every connection."""
        ...


class NetworkExchange:
    """Exchanges over the network, at most 100 at a time and 400 that wait. Errors call the other side `name`.

    `authorities` is the path of a PEM file with those that may vouch for its host, in place of the system's. A body of
    more than `max_bytes` is not read.
    """

    def __init__(
        self, name: str, timeouts: Timeouts, *, authorities: str | None = None, max_bytes: int | None = None
    ) -> None:
        self._name = name
        self._authorities = authorities
        self._max_bytes = max_bytes
        self._timeout = aiohttp.ClientTimeout(connect=timeouts.connect, sock_read=timeouts.read)
        # Aiohttp's own queue has no limit, and its timeout there looks like one of a connection.
        self._free = asyncio.Semaphore(_MAX_CONNECTIONS)
        self.in_use = self.waiting = 0
        self._longest_wait = timeouts.pool
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Reply:
        """See `Exchange`."""
        if self._free.locked():
            await self._wait_for_a_connection()
        else:
            await self._free.acquire()
        self.in_use += 1
        try:
            session = self._session or self._connected(url)
            async with session.request(
                method, URL(url, encoded=True), headers=headers, data=body, allow_redirects=False
            ) as response:
                content = (
                    await response.read()
                    if self._max_bytes is None
                    else await _at_most(self._max_bytes, self._name, response.content.iter_any())
                )
                return Reply(response.status, response.headers, content)
        except (aiohttp.ClientError, ValueError) as error:
            raise self._translated(error) from error
        finally:
            self.in_use -= 1
            self._free.release()

    async def aclose(self) -> None:
        """Closes every connection."""
        if self._session is not None:
            await self._session.close()

    async def _wait_for_a_connection(self) -> None:
        if self.waiting >= _MAX_WAITING:
            raise UpstreamBusyError(f"{self._name} is busy; retry later")
        self.waiting += 1
        try:
            async with asyncio.timeout(self._longest_wait):
                await self._free.acquire()
        except TimeoutError as error:
            message = f"{self._name} is busy: no connection became free within {self._longest_wait:g} s; retry later"
            raise UpstreamBusyError(message) from error
        finally:
            self.waiting -= 1

    def _connected(self, url: str) -> aiohttp.ClientSession:
        # Not in the constructor: a session belongs to the event loop in which it is made. The proxy is looked up once,
        # because an exchange serves one host, and aiohttp would read the environment for every request.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=_MAX_CONNECTIONS,
                keepalive_timeout=_KEEPALIVE_SECONDS,
                ssl=True if self._authorities is None else _trusting(self._name, self._authorities),
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=self._timeout,
            proxy=_proxy_for(URL(url)),
        )
        return self._session

    def _translated(self, error: Exception) -> UpstreamError:
        if isinstance(error, aiohttp.ServerTimeoutError):
            return _timed_out(self._name)
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            return _not_trusted(self._name, error.certificate_error)
        # A host that is no name cannot be reached either.
        nowhere = (aiohttp.ClientConnectionError, aiohttp.InvalidURL, UnicodeError)
        return _unreachable(self._name) if isinstance(error, nowhere) else _not_http(self._name)


class TransportExchange:
    """Exchanges over a transport of httpx, which may answer within this process. `max_bytes`: see `NetworkExchange`."""

    def __init__(
        self, name: str, timeouts: Timeouts, transport: httpx.AsyncBaseTransport, *, max_bytes: int | None = None
    ) -> None:
        self._name = name
        self._max_bytes = max_bytes
        self._transport = transport
        timeout = httpx.Timeout(timeouts.read, connect=timeouts.connect, pool=timeouts.pool)
        self._extensions = {"timeout": timeout.as_dict()}
        self.in_use = self.waiting = 0

    async def __call__(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Reply:
        """See `Exchange`."""
        try:
            request = httpx.Request(method, url, content=body, headers=headers, extensions=self._extensions)
            response = await self._transport.handle_async_request(request)
            async with aclosing(response):
                content = (
                    await response.aread()
                    if self._max_bytes is None
                    else await _at_most(self._max_bytes, self._name, response.aiter_bytes())
                )
                return Reply(response.status_code, response.headers, content)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise self._translated(error) from error

    async def aclose(self) -> None:
        """Closes the transport."""
        await self._transport.aclose()

    def _translated(self, error: Exception) -> UpstreamError:
        if isinstance(error, httpx.TimeoutException):
            return _timed_out(self._name)
        return _unreachable(self._name) if isinstance(error, httpx.NetworkError) else _not_http(self._name)


async def _at_most(max_bytes: int, name: str, parts: AsyncIterator[bytes]) -> bytes:
    content = bytearray()
    async for part in parts:
        content += part
        if len(content) > max_bytes:
            raise UpstreamFaultError(f"{name} returned a response of more than {max_bytes} bytes")
    return bytes(content)


def _trusting(name: str, authorities: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=authorities)
    except (OSError, ValueError) as error:
        raise UpstreamFaultError(f"The file with the authorities for {name} cannot be read") from error


def _proxy_for(url: URL) -> str | None:
    """The proxy that HTTPS_PROXY or HTTP_PROXY names for `url`, unless NO_PROXY excludes its host."""
    assert url.host is not None
    return None if proxy_bypass(f"{url.host}:{url.port}") else getproxies().get(url.scheme)


def _not_trusted(name: str, error: Exception) -> UpstreamError:
    # OpenSSL's sentence goes on with our own name for the host, which is none of a caller's business.
    reason = str(getattr(error, "verify_message", "")).partition(", certificate")[0]
    return UpstreamFaultError(f"{name}'s certificate is not trusted: {reason or 'the check failed'}")


def _timed_out(name: str) -> UpstreamError:
    return UpstreamTimeoutError(f"{name} did not answer in time")


def _unreachable(name: str) -> UpstreamError:
    return UpstreamUnavailableError(f"{name} cannot be reached")


def _not_http(name: str) -> UpstreamError:
    return UpstreamFaultError(f"{name} returned a response that is not HTTP")
