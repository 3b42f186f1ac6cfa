"""Signing keys that Backstage publishes (RFC 7517), fetched when needed and kept through its outages."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection
from contextlib import suppress

from cachetools import LRUCache
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from clients.upstream import Upstream
from domain.errors import AuthenticationError, UpstreamError, UpstreamFaultError, UpstreamUnavailableError

_MAX_AGE_SECONDS = 600.0
_MIN_INTERVAL_SECONDS = 10.0
_MAX_UNCONFIRMED_PLUGINS = 256
_UNCONFIRMED_FETCHES = 20
_UNCONFIRMED_WINDOW_SECONDS = 60.0


class UnknownKeyError(Exception):
    """The issuer publishes no such key."""


class SigningKeys:
    """The ES256 keys published at `path`, by `kid`. `now` is a clock in seconds.

    An unknown `kid` causes one more fetch, at most every 10 seconds: keys rotate, and each replica of an issuer signs
    with its own. A fetched set is kept until a newer one arrives. While there is none, all who wait for a fetch share
    its failure. If the issuer may not exist (`is_optional`), a 404 is an empty set. `before_fetch` may raise
    UpstreamError to forbid a fetch.
    """

    def __init__(
        self,
        upstream: Upstream,
        path: str,
        now: Callable[[], float],
        *,
        is_optional: bool = False,
        before_fetch: Callable[[], None] = lambda: None,
    ) -> None:
        self._upstream = upstream
        self._path = path
        self._now = now
        self._is_optional = is_optional
        self.before_fetch = before_fetch
        self._keys: dict[str, ECKey] | None = None
        self._fetched_at = self._tried_at = float("-inf")
        self._failures: list[UpstreamError] = []
        self._fetching = asyncio.Lock()

    async def get(self, kid: str) -> ECKey:
        """The key `kid`. Raises UnknownKeyError, or UpstreamError if no set was ever fetched."""
        keys = self._keys
        if keys is None or kid not in keys or self._now() - self._fetched_at > _MAX_AGE_SECONDS:
            keys = await self._refreshed(kid)
        if kid not in keys:
            raise UnknownKeyError
        return keys[kid]

    async def require(self) -> None:
        """Fetches a set to verify with if there is none. Raises UpstreamError."""
        await self._refreshed(None)

    async def issuer_answers(self) -> bool:
        """Whether the issuer answered the last fetch. Fetches again if that was 10 seconds ago or more."""
        async with self._fetching:
            if self._now() - self._tried_at >= _MIN_INTERVAL_SECONDS:
                with suppress(UpstreamError):
                    await self._fetch_now()
            return self._fetched_at == self._tried_at

    async def _refreshed(self, kid: str | None) -> dict[str, ECKey]:
        failures = self._failures
        async with self._fetching:
            if self._keys is None and failures:
                raise failures[0].with_traceback(None)
            now = self._now()
            if self._keys is not None:
                is_fresh = now - self._fetched_at <= _MAX_AGE_SECONDS and (kid is None or kid in self._keys)
                if is_fresh or now - self._tried_at < _MIN_INTERVAL_SECONDS:
                    return self._keys
            try:
                return await self._fetch_now()
            except UpstreamError as error:
                if self._keys is None:
                    # Those who wait hold the old list; the next one to come gets a new fetch.
                    self._failures.append(error)
                    self._failures = []
                    raise
                return self._keys

    async def _fetch_now(self) -> dict[str, ECKey]:
        self.before_fetch()
        now = self._tried_at = self._now()
        keys = self._keys = await self._fetch()
        self._fetched_at = now
        return keys

    async def _fetch(self) -> dict[str, ECKey]:
        reply = await self._upstream.read(self._path)
        if reply.status == 404 and self._is_optional:
            return {}
        body = reply.parsed()
        rows = body.get("keys") if reply.status == 200 and isinstance(body, dict) else None
        if not isinstance(rows, list):
            raise UpstreamFaultError("Backstage returned an unexpected response (expected: signing keys)")
        keys = {}
        for row in rows:
            # A set may contain other kinds of keys (RFC 7517, section 5).
            if isinstance(row, dict) and row.get("kty") == "EC" and isinstance(row.get("kid"), str):
                try:
                    keys[row["kid"]] = ECKey.import_key(row)
                except (JoseError, ValueError, TypeError, KeyError):
                    continue
        return keys


class PluginKeys:
    """The signing keys of Backstage's plugins, one set per plugin. `now` is a clock in seconds.

    The plugin's name comes from a token that is not verified yet. So fetches for plugins that have never presented a
    valid token share one budget, and they cannot displace the keys of those that have. `allowed` lists the plugins that
    may call; None means any.
    """

    def __init__(self, upstream: Upstream, now: Callable[[], float], *, allowed: Collection[str] | None) -> None:
        self._upstream = upstream
        self._now = now
        self._allowed = allowed
        self._confirmed: dict[str, SigningKeys] = {}
        self._unconfirmed: LRUCache[str, SigningKeys] = LRUCache(_MAX_UNCONFIRMED_PLUGINS)
        self._fetches: deque[float] = deque()

    def of(self, plugin: str) -> SigningKeys:
        """The keys of `plugin`. Raises AuthenticationError if it may not call."""
        if self._allowed is not None and plugin not in self._allowed:
            raise AuthenticationError(f"The plugin {plugin} may not call this service")
        keys = self._confirmed.get(plugin) or self._unconfirmed.get(plugin)
        if keys is None:
            path = f"/api/{plugin}/.backstage/auth/v1/jwks.json"
            keys = SigningKeys(self._upstream, path, self._now, is_optional=True)
            if self._allowed is None:
                keys.before_fetch = self._take_from_budget
            self._unconfirmed[plugin] = keys
        return keys

    def confirm(self, plugin: str, keys: SigningKeys) -> None:
        """Records that `plugin` presented a valid token."""
        if plugin not in self._confirmed:
            keys.before_fetch = lambda: None
            self._confirmed[plugin] = keys
            self._unconfirmed.pop(plugin, None)

    def _take_from_budget(self) -> None:
        while self._fetches and self._now() - self._fetches[0] > _UNCONFIRMED_WINDOW_SECONDS:
            self._fetches.popleft()
        if len(self._fetches) >= _UNCONFIRMED_FETCHES:
            raise UpstreamUnavailableError("Too many unknown plugins are calling; retry later")
        self._fetches.append(self._now())
