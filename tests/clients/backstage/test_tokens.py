"""Who is calling: genuine tokens are accepted, and nothing else is."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from domain.errors import UpstreamFaultError
from domain.identity import Caller
from standalone.backstage import BASE_URL, BackstageStandIn
from tests.clients.backstage.conftest import JWKS, PLUGIN_JWKS, SERVICE, Setup, forged, on_behalf_of_alice, refused
from tests.conftest import ALICE, BOB, Clock
from tests.support.upstreams import respond

USERINFO = "/api/auth/v1/userinfo"
MEMBERS = "group:default/litellm-users"


async def test_a_user_token(setup: Setup, backstage: BackstageStandIn) -> None:
    """Its sub is the caller and its ent what they own, both in lower case."""
    token = backstage.user_token(
        ALICE, sub="user:Default/Alice", ent=["user:default/alice", "group:default/LiteLLM-Users"]
    )
    assert await setup.tokens.verify(token) == Caller(ALICE, frozenset({ALICE, MEMBERS}))


async def test_missing_ownership_is_fetched(setup: Setup, backstage: BackstageStandIn) -> None:
    """`auth.omitIdentityTokenOwnershipClaim`: userinfo answers it."""
    assert await setup.tokens.verify(backstage.user_token(ALICE, ent=None)) == Caller(
        ALICE, frozenset({ALICE, MEMBERS})
    )


async def test_a_plugin_token_on_behalf_of_a_user(setup: Setup, backstage: BackstageStandIn) -> None:
    """The user is the caller, with the ownership from userinfo, and `via` is the plugin."""
    token = backstage.plugin_token(backstage.limited_token(ALICE))
    assert await setup.tokens.verify(token) == Caller(ALICE, frozenset({ALICE, MEMBERS}), via="plugin:tokens")


async def test_a_plugin_token_of_its_own_is_a_service_without_a_role(setup: Setup, backstage: BackstageStandIn) -> None:
    """It is known, and owns nothing."""
    assert await setup.tokens.verify(backstage.plugin_token()) == Caller("plugin:tokens")


async def test_a_service_token(setup: Setup) -> None:
    """It has the subject and role of the settings; one that differs by a letter is no token at all."""
    assert await setup.tokens.verify(SERVICE.token) == Caller("service:ci", service_role="member")
    await refused(setup, SERVICE.token + "4")


async def test_a_verified_token_is_remembered_until_it_ends(
    setup: Setup, backstage: BackstageStandIn, clock: Clock
) -> None:
    """No second question to Backstage; a minute of leeway after `exp`, and no more."""
    token = backstage.user_token(ALICE, ent=None)
    await setup.tokens.verify(token)
    clock.advance(3600 + 59)
    await setup.tokens.verify(token)
    assert setup.asked(USERINFO) == 1
    clock.advance(1)
    assert await refused(setup, token) == "The token has expired"


async def test_a_token_that_comes_late_has_the_same_leeway(
    setup: Setup, backstage: BackstageStandIn, clock: Clock
) -> None:
    """Clocks differ: what ended within the last minute is accepted, also for the first time."""
    first, second = backstage.user_token(ALICE), backstage.user_token(BOB)
    clock.advance(3600 + 59)
    assert (await setup.tokens.verify(first)).subject == ALICE
    clock.advance(1)
    assert await refused(setup, second) == "The token has expired"


async def test_each_check_is_counted_by_its_result(setup: Setup, backstage: BackstageStandIn) -> None:
    """The metric's labels: alerts and the dashboard ask for them."""
    token = backstage.user_token(ALICE)
    await setup.tokens.verify(token)
    await setup.tokens.verify(token)
    await setup.tokens.verify(SERVICE.token)
    await refused(setup, "nothing")
    setup.transport.answers[USERINFO] = respond(503)
    with pytest.raises(UpstreamFaultError):
        await setup.tokens.verify(backstage.user_token(BOB, ent=None))
    assert setup.results == ["accepted", "cached", "service", "refused", "unknown"]


async def test_a_token_with_half_a_character_is_refused(setup: Setup) -> None:
    """A lone surrogate is no text, and no reason to fail."""
    assert await refused(setup, "a.\udc80.c") == "The token is not a Backstage token"


