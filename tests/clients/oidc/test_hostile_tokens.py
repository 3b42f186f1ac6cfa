"""Tokens that somebody forged, and genuine ones that a rule does not mean: none of them ever matches."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from joserfc.jwk import ECKey

from clients.algorithms import Key, is_signature
from clients.oidc.issuers import Issuers
from clients.signing_keys import KeyNotReadYetError
from domain.errors import UnverifiedTokenError
from domain.workloads import Match, Rule, mismatch
from tests.clients.oidc.conftest import refused
from tests.conftest import Clock
from tests.support.issuers import AUDIENCE, RSA, SUBJECT, URL, SigningIssuer, encoded, issuers_of, signed

OWN_CLAIMS: dict[str, Any] = {
    "repository_owner_id": "12",
    "attempt": 1,
    "protected": True,
    "kubernetes.io": {"namespace": "ci", "serviceaccount": {"name": "builder"}},
}
OWNER_ID = (("repository_owner_id",), "12")
RULES = {
    "exact": Match(sub=SUBJECT),
    "prefix": Match(sub="repo:acme/shop:*"),
    "claims": Match(claims=(OWNER_ID, (("attempt",), 1), (("protected",), True))),
    "nested": Match(
        claims=((("kubernetes.io", "namespace"), "ci"), (("kubernetes.io", "serviceaccount", "name"), "builder"))
    ),
}
Forge = Callable[[SigningIssuer], str]
ATTACKERS_EC, ATTACKERS_RSA = ECKey.generate_key("P-256"), RSA
HMAC_SECRETS: dict[str, Callable[[Key], bytes]] = {
    "PEM": lambda key: key.as_pem(private=False),
    "DER": lambda key: key.as_der(private=False),
    "JWK": lambda key: json.dumps(key.as_dict(private=False)).encode(),
}


def rule(match: Match) -> Rule:
    """A rule of the issuer with this match."""
    return Rule("build", "ci", "component:default/shop", match)


def with_header(**changes: Any) -> Forge:
    """Genuine, but for its header, which the issuer signed as well."""
    return lambda issuer: issuer.signed(issuer.header(**changes), own(issuer))


def without_header(name: str) -> Forge:
    def forge(issuer: SigningIssuer) -> str:
        header = issuer.header()
        del header[name]
        return issuer.signed(header, own(issuer))

    return forge


def with_claims(**changes: Any) -> Forge:
    """Signed by the issuer, with these claims."""
    return lambda issuer: issuer.token(**OWN_CLAIMS | changes)


def own(issuer: SigningIssuer, **changes: Any) -> dict[str, Any]:
    return issuer.claims(**OWN_CLAIMS | changes)


def after_now(name: str, seconds: float) -> Forge:
    """With the time `name` so many seconds after now; the token ends within an hour of its `iat`."""
    return lambda issuer: issuer.token(**OWN_CLAIMS | {name: int(issuer.now()) + seconds})


def raw_claims(change: Callable[[str], str]) -> Forge:
    """With claims that are changed as text."""

    def forge(issuer: SigningIssuer) -> str:
        return issuer.signed(issuer.header(), change(json.dumps(own(issuer))).encode())

    return forge


def with_more(text: str) -> Forge:
    """With a claim more, whose value is this text."""
    return raw_claims(lambda claims: claims.replace("{", f'{{"more": {text}, ', 1))


def raw_header(change: Callable[[str], str]) -> Forge:
    """With a header that is changed as text."""

    def forge(issuer: SigningIssuer) -> str:
        return issuer.signed(change(json.dumps(issuer.header())).encode(), own(issuer))

    return forge


def by_attacker(key: Key = ATTACKERS_EC, algorithm: str = "ES256", **header: Any) -> Forge:
    """Signed with a key that the attacker made."""
    return lambda issuer: signed(issuer.header(alg=algorithm, **header), own(issuer), key, algorithm)


def hmac(form: str, algorithm: str) -> Forge:
    """RS256 to HS256: signed with the public key as the secret."""

    def forge(issuer: SigningIssuer) -> str:
        return signed(issuer.header(alg=algorithm), own(issuer), HMAC_SECRETS[form](issuer.key), algorithm)

    return forge


def changed(change: Callable[[list[str]], str]) -> Forge:
    """A genuine token whose three parts are changed afterwards."""
    return lambda issuer: change(issuer.token(**OWN_CLAIMS).split("."))


def elsewhere(address: str = "https://attacker.example.com/jwks") -> str:
    return address


def public(key: Key) -> dict[str, Any]:
    return {**key.as_dict(private=False), "kid": "attackers"}


def altered(part: str, **changes: Any) -> str:
    content = json.loads(base64.urlsafe_b64decode(part + "=="))
    return encoded(json.dumps(content | changes).encode())


NO_ALGORITHM, NO_KEY = "its alg is none of the asymmetric ones", "the issuer publishes no key with the kid of the token"
NO_SIGNATURE, WRONG_ALGORITHM = "the signature is not that of the key", "the alg of the token is not that of its key"
BAD_KID, EXTENSIONS = "the kid of its header is no text", "its header has extensions (crit) that have to be understood"
NOT_ITS_ONLY_KEY = "its header has no kid, and the issuer does not publish one key for its alg, which signed it"
WITHOUT_KID = {"typ": "JWT", "alg": "ES256"}
NO_JWS, NO_JSON, NO_OBJECT, NO_BASE64 = (
    "it is no compact JWS",
    "a part of it is not JSON, or has a key twice",
    "a part of it is not a JSON object",
    "a part of it is not base64url",
)
WRONG_ISSUER, WRONG_AUDIENCE = "its iss is not the url of the issuer", "its aud is not the audience of the issuer alone"
NO_SUBJECT, TOO_LONG = "its sub is no text of 1 to 1024 characters", "it is longer than 16 KiB"
ENDED, NOT_YET, NOT_BEFORE = "it has expired", "its iat is in the future", "its nbf is in the future"
LONG_LIFE = "it is valid for longer than maxTokenLife of the issuer"

FORGED: dict[str, tuple[Forge, str]] = {
    "none": (changed(lambda parts: f"{altered(parts[0], alg='none')}.{parts[1]}."), NO_JWS),
    "none with a signature": (with_header(alg="none"), NO_ALGORITHM),
    "NoNe": (with_header(alg="NoNe"), NO_ALGORITHM),
    "no alg": (without_header("alg"), NO_ALGORITHM),
    "alg is a list": (with_header(alg=["ES256"]), NO_ALGORITHM),
    "alg in small letters": (with_header(alg="es256"), NO_ALGORITHM),
    **{
        f"{algorithm} with the public key as {form}": (hmac(form, algorithm), NO_ALGORITHM)
        for form in HMAC_SECRETS
        for algorithm in ("HS256", "HS384", "HS512")
    },
    "an algorithm of another kind of key": (by_attacker(ATTACKERS_RSA, "RS256"), WRONG_ALGORITHM),
    "another algorithm of the same curve": (with_header(alg="ES384"), WRONG_ALGORITHM),
    "ES256K": (with_header(alg="ES256K"), NO_ALGORITHM),
    "signed with another key": (by_attacker(), NO_SIGNATURE),
    "a key in the header": (by_attacker(jwk=public(ATTACKERS_EC)), NO_SIGNATURE),
    "a key in the header that its kid names": (by_attacker(jwk=public(ATTACKERS_EC), kid="attackers"), NO_KEY),
    "a certificate in the header": (by_attacker(x5c=["MIIB"]), NO_SIGNATURE),
    "jku": (by_attacker(jku=elsewhere(), kid="attackers"), NO_KEY),
    "x5u": (by_attacker(x5u=elsewhere(), kid="attackers"), NO_KEY),
    "no kid, and another key": (
        lambda issuer: signed(WITHOUT_KID, own(issuer), ATTACKERS_EC, "ES256"),
        NOT_ITS_ONLY_KEY,
    ),
    "no kid, and another key in the header": (
        lambda issuer: signed(WITHOUT_KID | {"jwk": public(ATTACKERS_EC)}, own(issuer), ATTACKERS_EC, "ES256"),
        NOT_ITS_ONLY_KEY,
    ),
    "no kid, and an algorithm for which there is no key": (
        lambda issuer: signed({"alg": "RS256"}, own(issuer), ATTACKERS_RSA, "RS256"),
        NOT_ITS_ONLY_KEY,
    ),
    "kid is null": (with_header(kid=None), BAD_KID),
    "kid is a number": (with_header(kid=1), BAD_KID),
    "kid is empty": (with_header(kid=""), BAD_KID),
    "kid is a path": (with_header(kid="../../dev/null"), NO_KEY),
    "crit": (with_header(crit=["exp"]), EXTENSIONS),
    "crit that is empty": (with_header(crit=[]), EXTENSIONS),
    "unencoded payload": (with_header(b64=False), EXTENSIONS),
    "a header with a key twice": (raw_header(lambda text: text.replace("{", '{"alg": "none", ', 1)), NO_JSON),
    "a header that is a list": (raw_header(lambda text: f"[{text}]"), NO_OBJECT),
    "a header in UTF-16": (
        lambda issuer: issuer.signed(json.dumps(issuer.header()).encode("utf-16"), own(issuer)),
        NO_JSON,
    ),
    "the claims of another token": (
        changed(lambda parts: f"{parts[0]}.{altered(parts[1], sub='repo:acme/shop:ref:refs/heads/main')}x.{parts[2]}"),
        NO_JSON,
    ),
    "altered claims": (changed(lambda parts: f"{parts[0]}.{altered(parts[1], more=1)}.{parts[2]}"), NO_SIGNATURE),
    "no signature": (changed(lambda parts: f"{parts[0]}.{parts[1]}."), NO_JWS),
    "two parts": (changed(lambda parts: f"{parts[0]}.{parts[1]}"), NO_JWS),
    "four parts": (changed(lambda parts: ".".join([*parts, "AA"])), NO_JWS),
    "five parts, as an encrypted token": (changed(lambda parts: ".".join([*parts, "AA", "AA"])), NO_JWS),
    "a signature of zeros": (changed(lambda parts: f"{parts[0]}.{parts[1]}.{'A' * 86}"), NO_SIGNATURE),
    "a signature that is cut": (changed(lambda parts: f"{parts[0]}.{parts[1]}.{parts[2][:-4]}"), NO_SIGNATURE),
    "a signature of an odd length": (changed(lambda parts: f"{parts[0]}.{parts[1]}.{parts[2][:-1]}"), NO_BASE64),
    "padding": (changed(lambda parts: f"{parts[0]}.{parts[1]}.{parts[2]}=="), NO_JWS),
    "base64 of the other kind": (changed(lambda parts: f"{parts[0]}.{parts[1]}+/.{parts[2]}"), NO_JWS),
    "a space around it": (changed(lambda parts: f" {'.'.join(parts)}"), NO_JWS),
    "a line break after it": (changed(lambda parts: f"{'.'.join(parts)}\n"), NO_JWS),
    "JSON serialization": (
        changed(lambda parts: json.dumps({"payload": parts[1], "protected": parts[0], "signature": parts[2]})),
        NO_JWS,
    ),
    "nothing": (lambda _: "", NO_JWS),
    "half a character": (lambda _: "a.\udc80.c", NO_JWS),
    "full-width letters": (changed(lambda parts: f"\uff45{parts[0]}.{parts[1]}.{parts[2]}"), NO_JWS),
    "16 KiB and more": (with_claims(more="x" * 12_288), TOO_LONG),
    "a claim twice": (raw_claims(lambda text: text.replace("{", '{"sub": "repo:evil/evil", ', 1)), NO_JSON),
    "a claim twice, in a mapping": (
        raw_claims(lambda text: text.replace('"namespace"', '"namespace": "kube-system", "namespace"')),
        NO_JSON,
    ),
    "a claim twice, once escaped": (raw_claims(lambda text: text.replace("{", '{"s\\u0075b": "x", ', 1)), NO_JSON),
    "lists nested a thousand deep": (with_more("[" * 2000 + "]" * 2000), NO_JSON),
    "mappings nested a thousand deep": (with_more('{"a":' * 1500 + "1" + "}" * 1500), NO_JSON),
    "claims that are a list": (raw_claims(lambda text: f"[{text}]"), NO_OBJECT),
    "claims that are null": (raw_claims(lambda _: "null"), NO_OBJECT),
    "claims that are no JSON": (raw_claims(lambda text: text[:-1]), NO_JSON),
    "claims and more": (raw_claims(lambda text: f"{text}{{}}"), NO_JSON),
    "claims with a mark of the byte order": (raw_claims(lambda text: f"\ufeff{text}"), NO_JSON),
    "not a number": (with_more("NaN"), NO_JSON),
    "infinite": (with_more("1e999"), NO_JSON),
    "a claim with half a character": (with_claims(more="\ud800"), NO_JSON),
    "no iss": (with_claims(iss=None), WRONG_ISSUER),
    "another iss": (with_claims(iss="https://attacker.example.com"), WRONG_ISSUER),
    "iss with a slash more": (with_claims(iss=f"{URL}/"), WRONG_ISSUER),
    "iss in capitals": (with_claims(iss=URL.upper()), WRONG_ISSUER),
    "iss is a list": (with_claims(iss=[URL]), WRONG_ISSUER),
    "no aud": (with_claims(aud=None), WRONG_AUDIENCE),
    "another aud": (with_claims(aud="vault"), WRONG_AUDIENCE),
    "aud begins alike": (with_claims(aud=f"{AUDIENCE}x"), WRONG_AUDIENCE),
    "two audiences": (with_claims(aud=[AUDIENCE, "vault"]), WRONG_AUDIENCE),
    "the same audience twice": (with_claims(aud=[AUDIENCE, AUDIENCE]), WRONG_AUDIENCE),
    "no audience in the list": (with_claims(aud=[]), WRONG_AUDIENCE),
    "aud is a mapping": (with_claims(aud={AUDIENCE: True}), WRONG_AUDIENCE),
    "aud in a list in a list": (with_claims(aud=[[AUDIENCE]]), WRONG_AUDIENCE),
    "no sub": (with_claims(sub=None), NO_SUBJECT),
    "sub is empty": (with_claims(sub=""), NO_SUBJECT),
    "sub is a list": (with_claims(sub=[SUBJECT]), NO_SUBJECT),
    "sub is a number": (with_claims(sub=5), NO_SUBJECT),
    "sub is a mapping": (with_claims(sub={"x": 1}), NO_SUBJECT),
    "a sub without end": (with_claims(sub="repo:acme/shop:" + "x" * 1024), NO_SUBJECT),
    "no exp": (with_claims(exp=None), "its exp is no time"),
    "exp is a text": (with_claims(exp="1800000300"), "its exp is no time"),
    "exp is true": (with_claims(exp=True), "its exp is no time"),
    "exp is a list": (with_claims(exp=[1_800_000_300]), "its exp is no time"),
    "exp is beyond all time": (with_claims(exp=10**30), "its exp is no time"),
    "exp at the end of all time": (with_claims(exp=10**15), LONG_LIFE),
    "exp just beyond it": (with_claims(exp=10**15 + 1), "its exp is no time"),
    "exp of 400 digits": (with_claims(exp=10**400), NO_JSON),
    "exp now": (after_now("exp", 0), ENDED),
    "exp a second ago": (after_now("exp", -1), ENDED),
    "exp is negative": (with_claims(exp=-1), ENDED),
    "no iat": (with_claims(iat=None), "its iat is no time"),
    "iat is a text": (with_claims(iat="1800000000"), "its iat is no time"),
    "iat is false": (with_claims(iat=False), "its iat is no time"),
    "iat in the future": (after_now("iat", 61), NOT_YET),
    "nbf in the future": (after_now("nbf", 61), NOT_BEFORE),
    "nbf is a text": (with_claims(nbf="0"), "its nbf is no time"),
    "nbf is true": (with_claims(nbf=True), "its nbf is no time"),
    "it lives for too long": (after_now("exp", 3601), LONG_LIFE),
    "it ends when it begins": (
        lambda issuer: issuer.token(**OWN_CLAIMS | dict.fromkeys(["iat", "exp"], int(issuer.now()) + 59)),
        LONG_LIFE,
    ),
    "it was issued long ago": (after_now("iat", -3301), LONG_LIFE),
    "it ends before it begins": (lambda issuer: issuer.token(iat=issuer.now() + 50, exp=issuer.now() + 10), LONG_LIFE),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
async def test_what_does_not_verify(issuer: SigningIssuer, issuers: Issuers, name: str) -> None:
    """It is refused for its own reason, and only the issuer's own addresses were asked."""
    forge, reason = FORGED[name]
    assert await refused(issuers, forge(issuer)) == reason
    assert set(issuer.seen) <= {f"{URL}/.well-known/openid-configuration", f"{URL}/jwks"}


