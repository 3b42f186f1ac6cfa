"""Signing keys that an issuer publishes (RFC 7517), fetched when needed and kept through its outages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from clients.upstream import Upstream
from domain.errors import UpstreamError, UpstreamFaultError

_MAX_AGE = 600.0
_MIN_INTERVAL = 10.0


class UnknownKeyError(Exception):
    """The issuer publishes no such key."""


class SigningKeys:
    """The ES256 keys published at `path`, by their `kid`. `now` is a clock in seconds.

    An unknown `kid` causes one more fetch, at most every 10 s: keys rotate, and each replica of an issuer signs with
    its own. Once a set was fetched it is kept until a newer one arrives. For an issuer that need not exist
    (`optional`) a 404 is an empty set, so that made-up issuers are asked for no more often than others.
    """

    def __init__(self, upstream: Upstream, path: str, now: Callable[[], float], *, optional: bool = False) -> None:
        self._optional = optional
        self._upstream = upstream
        self._path = path
        self._now = now
        self._keys: dict[str, ECKey] | None = None
        self._fetched_at = self._tried_at = float("-inf")
        self._fetching = asyncio.Lock()

    async def get(self, kid: str) -> ECKey:
        """The key called `kid`. Raises UnknownKeyError, or UpstreamError where no set was ever fetched."""
        keys = self._keys
        if keys is None or kid not in keys or self._now() - self._fetched_at > _MAX_AGE:
            keys = await self._refreshed(kid)
        if kid not in keys:
            raise UnknownKeyError
        return keys[kid]

    async def available(self) -> bool:
        """Whether there is a set to verify with, fetching it where there is none yet."""
        try:
            await self._refreshed(None)
        except UpstreamError:
            return False
        return True

    async def _refreshed(self, kid: str | None) -> dict[str, ECKey]:
        async with self._fetching:
            now = self._now()
            if self._keys is not None:
                fresh = now - self._fetched_at <= _MAX_AGE and (kid is None or kid in self._keys)
                if fresh or now - self._tried_at < _MIN_INTERVAL:
                    return self._keys
            self._tried_at = now
            try:
                self._keys = await self._fetch()
                self._fetched_at = now
            except UpstreamError:
                if self._keys is None:
                    raise
            return self._keys

    async def _fetch(self) -> dict[str, ECKey]:
        reply = await self._upstream.read(self._path)
        if reply.status == 404 and self._optional:
            return {}
        rows = reply.body.get("keys") if reply.status == 200 and isinstance(reply.body, dict) else None
        if not isinstance(rows, list):
            raise UpstreamFaultError("Backstage does not publish its signing keys in the form that this service knows")
        keys = {}
        for row in rows:
            # Other kinds of key may stand in the set (RFC 7517, section 5): they are passed over.
            if isinstance(row, dict) and row.get("kty") == "EC" and isinstance(row.get("kid"), str):
                try:
                    keys[row["kid"]] = ECKey.import_key(row)
                except (JoseError, ValueError, TypeError, KeyError):
                    continue
        return keys
