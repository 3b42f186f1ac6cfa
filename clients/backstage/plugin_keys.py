"""The signing keys of Backstage's plugins, of which each has its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection

from cachetools import LRUCache

from clients.signing_keys import Published, SigningKeys
from clients.upstream import Upstream
from domain.errors import AuthenticationError, UpstreamUnavailableError

_MAX_UNCONFIRMED_PLUGINS = 256
_UNCONFIRMED_FETCHES = 20
_UNCONFIRMED_WINDOW_SECONDS = 60.0


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
            keys = self._unconfirmed[plugin] = SigningKeys(Published(self._upstream, path), self._now, is_optional=True)
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