async def test_the_longest_sub(issuer: SigningIssuer, issuers: Issuers) -> None:
    """It has 1024 characters; what is longer is refused above."""
    longest = "repo:acme/shop:".ljust(1024, "x")
    assert (await issuers.verify("ci", issuer.token(sub=longest))).subject == longest


@pytest.mark.parametrize(
    ("key", "algorithm"), [(RSA, "ES256"), (RSA, "EdDSA"), (ATTACKERS_EC, "RS256"), (RSA, "HS256")]
)
def test_a_key_of_another_kind_signed_nothing(key: Key, algorithm: str) -> None:
    """Whatever its library makes of it: the answer is no, and no error."""
    assert is_signature(b"x" * 64, b"content", key, algorithm) is False


@pytest.mark.parametrize("form", HMAC_SECRETS)
async def test_the_public_rsa_key_as_a_secret(clock: Clock, form: str) -> None:
    """The classic: an issuer of RS256, a token of HS256."""
    issuer = SigningIssuer(clock, key=RSA)
    assert await refused(issuers_of(issuer), hmac(form, "HS256")(issuer)) == NO_ALGORITHM


async def test_a_key_that_is_for_another_algorithm(clock: Clock) -> None:
    """What a key was published for counts, also among algorithms of its own kind."""
    issuer = SigningIssuer(clock, key=RSA)
    token = signed(issuer.header(alg="PS256"), own(issuer), RSA, "PS256")
    assert await refused(issuers_of(issuer), token) == WRONG_ALGORITHM