async def test_an_on_behalf_of_token_ends_with_the_limited_token_in_it(
    setup: Setup, backstage: BackstageStandIn, clock: Clock
) -> None:
    """The plugin's own token may last longer; the user's word does not."""
    limited = backstage.limited_token(ALICE, exp=int(clock()) + 10)
    token = backstage.plugin_token(limited)
    await setup.tokens.verify(token)
    clock.advance(71)
    assert await refused(setup, token) == "The token has expired"


@pytest.mark.parametrize(
    "forge",
    [
        forged(lambda header, claims: claims.update(sub=BOB)),
        forged(lambda header, claims: claims["ent"].append("group:default/admins")),
        forged(lambda header, claims: header.update(alg="none")),
        forged(lambda header, claims: header.update(alg="HS256")),
        forged(lambda header, claims: header.update(kid="another")),
        forged(lambda header, claims: header.update(kid=5)),
        forged(lambda header, claims: header.pop("kid")),
        forged(lambda header, claims: header.update(typ="JWT")),
        forged(lambda header, claims: header.pop("typ")),
        forged(lambda header, claims: header.update(typ="vnd.backstage.plugin")),
        forged(lambda header, claims: header.update(crit=["exp"])),
        lambda token: token.rpartition(".")[0] + ".",
        lambda token: token.rpartition(".")[0],
        lambda token: token + ".x",
        lambda token: token[:-4] + "AAAA",
        lambda token: "[]." + token,
        lambda token: "W10." + token.partition(".")[2],
        lambda token: "not-a-token",
        lambda token: "é" * 10,
        lambda token: "..",
        lambda token: "x" * 20_000,
        lambda token: "W" * 15_000 + ".e30.x",
        lambda token: base64.urlsafe_b64encode(b"[" * 10_000).decode() + ".e30.x",
    ],
)
async def test_forged_and_malformed_tokens_are_refused(
    setup: Setup, backstage: BackstageStandIn, forge: Callable[[str], str]
) -> None:
    """Nothing but what Backstage signed, as it signed it."""
    await refused(setup, forge(backstage.user_token(ALICE)))


async def test_a_token_that_is_too_long(setup: Setup) -> None:
    """Above 16 KiB it is not even looked at."""
    assert await refused(setup, "x" * 16_384) == "The token is not a Backstage token"
    assert await refused(setup, "x" * 16_385) == "The token is too long for a Backstage token"


@pytest.mark.parametrize("make", [lambda backstage: backstage.user_token(ALICE), on_behalf_of_alice])
async def test_a_copy_of_a_remembered_token_with_another_signature(
    setup: Setup, backstage: BackstageStandIn, make: Callable[[BackstageStandIn], str]
) -> None:
    """It is refused although the genuine one is known, and does not take its place: the genuine one still works."""
    token, signature_of_another = make(backstage), backstage.user_token(BOB).split(".")[2]
    caller = await setup.tokens.verify(token)
    content, _, signature = token.rpartition(".")
    for forgery in ("", "A" * len(signature), signature_of_another, signature[::-1]):
        await refused(setup, f"{content}.{forgery}")
    assert (await setup.tokens.verify(token), setup.tokens.cached_tokens) == (caller, 1)


@pytest.mark.parametrize(
    ("claims", "says"),
    [
        ({"aud": "another-plugin"}, "The token is invalid"),
        ({"aud": None}, "The token is invalid"),
        ({"exp": 1_700_000_000}, "The token has expired"),
        ({"exp": None}, "The token is invalid"),
        ({"exp": "tomorrow"}, "The token is invalid"),
        ({"sub": None}, "The token is invalid"),
        ({"sub": "group:default/admins"}, "The token's sub is not a user entity ref"),
        ({"sub": "user:default/alice\n"}, "The token's sub is not a user entity ref"),
        ({"sub": 5}, "The token is invalid"),
        ({"ent": "group:default/admins"}, "The token's ent is not a list of entity refs"),
        ({"ent": [5]}, "The token's ent is not a list of entity refs"),
    ],
)
async def test_genuine_tokens_with_the_wrong_claims_are_refused(
    setup: Setup, backstage: BackstageStandIn, claims: dict[str, Any], says: str
) -> None:
    """Signed by Backstage, and still not for us."""
    assert await refused(setup, backstage.user_token(ALICE, **claims)) == says


async def test_the_issuer_is_checked_where_it_is_configured(backstage: BackstageStandIn, clock: Clock) -> None:
    """`litellmOrchestrator.backstage.issuer`."""
    configured = Setup(backstage, clock, issuer=f"{BASE_URL}/api/auth")
    assert (await configured.tokens.verify(backstage.user_token(ALICE))).subject == ALICE
    await refused(configured, backstage.user_token(ALICE, iss="https://elsewhere"))
    await refused(configured, backstage.user_token(ALICE, iss=None))


