"""Signing keys that Backstage publishes (RFC 7517), fetched when needed and kept through its outages."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Collection, Mapping

from cachetools import LRUCache

from clients.backstage.algorithms import Key, PublishedKeys, published_keys
from clients.exchange import Reply
from clients.upstream import Upstream
from domain.errors import AuthenticationError, UpstreamError, UpstreamFaultError, UpstreamUnavailableError

_MAX_AGE_SECONDS = 600.0
_MIN_INTERVAL_SECONDS = 10.0
_MIN_INTERVAL_WITHOUT_KEYS_SECONDS = 1.0
_MAX_UNCONFIRMED_PLUGINS = 256
_UNCONFIRMED_FETCHES = 20
_UNCONFIRMED_WINDOW_SECONDS = 60.0


class UnknownKeyError(Exception):
    """The issuer publishes no such key."""


class KeyNotReadYetError(UpstreamUnavailableError):
    """The issuer may publish the key, and has not told yet. `retry_after` is in seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"The token's signing key is not known here yet; retry after {retry_after} s")
        self.retry_after = retry_after


class SigningKeys:
    """The keys published at `path`, by `kid`. `now` is a clock in seconds since the epoch.

    An unknown `kid` causes a fetch: keys rotate, and each replica of an issuer signs with its own. Anybody can make one
    up, so a fetch begins 10 seconds after the end of the last one; a second, while no set was ever fetched. All who
    wait share a fetch, and it goes on without them: only its end counts. A fetched set is kept until a newer one
    arrives. If the issuer may not exist (`is_optional`), a 404 is an empty set, as long as it never had keys: one that
    is just starting gives a 404, too. `before_fetch` may raise UpstreamError to forbid a fetch.
    """

    def __init__(
        self,
        upstream: Upstream,
        path: str,
        now: Callable[[], float],
        *,
        is_optional: bool = False,
    ) -> None:
        self._upstream = upstream
        self._path = path
        self._now = now
        self._is_optional = is_optional
        self.before_fetch: Callable[[], None] = lambda: None
        self._keys: PublishedKeys | None = None
        self._read_at = self._ended_at = -math.inf
        self._failure: UpstreamError | None = None
        self._fetch: asyncio.Task[None] | None = None

    async def get(self, kid: str, *, signed_by: float) -> Mapping[str, Key]:
        """The keys `kid`, by algorithm, for a token that was signed at the time `signed_by` or before.

        Raises UnknownKeyError if the issuer does not publish it, KeyNotReadYetError if that cannot be told now, and
        UpstreamError if no set was ever fetched.
        """
        if self._keys is not None and kid in self._keys and self._is_within(_MAX_AGE_SECONDS, self._read_at):
            return self._keys[kid]
        was_begun = self._begin_fetch()
        keys = await self._fetched()
        if kid in keys:
            return keys[kid]
        # An issuer publishes a key before it signs with it. So a set that was read after that is proof.
        if self._failure is not None or (not was_begun and signed_by >= self._read_at):
            raise KeyNotReadYetError(self._retry_after()) from self._failure
        raise UnknownKeyError

    async def algorithms(self) -> frozenset[str]:
        """The algorithms for which there are keys. Fetches a set if there is none. Raises UpstreamError."""
        if self._keys is None:
            self._begin_fetch()
        return frozenset(algorithm for keys in (await self._fetched()).values() for algorithm in keys)

    async def are_published(self) -> bool:
        """Whether the issuer publishes a set now. Raises UpstreamError. Only watches: `get` learns nothing from it."""
        self._parsed(await self._upstream.watch(self._path))
        return True

    def _begin_fetch(self) -> bool:
        """Begins a fetch, unless one is running or has just ended. Whether it did. Raises UpstreamError."""
        if self._fetch is not None or self._is_within(self._interval, self._ended_at):
            return False
        self.before_fetch()
        self._fetch = asyncio.create_task(self._run())
        return True

    async def _fetched(self) -> PublishedKeys:
        """The newest set, after the end of the fetch that is running. Raises UpstreamError if there is none."""
        if self._fetch is not None:
            await asyncio.shield(self._fetch)
        if self._keys is None:
            assert self._failure is not None
            raise self._failure.with_traceback(None)
        return self._keys

    async def _run(self) -> None:
        began_at = self._now()
        try:
            self._keys = self._parsed(await self._upstream.read(self._path))
            self._read_at, self._failure = began_at, None
        except UpstreamError as error:
            self._failure = error
        finally:
            self._ended_at, self._fetch = self._now(), None

    def _parsed(self, reply: Reply) -> PublishedKeys:
        if reply.status == 404 and self._is_optional and not self._keys:
            return {}
        body = reply.parsed()
        rows = body.get("keys") if reply.status == 200 and isinstance(body, dict) else None
        if not isinstance(rows, list):
            raise UpstreamFaultError("Backstage returned an unexpected response (expected: signing keys)")
        keys = published_keys(rows)
        if rows and not keys:
            # Every token would be refused for what its holder cannot help.
            raise UpstreamFaultError("Backstage publishes signing keys of kinds that this service does not know")
        return keys

    @property
    def _interval(self) -> float:
        return _MIN_INTERVAL_WITHOUT_KEYS_SECONDS if self._keys is None else _MIN_INTERVAL_SECONDS

    def _is_within(self, seconds: float, since: float) -> bool:
        # A clock that was set back must not stop the fetches until it is as late again.
        return 0 <= self._now() - since < seconds

    def _retry_after(self) -> int:
        return max(1, math.ceil(self._ended_at + self._interval - self._now()))


