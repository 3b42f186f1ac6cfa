"""The issuers of tokens of workloads, and the verification of what they signed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

import httpx

from clients.algorithms import Key, PublishedKeys, is_signature, published_keys
from clients.oidc.sources import AtAddress, Discovered
from clients.oidc.tokens import LEEWAY_SECONDS, SignedToken
from clients.signing_keys import Choose, SigningKeys, UnknownKeyError
from clients.upstream import ObserveCall, Sleep, Upstream
from domain.errors import UnverifiedTokenError
from domain.workloads import KeysHealth, VerifiedToken
from settings.model import Issuer, Timeouts

_MAX_ANSWER_BYTES = 512 * 1024
_UNKNOWN_KEY = "the issuer publishes no key with the kid of the token"
_NOT_THE_ONLY_KEY = "its header has no kid, and the issuer does not publish one key for its alg, which signed it"


class Issuers:
    """The issuers of the settings, by their names. `now` is in seconds since the epoch.

    `transport` is the way to all of them; None is the network. `observe` gets the outcome of each call and its seconds.
    """

    def __init__(
        self,
        issuers: Iterable[Issuer],
        *,
        timeouts: Timeouts,
        now: Callable[[], float],
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Sleep = asyncio.sleep,
        observe: ObserveCall = lambda *_: None,
    ) -> None:
        self._timeouts, self._transport, self._sleep, self._observe = timeouts, transport, sleep, observe
        self._now = now
        self._issuers = {issuer.name: issuer for issuer in issuers}
        self._keys = {name: self._keys_of(issuer) for name, issuer in self._issuers.items()}

    async def verify(self, issuer_name: str, token: str) -> VerifiedToken:
        """What `token` says, if the issuer of this name signed it for this service, and it is valid now.

        Raises UnverifiedTokenError; UpstreamError if the issuer's keys cannot be had; KeyError for an unknown name.
        """
        issuer, signed = self._issuers[issuer_name], SignedToken.parse(token)
        # Before a fetch: most of what is no token of this issuer costs it nothing.
        signed.check(issuer, self._now())
        try:
            signed_by = signed.issued_at + LEEWAY_SECONDS
            keys = await self._keys[issuer_name].find(
                lambda published: _keys_for(signed, published), signed_by=signed_by
            )
        except UnknownKeyError as error:
            is_named = signed.key_id is not None
            raise UnverifiedTokenError(_UNKNOWN_KEY if is_named else _NOT_THE_ONLY_KEY) from error
        if signed.algorithm not in keys:
            raise UnverifiedTokenError("the alg of the token is not that of its key")
        if not is_signature(signed.signature, signed.content, keys[signed.algorithm], signed.algorithm):
            raise UnverifiedTokenError("the signature is not that of the key")
        return signed.verified(issuer)

    def named_by(self, token: str) -> list[str]:
        """The names of the issuers that a token names, which is not verified. For the tests of rules only."""
        try:
            url = SignedToken.parse(token).claims.get("iss")
        except UnverifiedTokenError:
            return []
        return [name for name, issuer in self._issuers.items() if issuer.url == url]

    async def algorithms(self, issuer_name: str) -> frozenset[str]:
        """The algorithms for which this issuer has keys. Fetches them if there are none. Raises UpstreamError."""
        return await self._keys[issuer_name].algorithms()

    def health(self, issuer_name: str) -> KeysHealth:
        """What is known here of the keys of this issuer. Asks nobody."""
        return self._keys[issuer_name].health

    def _keys_of(self, issuer: Issuer) -> SigningKeys | _InlineKeys:
        name = f"Issuer {issuer.name}"

        def connect(url: str) -> Upstream:
            return Upstream(
                name,
                url,
                timeouts=self._timeouts,
                transport=self._transport,
                sleep=self._sleep,
                observe=self._observe,
                authorities=issuer.ca_file,
                max_bytes=_MAX_ANSWER_BYTES,
            )

        if issuer.jwks.inline is not None:
            return _InlineKeys(published_keys(issuer.jwks.inline["keys"]))
        if issuer.jwks.url is not None:
            return SigningKeys(AtAddress(name, issuer.jwks.url, connect), self._now)
        return SigningKeys(Discovered(name, issuer.url, connect), self._now)


class _InlineKeys:
    """Keys that the settings have."""

    def __init__(self, keys: PublishedKeys) -> None:
        self._keys = keys

    async def find(self, choose: Choose, *, signed_by: float) -> Mapping[str, Key]:  # noqa: ARG002  # as SigningKeys
        """The keys that `choose` finds, by algorithm. Raises UnknownKeyError."""
        found = choose(self._keys)
        if found is None:
            raise UnknownKeyError
        return found

    async def algorithms(self) -> frozenset[str]:
        """The algorithms for which there are keys."""
        return frozenset(algorithm for keys in self._keys.values() for algorithm in keys)

    @property
    def health(self) -> KeysHealth:
        """How many keys there are."""
        return KeysHealth(count=len(self._keys))


def _keys_for(token: SignedToken, published: PublishedKeys) -> Mapping[str, Key] | None:
    """Those that the token names. One that names none was signed by the only key for its algorithm, if there is one.

    That is tried at once: whether it was replaced is seen by the signature only. Of several a token has to name its own
    (OpenID Connect Core 1.0, section 10.1).
    """
    if token.key_id is not None:
        return published.get(token.key_id)
    algorithm = token.algorithm
    fitting = {id(keys[algorithm]): keys[algorithm] for keys in published.values() if algorithm in keys}
    if len(fitting) != 1:
        return None
    (only,) = fitting.values()
    return {algorithm: only} if is_signature(token.signature, token.content, only, algorithm) else None
