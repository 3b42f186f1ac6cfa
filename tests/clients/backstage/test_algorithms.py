"""Backstage may sign with any usual algorithm, each only with a key that it publishes for it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from clients.algorithms import ALGORITHMS, Algorithms, Key
from domain.errors import UpstreamFaultError
from standalone.backstage import BackstageStandIn
from tests.clients.backstage.conftest import JWKS, Setup, forged, refused
from tests.conftest import ALICE, BOB, Clock
from tests.support.upstreams import respond

EC, OTHER_EC, P384 = (ECKey.generate_key(curve) for curve in ("P-256", "P-256", "P-384"))
RSA = RSAKey.generate_key(2048)
with warnings.catch_warnings(action="ignore"):
    SHORT_RSA = RSAKey.generate_key(2040)
BROKEN_RSA = {"kty": "RSA", "kid": "broken", "n": "A" * 342, "e": "AQAB"}
NOT_FOR_IT = "The token's alg is not that of its signing key"
NOT_OF_BACKSTAGE = "The token's header is not that of a Backstage token"
NOT_PUBLISHED = "The token is signed with a key that Backstage does not publish"
INVALID = "The token is invalid"


def row(key: Key, **parameters: Any) -> dict[str, Any]:
    """A key as a set publishes it, under the `kid` that all tokens here name."""
    return {**key.as_dict(private=False), "kid": "k", **parameters}


def signed(key: Key | OctKey, algorithm: str, **header: Any) -> str:
    """Alice's token, signed with `key`, with more in its header."""
    named = {"typ": "vnd.backstage.user", "alg": algorithm, "kid": "k", **header}
    claims = {"sub": ALICE, "ent": [ALICE], "aud": "backstage", "iat": 1_800_000_000, "exp": 1_800_003_600}
    registry = Algorithms(algorithms=[algorithm], strict_check_header=False)
    return jwt.encode(named, claims, key, registry=registry)


def renamed(token: str, algorithm: object) -> str:
    """`token` with another `alg` in its header."""
    return forged(lambda header, _: header.update(alg=algorithm))(token)


def publish(setup: Setup, *rows: Any) -> None:
    setup.transport.answers[JWKS] = respond(200, json={"keys": list(rows)})


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_each_algorithm(setup: Setup, backstage: BackstageStandIn, clock: Clock, algorithm: str) -> None:
    """`auth.identityTokenAlgorithm`; user tokens and those on behalf of a user, by a key that names it or does not."""
    backstage.rotate_keys(algorithm)
    assert (await setup.tokens.verify(backstage.user_token(ALICE))).subject == ALICE
    assert (await setup.tokens.verify(backstage.plugin_token(backstage.limited_token(BOB)))).subject == BOB
    assert await setup.tokens.algorithms() == {algorithm}
    afresh = Setup(backstage, clock)
    assert await afresh.tokens.algorithms() == {algorithm}
    afresh = Setup(backstage, clock)
    publish(afresh, backstage._user_key.as_dict(private=False))
    assert (await afresh.tokens.verify(backstage.user_token(ALICE))).subject == ALICE


async def test_a_broken_key_spoils_no_set(setup: Setup, backstage: BackstageStandIn) -> None:
    """One whose modulus is zero is left out, and the others are used."""
    publish(setup, BROKEN_RSA, backstage._user_key.as_dict(private=False))
    assert (await setup.tokens.verify(backstage.user_token(ALICE))).subject == ALICE