LOOK_ALIKES = {
    "Cyrillic": "repo:\u0430cme/shop:ref:refs/heads/main",
    "full width": "repo:acme\uff0fshop:ref:refs/heads/main",
    "a long s": "repo:acme/\u017fhop:ref:refs/heads/main",
    "zero width": "repo:acme/\u200bshop:ref:refs/heads/main",
    "combining": "repo:acme/sho\u0070\u0301:ref:refs/heads/main",
    "right to left": "\u202erepo:acme/shop:ref:refs/heads/main",
    "capitals": "repo:ACME/shop:ref:refs/heads/main",
    "a space before it": f" {SUBJECT}",
    "no-break space": f"\u00a0{SUBJECT}",
    "a NUL in it": "repo:acme/shop\u0000:ref:refs/heads/main",
    "the pattern itself": "repo:acme/shop:*",
    "a * at the end": f"{SUBJECT}*",
    "a * in it": "repo:acme/shop:ref:*:main",
    "* alone": "*",
    "the prefix alone": "repo:acme/shop:",
    "a name that begins alike": "repo:acme/shop-evil:ref:refs/heads/main",
    "a name that ends alike": "repo:evil-acme/shop:ref:refs/heads/main",
    "before the separator": "repo:acme/shop",
    "a regular expression": "repo:acme/sh.p:ref:refs/heads/main",
    "it is in another": f"x{SUBJECT}",
}  # fmt: skip
NOT_MEANT: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    **{f"sub: {name}": (("exact", "prefix"), {"sub": sub}) for name, sub in LOOK_ALIKES.items()},
    "sub goes on": (("exact",), {"sub": f"{SUBJECT}x"}),
    "sub in capitals at its end": (("exact",), {"sub": "repo:acme/shop:ref:refs/heads/MAIN"}),
    "another number": (("claims",), {"repository_owner_id": "13"}),
    "a number for a text": (("claims",), {"repository_owner_id": 12}),
    "a number with a fraction": (("claims",), {"repository_owner_id": 12.0}),
    "a list with the text": (("claims",), {"repository_owner_id": ["12"]}),
    "a text that goes on": (("claims",), {"repository_owner_id": "12 "}),
    "other digits": (("claims",), {"repository_owner_id": "\u0661\u0662"}),
    "null": (("claims",), {"repository_owner_id": None}),
    "a text for a number": (("claims",), {"attempt": "1"}),
    "true for 1": (("claims",), {"attempt": True}),
    "1.0 for 1": (("claims",), {"attempt": 1.0}),
    "1 for true": (("claims",), {"protected": 1}),
    "a text for true": (("claims",), {"protected": "true"}),
    "false": (("claims",), {"protected": False}),
    "another namespace": (("nested",), {"kubernetes.io": {"namespace": "prod", "serviceaccount": {"name": "builder"}}}),
    "a text instead of the mapping": (("nested",), {"kubernetes.io": "namespace"}),
    "a list instead of the mapping": (("nested",), {"kubernetes.io": [{"namespace": "ci"}]}),
    "a mapping instead of the value": (("nested",), {"kubernetes.io": {"namespace": {"ci": "ci"}}}),
    "the path as one name": (("nested",), {"kubernetes.io": None, "kubernetes.io/namespace": "ci"}),
    "the path with dots": (("nested",), {"kubernetes.io": None, "kubernetes.io.namespace": "ci"}),
    "half of the claims": (("nested",), {"kubernetes.io": {"namespace": "ci"}}),
}  # fmt: skip