class PluginKeys:
    """The signing keys of Backstage's plugins, one set per plugin. `now` is a clock in seconds since the epoch.

    The plugin's name comes from a token that is not verified yet. So fetches for plugins that have never presented a
    valid token share one budget, and they cannot displace the keys of those that have. Calls on behalf of a user, whose
    token is verified first, have a budget of their own: who has no token of a user cannot use it up. `allowed` lists
    the plugins that may call; None means any.
    """

    def __init__(self, upstream: Upstream, now: Callable[[], float], *, allowed: Collection[str] | None) -> None:
        self._upstream = upstream
        self._now = now
        self._allowed = allowed
        self._confirmed: dict[str, SigningKeys] = {}
        self._unconfirmed: LRUCache[str, SigningKeys] = LRUCache(_MAX_UNCONFIRMED_PLUGINS)
        self._budgets = {has_user: _Budget(now) for has_user in (False, True)}

    def of(self, plugin: str, *, has_user: bool) -> SigningKeys:
        """The keys of `plugin`, which calls on behalf of a user or for itself.

        Raises AuthenticationError if it may not call.
        """
        if self._allowed is not None and plugin not in self._allowed:
            raise AuthenticationError(f"The plugin {plugin} may not call this service")
        if plugin in self._confirmed:
            return self._confirmed[plugin]
        keys = self._unconfirmed.get(plugin)
        if keys is None:
            path = f"/api/{plugin}/.backstage/auth/v1/jwks.json"
            keys = self._unconfirmed[plugin] = SigningKeys(self._upstream, path, self._now, is_optional=True)
        if self._allowed is None:
            keys.before_fetch = self._budgets[has_user].take
        return keys

    def confirm(self, plugin: str, keys: SigningKeys) -> None:
        """Records that `plugin` presented a valid token."""
        if plugin not in self._confirmed:
            keys.before_fetch = lambda: None
            self._confirmed[plugin] = keys
            self._unconfirmed.pop(plugin, None)


class _Budget:
    """Twenty fetches a minute."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._fetches: deque[float] = deque()

    def take(self) -> None:
        """Takes one. Raises UpstreamUnavailableError if none is left."""
        while self._fetches and self._now() - self._fetches[0] > _UNCONFIRMED_WINDOW_SECONDS:
            self._fetches.popleft()
        if len(self._fetches) >= _UNCONFIRMED_FETCHES:
            raise UpstreamUnavailableError("Too many unknown plugins are calling; retry later")
        self._fetches.append(self._now())
