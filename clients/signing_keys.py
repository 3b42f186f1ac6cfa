"""Signing keys that an issuer of tokens publishes (RFC 7517), fetched when needed and kept through its outages."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from clients.algorithms import Key, PublishedKeys, published_keys
from clients.exchange import Reply
from clients.upstream import Upstream
from domain.errors import UpstreamError, UpstreamFaultError, UpstreamUnavailableError
from domain.workloads import KeysHealth

_MAX_AGE_SECONDS = 600.0
_MIN_INTERVAL_SECONDS = 10.0
_MIN_INTERVAL_WITHOUT_KEYS_SECONDS = 1.0


Choose = Callable[[PublishedKeys], Mapping[str, Key] | None]
"""Chooses the keys for a token in a set. None: it is not there, perhaps not yet."""


class UnknownKeyError(Exception):
    """The issuer publishes no such key."""


class KeyNotReadYetError(UpstreamUnavailableError):
    """The issuer may publish the key, and has not told yet. `retry_after` is in seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"The token's signing key is not known here yet; retry after {retry_after} s")
        self.retry_after = retry_after


class Source(Protocol):
    """Where a set of keys is published. Errors call it `name`."""

    @property
    def name(self) -> str:
        """The name of the issuer."""
        ...

    async def read(self) -> Reply:
        """What is published there now. Raises UpstreamError."""
        ...

    async def watch(self) -> Reply:
        """The same, for those who only want to know how the issuer is. Raises UpstreamError."""
        ...


@dataclass(frozen=True)
class Published:
    """A set of keys at a `path` of an upstream."""

    upstream: Upstream
    path: str

    @property
    def name(self) -> str:
        """See `Source`."""
        return self.upstream.name

    async def read(self) -> Reply:
        """See `Source`."""
        return await self.upstream.read(self.path)

    async def watch(self) -> Reply:
        """See `Source`."""
        return await self.upstream.watch(self.path)


class SigningKeys:
    """The keys published at `source`, by `kid`. `now` is a clock in seconds since the epoch.

    An unknown `kid` causes a fetch: keys rotate, and each replica of an issuer signs with its own. Anybody can make one
    up, so a fetch begins 10 seconds after the end of the last one; a second, while no set was ever fetched. All who
    wait share a fetch, and it goes on without them: only its end counts. A fetched set is kept until a newer one
    arrives. If the issuer may not exist (`is_optional`), a 404 is an empty set, as long as it never had keys: one that
    is just starting gives a 404, too. `before_fetch` may raise UpstreamError to forbid a fetch.
    """

    def __init__(
        self,
        source: Source,
        now: Callable[[], float],
        *,
        is_optional: bool = False,
    ) -> None:
        self._source = source
        self._now = now
        self._is_optional = is_optional
        self.before_fetch: Callable[[], None] = lambda: None
        self._keys: PublishedKeys | None = None
        self._read_at = self._ended_at = -math.inf
        self._failure: UpstreamError | None = None
        self._last_failure: tuple[float, str] | None = None
        self._fetch: asyncio.Task[None] | None = None

    async def get(self, kid: str, *, signed_by: float) -> Mapping[str, Key]:
        """The keys `kid`, by algorithm, for a token that was signed at the time `signed_by` or before.

        Raises UnknownKeyError if the issuer does not publish it, KeyNotReadYetError if that cannot be told now, and
        UpstreamError if no set was ever fetched.
        """
        return await self.find(lambda keys: keys.get(kid), signed_by=signed_by)

    async def find(self, choose: Choose, *, signed_by: float) -> Mapping[str, Key]:
        """As `get`: what `choose` finds in a set of keys. None from it is what an unknown `kid` is to `get`."""
        is_fresh = self._is_within(_MAX_AGE_SECONDS, self._read_at)
        if self._keys is not None and is_fresh and (known := choose(self._keys)) is not None:
            return known
        was_begun = self._begin_fetch()
        if (found := choose(await self._fetched())) is not None:
            return found
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
        self._parsed(await self._source.watch())
        return True

    @property
    def health(self) -> KeysHealth:
        """How many keys there are, and how the fetches went."""
        return KeysHealth(
            count=sum(len(set(map(id, keys.values()))) for keys in (self._keys or {}).values()),
            read_at=None if math.isinf(self._read_at) else self._read_at,
            failed_at=self._last_failure and self._last_failure[0],
            failure=self._last_failure and self._last_failure[1],
        )

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
            self._keys = self._parsed(await self._source.read())
            self._read_at, self._failure = began_at, None
        except UpstreamError as error:
            self._failure = error
            self._last_failure = (self._now(), error.message)
        finally:
            self._ended_at, self._fetch = self._now(), None

    def _parsed(self, reply: Reply) -> PublishedKeys:
        if reply.status == 404 and self._is_optional and not self._keys:
            return {}
        body = reply.parsed()
        rows = body.get("keys") if reply.status == 200 and isinstance(body, dict) else None
        if not isinstance(rows, list):
            raise reply.unexpected(self._source.name, "signing keys")
        keys = published_keys(rows)
        if rows and not keys:
            # Every token would be refused for what its holder cannot help.
            message = f"{self._source.name} publishes signing keys of kinds that this service does not know"
            raise UpstreamFaultError(message)
        return keys

    @property
    def _interval(self) -> float:
        return _MIN_INTERVAL_WITHOUT_KEYS_SECONDS if self._keys is None else _MIN_INTERVAL_SECONDS

    def _is_within(self, seconds: float, since: float) -> bool:
        # A clock that was set back must not stop the fetches until it is as late again.
        return 0 <= self._now() - since < seconds

    def _retry_after(self) -> int:
        return max(1, math.ceil(self._ended_at + self._interval - self._now()))