async def test_a_limited_token_alone_is_refused(setup: Setup, backstage: BackstageStandIn) -> None:
    """It is a cookie's worth of trust: Backstage's plugins refuse it too."""
    assert "limited user token" in await refused(setup, backstage.limited_token(ALICE))


@pytest.mark.parametrize(
    "make",
    [
        lambda backstage: backstage.plugin_token(backstage.user_token(ALICE)),
        lambda backstage: backstage.plugin_token(backstage.limited_token(ALICE, exp=1)),
        lambda backstage: backstage.plugin_token(backstage.limited_token(ALICE) + "x"),
        lambda backstage: backstage.plugin_token(5),
        lambda backstage: backstage.plugin_token(""),
        lambda backstage: backstage.plugin_token("not a token"),
        lambda backstage: backstage.plugin_token(aud="catalog"),
        lambda backstage: backstage.plugin_token(sub="../../auth"),
        lambda backstage: backstage.plugin_token(sub="auth/.well-known"),
        lambda backstage: backstage.plugin_token(sub="no-such-plugin"),
        lambda backstage: backstage.plugin_token(sub=5),
    ],
)
async def test_invalid_plugin_tokens_are_refused(
    setup: Setup, backstage: BackstageStandIn, make: Callable[[BackstageStandIn], str]
) -> None:
    """The plugin's word and the user's are both checked, and no URL is built from a strange plugin id."""
    await refused(setup, make(backstage))
    assert {request.url.path for request in setup.transport.seen} <= {
        JWKS,
        PLUGIN_JWKS,
        "/api/no-such-plugin/.backstage/auth/v1/jwks.json",
    }


@pytest.mark.parametrize(
    "make", [lambda backstage: backstage.user_token(ALICE, ent=None), on_behalf_of_alice], ids=["user", "obo"]
)
async def test_a_token_that_backstage_itself_does_not_accept(
    setup: Setup, backstage: BackstageStandIn, make: Callable[[BackstageStandIn], str]
) -> None:
    """That is the caller's own credential, so it is theirs to renew; also if Backstage's database was emptied."""
    backstage.has_user_info = False
    assert "sign in again" in await refused(setup, make(backstage))
    body = {"error": {"name": "AuthenticationError", "message": "Illegal token"}}
    setup.transport.answers[USERINFO] = respond(401, json=body)
    assert await refused(setup, make(backstage)) == "Backstage does not accept the token"


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(500),
        httpx.Response(401),
        httpx.Response(401, text="<h1>401 Authorization Required</h1>"),
        httpx.Response(401, json={"error": "AuthenticationError"}),
        httpx.Response(403, text="<h1>403 Forbidden</h1>"),
        httpx.Response(403, json={"error": {"name": "AuthenticationError"}}),
        httpx.Response(404),
        httpx.Response(404, text="<p>User info not found</p>"),
        httpx.Response(404, json={"error": {"name": "NotFoundError", "message": "User info not found"}}),
        httpx.Response(500, text="User info not found"),
        httpx.Response(200, text="User info not found"),
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json={"claims": {"sub": BOB, "ent": []}}),
        httpx.Response(200, json={"claims": {"sub": ALICE}}),
        httpx.Response(200, json={"claims": {"ent": []}}),
    ],
)
async def test_unexpected_answers_of_userinfo(
    setup: Setup, backstage: BackstageStandIn, answer: httpx.Response
) -> None:
    """An unexpected response, or one about another user: the upstream is at fault, and the caller is not let in."""
    setup.transport.answers[USERINFO] = lambda _: answer
    with pytest.raises(UpstreamFaultError):
        await setup.tokens.verify(backstage.user_token(ALICE, ent=None))


async def test_only_allowed_plugins_may_call(backstage: BackstageStandIn, clock: Clock) -> None:
    """A plugin that is not in the list is refused before Backstage is asked anything."""
    strict = Setup(backstage, clock, plugins={"scaffolder"})
    assert await refused(strict, backstage.plugin_token()) == "The plugin tokens may not call this service"
    assert strict.transport.seen == []
    lenient = Setup(backstage, clock, plugins={"tokens"})
    assert await lenient.tokens.verify(backstage.plugin_token()) == Caller("plugin:tokens")
