"""The algorithms with which an issuer of tokens may sign, and the keys that it publishes (RFC 7517, 7518, 8037)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

Key = ECKey | OKPKey | RSAKey
PublishedKeys = Mapping[str, Mapping[str, Key]]
"""The keys of each `kid`, by the algorithm for which each was made."""

_OF_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_OF_A_CURVE = {
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
}
_TYPES: Mapping[str, type[Key]] = {"EC": ECKey, "OKP": OKPKey, "RSA": RSAKey}
# 2048 bits in base64url; RFC 7518, section 3.3, forbids shorter ones.
_MIN_RSA_LENGTH = 342

ALGORITHMS = (*(name for names in _OF_A_CURVE.values() for name in names), *_OF_RSA)
"""Only asymmetric ones: with a published key as the secret, anybody could sign with HMAC."""


class Algorithms(JWSRegistry):
    """joserfc's algorithms. It warns of the name EdDSA (RFC 9864), by which issuers call what is Ed25519."""

    algorithms = JWSRegistry.algorithms | {"EdDSA": JWSRegistry.algorithms["Ed25519"]}


def published_keys(rows: Iterable[Any]) -> PublishedKeys:
    """The usable keys among `rows` of a JWKS. Of two for the same `kid` and algorithm, the first counts.

    A set may contain keys of other kinds (RFC 7517, section 5). They are left out.
    """
    keys: dict[str, dict[str, Key]] = {}
    for row in rows:
        with suppress(JoseError, ValueError, TypeError, KeyError, AttributeError):
            algorithms = _algorithms_of(row)
            if algorithms and isinstance(row["kid"], str):
                # Without its `alg`, which is decided here: joserfc does not take EdDSA for Ed25519.
                key = _TYPES[row["kty"]].import_key({name: row[name] for name in row if name != "alg"})
                for algorithm in algorithms:
                    keys.setdefault(row["kid"], {}).setdefault(algorithm, key)
    return keys


def is_signature(signature: bytes, of: bytes, key: Key, algorithm: str) -> bool:
    """Whether `signature` is one of `of`, by `key` with `algorithm`, for which it must have been published."""
    try:
        return Algorithms.algorithms[algorithm].verify(of, signature, key)
    except (JoseError, ValueError, TypeError, AttributeError):
        return False


def _algorithms_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    """What a key is for: its `alg`, if its kind can do that; without an `alg`, whatever its kind can do."""
    if row.get("use", "sig") != "sig" or "verify" not in row.get("key_ops", ["verify"]):
        return ()
    possible: tuple[str, ...]
    if row["kty"] == "RSA":
        possible = _OF_RSA if len(row["n"]) >= _MIN_RSA_LENGTH else ()
    else:
        possible = _OF_A_CURVE.get((row["kty"], row["crv"]), ())
    return tuple(name for name in possible if row.get("alg") in {None, name})