HOSTILE: dict[str, tuple[list[Any], Callable[[], str], str]] = {
    "the public key as an HMAC secret": (
        [row(RSA, alg="RS256")],
        lambda: signed(OctKey.import_key(json.dumps(row(RSA))), "HS256"),
        NOT_OF_BACKSTAGE,
    ),
    "none": ([row(EC)], lambda: renamed(signed(EC, "ES256"), "none"), NOT_OF_BACKSTAGE),
    "an alg that is a list": ([row(EC)], lambda: renamed(signed(EC, "ES256"), ["ES256"]), NOT_OF_BACKSTAGE),
    "P-384 for ES256": ([row(P384)], lambda: renamed(signed(P384, "ES384"), "ES256"), NOT_FOR_IT),
    "RSA for ES256": ([row(RSA)], lambda: renamed(signed(RSA, "RS256"), "ES256"), NOT_FOR_IT),
    "an RS256 key for PS256": ([row(RSA, alg="RS256")], lambda: signed(RSA, "PS256"), NOT_FOR_IT),
    "an RS256 key for RS512": ([row(RSA, alg="RS256")], lambda: signed(RSA, "RS512"), NOT_FOR_IT),
    "a key whose alg is not of its curve": (
        [row(P384, alg="ES256"), row(OTHER_EC, kid="o")],
        lambda: signed(P384, "ES384"),
        NOT_PUBLISHED,
    ),
    "a key for encryption": ([row(EC, use="enc"), row(RSA, kid="o")], lambda: signed(EC, "ES256"), NOT_PUBLISHED),
    "a key that may not verify": (
        [row(RSA, key_ops=["encrypt"]), row(EC, kid="o")],
        lambda: signed(RSA, "RS256"),
        NOT_PUBLISHED,
    ),
    "an RSA key below 2048 bits": (
        [row(SHORT_RSA), row(EC, kid="o")],
        lambda: signed(SHORT_RSA, "RS256"),
        NOT_PUBLISHED,
    ),
    "a key in the header": ([row(EC)], lambda: signed(OTHER_EC, "ES256", jwk=row(OTHER_EC)), INVALID),
    "a set named in the header": ([row(EC)], lambda: signed(OTHER_EC, "ES256", jku="https://evil.example"), INVALID),
    "another key under two that share its kid": ([row(EC), row(RSA)], lambda: signed(OTHER_EC, "ES256"), INVALID),
    "a secret in the set": (
        [{"kty": "oct", "kid": "k", "k": "A" * 43}, row(EC, kid="o")],
        lambda: signed(OctKey.import_key("A" * 43), "HS256"),
        NOT_OF_BACKSTAGE,
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_what_is_not_signed_with_a_key_made_for_it(setup: Setup, name: str) -> None:
    """Neither the token nor its header decides which key or algorithm counts."""
    rows, make, says = HOSTILE[name]
    publish(setup, *rows)
    assert await refused(setup, make()) == says


async def test_a_short_rsa_key_does_not_count(setup: Setup) -> None:
    """RFC 7518 forbids it, and nobody should trust what it signs."""
    publish(setup, row(RSA, n="A" * 171), row(EC, kid="o"))
    assert await refused(setup, signed(RSA, "RS256")) == NOT_PUBLISHED


@pytest.mark.parametrize(
    "rows",
    [
        [row(EC), row(RSA)],
        [row(P384, use="enc"), row(EC)],
        [5, None, [], {"kty": []}, {"kty": "EC", "crv": [], "kid": "k"}, row(EC, alg=[]), row(EC, key_ops=5), row(EC)],
        [{"kty": "RSA", "kid": "k", "n": 5, "e": "AQAB"}, {"kty": "EC", "kid": "k", "crv": "P-256"}, row(EC)],
        [row(EC, key_ops=["verify"], use="sig", alg="ES256", x5c=["AAAA"])],
    ],
)
async def test_a_good_key_among_others(setup: Setup, rows: list[Any]) -> None:
    """It counts, whatever else is in the set and shares its kid."""
    publish(setup, *rows)
    assert (await setup.tokens.verify(signed(EC, "ES256"))).subject == ALICE


@pytest.mark.parametrize(
    "rows", [[{"kty": "EC", "crv": "secp256k1", "kid": "k", "x": "AA", "y": "AA"}], [row(EC, use="enc")]]
)
async def test_a_set_in_which_no_key_is_of_use(setup: Setup, rows: list[Any]) -> None:
    """Nobody's token could be verified: that is no fault of theirs, and whoever watches must see it."""
    publish(setup, *rows)
    with pytest.raises(UpstreamFaultError):
        await setup.tokens.verify(signed(EC, "ES256"))
    with pytest.raises(UpstreamFaultError):
        await setup.tokens.backstage_answers()
