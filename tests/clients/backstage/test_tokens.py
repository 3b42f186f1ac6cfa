"""Who is calling: genuine tokens are accepted, and nothing else is."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Collection
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey

from clients.backstage.tokens import TokenVerifier
from clients.upstream import Upstream
from domain.errors import AuthenticationError, UpstreamError, UpstreamFaultError, UpstreamUnavailableError
from domain.identity import PLUGIN_ID, Caller
from settings.model import ServiceToken, Timeouts
from standalone.backstage import BASE_URL, BackstageStandIn
from tests.conftest import ALICE, BOB, Clock, no_sleep
from tests.support.upstreams import Overriding, refuse

JWKS = "/api/auth/.well-known/jwks.json"
PLUGIN_JWKS = "/api/tokens/.backstage/auth/v1/jwks.json"
USERINFO = "/api/auth/v1/userinfo"
SERVICE = ServiceToken("service-token-0123", "service:ci", "member")
MEMBERS = "group:default/litellm-users"


class Setup:
    def __init__(
        self,
        backstage: BackstageStandIn,
        clock: Clock,
        issuer: str | None = None,
        plugins: Collection[str] | None = None,
    ) -> None:
        self.transport = Overriding(httpx.ASGITransport(backstage.app), {})
        upstream = Upstream("Backstage", BASE_URL, timeouts=Timeouts(), transport=self.transport, sleep=no_sleep)
        self.tokens = TokenVerifier(upstream, issuer=issuer, service_tokens=[SERVICE], plugins=plugins, now=clock)

    def asked(self, path: str) -> int:
        return sum(request.url.path == path for request in self.transport.seen)


@pytest.fixture
def setup(backstage: BackstageStandIn, clock: Clock) -> Setup:
    return Setup(backstage, clock)


async def refused(setup: Setup, token: str) -> str:
    with pytest.raises(AuthenticationError) as raised:
        await setup.tokens.verify(token)
    return raised.value.message


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
    clock.advance(2)
    assert await refused(setup, token) == "The token has expired"


async def test_an_on_behalf_of_token_ends_with_the_limited_token_in_it(
    setup: Setup, backstage: BackstageStandIn, clock: Clock
) -> None:
    """The plugin's own token may last longer; the user's word does not."""
    limited = backstage.limited_token(ALICE, exp=int(clock()) + 10)
    token = backstage.plugin_token(limited)
    await setup.tokens.verify(token)
    clock.advance(71)
    assert await refused(setup, token) == "The token has expired"


def forged(alter: Callable[[dict[str, Any], dict[str, Any]], None]) -> Callable[[str], str]:
    """A token with its header or claims altered and its signature kept."""

    def forge(token: str) -> str:
        parts = token.split(".")
        header, claims = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in parts[:2])
        alter(header, claims)
        encoded = [
            base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, claims)
        ]
        return ".".join([*encoded, parts[2]])

    return forge


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


async def test_the_keys_of_a_missing_plugin_are_fetched_once(
    setup: Setup, backstage: BackstageStandIn, clock: Clock
) -> None:
    """Made-up plugin ids cause no further requests."""
    for _ in range(5):
        await refused(setup, backstage.plugin_token(sub="made-up"))
    assert setup.asked("/api/made-up/.backstage/auth/v1/jwks.json") == 1


async def test_unavailable_plugin_keys_are_not_the_callers_fault(setup: Setup, backstage: BackstageStandIn) -> None:
    """A 500 from Backstage is no reason to send a caller away as not signed in."""
    setup.transport.answers[PLUGIN_JWKS] = lambda _: httpx.Response(500)
    with pytest.raises(UpstreamFaultError):
        await setup.tokens.verify(backstage.plugin_token())


async def test_a_key_of_the_wrong_kind_does_not_verify(setup: Setup, backstage: BackstageStandIn) -> None:
    """Public keys used as HMAC secrets, and RSA or malformed rows in the set."""
    public = ECKey.generate_key("P-256", {"kid": "k"}).as_dict(private=False)
    rows = [
        public,
        {"kty": "RSA", "kid": "r", "n": "AQAB", "e": "AQAB"},
        {"kty": "EC", "kid": "broken"},
        "text",
        {"kty": "EC"},
    ]
    setup.transport.answers[JWKS] = lambda _: httpx.Response(200, json={"keys": rows})
    header = {"alg": "HS256", "typ": "vnd.backstage.user", "kid": "k"}
    token = jwt.encode(
        header, {"sub": ALICE, "aud": "backstage", "exp": 2_000_000_000}, OctKey.import_key(json.dumps(public))
    )
    assert await refused(setup, token) == "The token's header is not that of a Backstage token"


async def test_keys_rotate(setup: Setup, backstage: BackstageStandIn, clock: Clock) -> None:
    """An unknown kid causes one more fetch, at most every ten seconds."""
    await setup.tokens.verify(backstage.user_token(ALICE))
    backstage.rotate_keys()
    clock.advance(1)
    rotated = backstage.user_token(BOB)
    assert "does not publish" in await refused(setup, rotated)
    assert setup.asked(JWKS) == 1
    clock.advance(10)
    assert (await setup.tokens.verify(rotated)).subject == BOB
    assert setup.asked(JWKS) == 2
    await refused(setup, forged(lambda header, _: header.update(kid="unknown"))(rotated))
    assert setup.asked(JWKS) == 2


async def test_the_last_good_keys_survive_an_outage(setup: Setup, backstage: BackstageStandIn, clock: Clock) -> None:
    """Also past their age; the next fetch is tried again later, and finds them gone stale or not."""
    await setup.tokens.verify(backstage.user_token(ALICE))
    setup.transport.answers[JWKS] = lambda _: httpx.Response(500)
    clock.advance(601)
    assert (await setup.tokens.verify(backstage.user_token(BOB))).subject == BOB
    await setup.tokens.require_keys()
    asked = setup.asked(JWKS)
    clock.advance(1)
    assert (await setup.tokens.verify(backstage.user_token(ALICE))).subject == ALICE
    assert setup.asked(JWKS) == asked


@pytest.mark.parametrize(
    "answer", [httpx.Response(200, text="<html>"), httpx.Response(200, json={}), httpx.Response(404)]
)
async def test_without_any_keys_it_is_our_fault_and_not_the_callers(
    setup: Setup, backstage: BackstageStandIn, answer: httpx.Response
) -> None:
    """Never a 401, which would sign the user out; and the next request works."""
    setup.transport.answers[JWKS] = lambda _: answer
    with pytest.raises(UpstreamFaultError):
        await setup.tokens.verify(backstage.user_token(ALICE))
    with pytest.raises(UpstreamError):
        await setup.tokens.require_keys()
    setup.transport.answers.clear()
    assert (await setup.tokens.verify(backstage.user_token(ALICE))).subject == ALICE


async def test_those_who_wait_for_the_first_keys_share_a_failure(setup: Setup, backstage: BackstageStandIn) -> None:
    """The last of a crowd waits no longer than the first. A later caller causes another fetch."""

    async def fail(_: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0)
        return httpx.Response(500)

    setup.transport._inner = httpx.MockTransport(fail)
    crowd = [setup.tokens.verify(backstage.user_token(ALICE)) for _ in range(50)]
    failures = await asyncio.gather(*crowd, return_exceptions=True)
    assert {type(failure) for failure in failures} == {UpstreamFaultError}
    assert setup.asked(JWKS) == 1
    with pytest.raises(UpstreamFaultError):
        await setup.tokens.verify(backstage.user_token(ALICE))
    assert setup.asked(JWKS) == 2


async def test_backstage_out_of_reach(setup: Setup, backstage: BackstageStandIn) -> None:
    """Without keys no token can be verified, and the error says so."""
    setup.transport.answers[JWKS] = refuse
    with pytest.raises(UpstreamUnavailableError):
        await setup.tokens.verify(backstage.user_token(ALICE))


@pytest.mark.parametrize("status", [401, 403])
async def test_userinfo_that_refuses_the_token(setup: Setup, backstage: BackstageStandIn, status: int) -> None:
    """That is the caller's own credential, so it is theirs to mend."""
    setup.transport.answers[USERINFO] = lambda _: httpx.Response(status)
    assert await refused(setup, backstage.user_token(ALICE, ent=None)) == "Backstage does not accept the token"


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(500),
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


