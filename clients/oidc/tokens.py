"""What a foreign token says, and what it has to be like: strictly a compact JWS (RFC 7515) with the claims of a JWT.

One parser reads it, once, and refuses what two parsers could read in two ways: duplicate keys, numbers that are none,
half characters, padding. What a header says about keys (`jwk`, `jku`, `x5c`, `x5u`) is not looked at.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from clients.algorithms import ALGORITHMS
from domain.errors import UnverifiedTokenError
from domain.workloads import VerifiedToken
from settings.model import Issuer

LEEWAY_SECONDS = 60.0
"""By which an issuer's clock may be ahead of ours. There is none at the end of a token."""

_MAX_LENGTH = 16 * 1024
_MAX_SUBJECT_LENGTH = 1024
_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")


@dataclass(frozen=True)
class SignedToken:
    """A token as it was sent, not verified. `content` is what `signature` is of."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    content: bytes = field(repr=False)
    signature: bytes = field(repr=False)

    @classmethod
    def parse(cls, token: str) -> SignedToken:
        """The parts of `token`. Raises UnverifiedTokenError."""
        if len(token) > _MAX_LENGTH:
            raise UnverifiedTokenError("it is longer than 16 KiB")
        parts = _COMPACT.fullmatch(token)
        if parts is None:
            raise UnverifiedTokenError("it is no compact JWS")
        header, claims = (_object(part) for part in parts.group(1, 2))
        return cls(header, claims, f"{parts[1]}.{parts[2]}".encode(), _decoded(parts[3]))

    @property
    def key_id(self) -> str | None:
        """The `kid` of the header, None without one. Only after `check`."""
        return self.header.get("kid")

    @property
    def algorithm(self) -> str:
        """The `alg` of the header. Only after `check`."""
        return str(self.header["alg"])

    @property
    def issued_at(self) -> float:
        """The `iat`. Only after `check`."""
        return float(self.claims["iat"])

    def check(self, issuer: Issuer, now: float) -> None:
        """Raises UnverifiedTokenError unless it claims to be of `issuer`, for this service and this moment."""
        self._check_header()
        claims = self.claims
        if claims.get("iss") != issuer.url:
            raise UnverifiedTokenError("its iss is not the url of the issuer")
        if claims.get("aud") not in (issuer.audience, [issuer.audience]):
            raise UnverifiedTokenError("its aud is not the audience of the issuer alone")
        subject = claims.get("sub")
        if not isinstance(subject, str) or not 0 < len(subject) <= _MAX_SUBJECT_LENGTH:
            raise UnverifiedTokenError(f"its sub is no text of 1 to {_MAX_SUBJECT_LENGTH} characters")
        issued_at, expires_at = self._time("iat"), self._time("exp")
        if not now < expires_at:
            raise UnverifiedTokenError("it has expired")
        if issued_at > now + LEEWAY_SECONDS:
            raise UnverifiedTokenError("its iat is in the future")
        if "nbf" in claims and self._time("nbf") > now + LEEWAY_SECONDS:
            raise UnverifiedTokenError("its nbf is in the future")
        if not 0 < expires_at - issued_at <= issuer.max_token_life:
            raise UnverifiedTokenError("it is valid for longer than maxTokenLife of the issuer")

    def verified(self, issuer: Issuer) -> VerifiedToken:
        """The same after its signature was verified."""
        # ES256 has two signatures for each that is valid, and RSA's may be written in several ways. An issuer that
        # gives a jti twice must not lend the later end of one token to another.
        number, expires_at = self.claims.get("jti"), self._time("exp")
        is_named = isinstance(number, str) and number
        identity = f"jti {number} {expires_at}".encode() if is_named else b"content " + self.content
        return VerifiedToken(
            issuer=issuer.name,
            subject=self.claims["sub"],
            claims=self.claims,
            replay_id=hashlib.sha256(issuer.url.encode() + b"\n" + identity).hexdigest(),
            issued_at=self._time("iat"),
            expires_at=expires_at,
        )

    def _check_header(self) -> None:
        algorithm, key_id = self.header.get("alg"), self.header.get("kid", "none")
        if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
            raise UnverifiedTokenError("its alg is none of the asymmetric ones")
        if not isinstance(key_id, str) or not key_id:
            raise UnverifiedTokenError("the kid of its header is no text")
        if "crit" in self.header or "b64" in self.header:
            raise UnverifiedTokenError("its header has extensions (crit) that have to be understood")

    def _time(self, name: str) -> float:
        value = self.claims.get(name)
        if not isinstance(value, int | float) or isinstance(value, bool) or abs(value) > 1e15:
            raise UnverifiedTokenError(f"its {name} is no time")
        return float(value)


def _decoded(part: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError as error:
        raise UnverifiedTokenError("a part of it is not base64url") from error


def _object(part: str) -> dict[str, Any]:
    content = _decoded(part)
    try:
        # The first refuses lone surrogates, numbers that are none and what is nested too deep; the second finds
        # duplicates, and keeps whole numbers of any size whole.
        orjson.loads(content)
        value = json.loads(content.decode(), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise UnverifiedTokenError("a part of it is not JSON, or has a key twice") from error
    if not isinstance(value, dict):
        raise UnverifiedTokenError("a part of it is not a JSON object")
    return value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found