async def matched(issuers: Issuers, token: str, match: Match) -> bool:
    """Whether there would be a key for `token`."""
    try:
        return mismatch(rule(match), await issuers.verify("ci", token)) is None
    except (UnverifiedTokenError, KeyNotReadYetError):
        return False


@pytest.mark.parametrize("name", RULES)
async def test_what_each_rule_means(issuer: SigningIssuer, issuers: Issuers, name: str) -> None:
    """The genuine token of which all others here are altered copies matches each rule."""
    assert await matched(issuers, issuer.token(**OWN_CLAIMS), RULES[name])


@pytest.mark.parametrize("name", RULES)
async def test_no_forgery_matches(issuer: SigningIssuer, issuers: Issuers, name: str) -> None:
    """Not one of the table, whatever the rule compares."""
    tokens = {forgery: forge(issuer) for forgery, (forge, _) in FORGED.items()}
    assert [forgery for forgery, token in tokens.items() if await matched(issuers, token, RULES[name])] == []


@pytest.mark.parametrize("name", NOT_MEANT)
async def test_what_is_not_meant(issuer: SigningIssuer, issuers: Issuers, name: str) -> None:
    """The issuer signed it, it verifies, and it is still not what the rule says."""
    names, changes = NOT_MEANT[name]
    token = await issuers.verify("ci", issuer.token(**OWN_CLAIMS | changes))
    assert [each for each in names if mismatch(rule(RULES[each]), token) is None] == []


async def test_a_token_of_another_issuer(issuer: SigningIssuer, issuers: Issuers) -> None:
    """A rule is for the tokens of its own issuer."""
    token = await issuers.verify("ci", issuer.token(**OWN_CLAIMS))
    other = Rule("build", "another", "component:default/shop", RULES["exact"])
    assert mismatch(other, token) is not None