async def flood(setup: Setup, backstage: BackstageStandIn, first: int, last: int) -> list[Exception]:
    """Verifies tokens of plugins that do not exist, each with another name."""
    errors: list[Exception] = []
    for number in range(first, last):
        with pytest.raises((AuthenticationError, UpstreamUnavailableError)) as raised:
            await setup.tokens.verify(backstage.plugin_token(sub=f"made-up-{number}"))
        errors.append(raised.value)
    return errors


async def test_made_up_plugins_share_a_budget(setup: Setup, backstage: BackstageStandIn, clock: Clock) -> None:
    """An unauthenticated caller cannot make this service call Backstage more than twenty times a minute."""
    errors = await flood(setup, backstage, 0, 500)
    assert len(setup.transport.seen) == 20
    assert [type(error) for error in errors] == [AuthenticationError] * 20 + [UpstreamUnavailableError] * 480
    clock.advance(61)
    await flood(setup, backstage, 500, 600)
    assert len(setup.transport.seen) == 40


async def test_made_up_plugins_do_not_displace_real_ones(
    setup: Setup, backstage: BackstageStandIn, clock: Clock
) -> None:
    """The keys of a plugin that has presented a valid token stay, and are refreshed outside of the budget."""
    real = backstage.plugin_token()
    await setup.tokens.verify(real)
    await flood(setup, backstage, 0, 300)
    assert await setup.tokens.verify(backstage.plugin_token(aud=PLUGIN_ID)) == Caller("plugin:tokens")
    assert setup.asked(PLUGIN_JWKS) == 1
    clock.advance(601)
    await flood(setup, backstage, 300, 330)
    assert await setup.tokens.verify(backstage.plugin_token()) == Caller("plugin:tokens")
    assert setup.asked(PLUGIN_JWKS) == 2


async def test_only_allowed_plugins_may_call(backstage: BackstageStandIn, clock: Clock) -> None:
    """A plugin that is not in the list is refused before Backstage is asked anything."""
    strict = Setup(backstage, clock, plugins={"scaffolder"})
    assert await refused(strict, backstage.plugin_token()) == "The plugin tokens may not call this service"
    assert strict.transport.seen == []
    lenient = Setup(backstage, clock, plugins={"tokens"})
    assert await lenient.tokens.verify(backstage.plugin_token()) == Caller("plugin:tokens")
