"""The keys that Backstage signs with: they rotate while it is slow or down, and while somebody makes others up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx
import pytest

from clients.signing_keys import KeyNotReadYetError
from domain.errors import AuthenticationError, UpstreamError, UpstreamFaultError, UpstreamUnavailableError
from domain.identity import PLUGIN_ID, Caller
from standalone.backstage import BackstageStandIn
from tests.clients.backstage.conftest import JWKS, PLUGIN_JWKS, Setup, forged, on_behalf_of_alice, refused
from tests.conftest import ALICE, BOB, Clock
from tests.support.upstreams import hang, refuse, respond

MEMBERS = "group:default/litellm-users"
Make = Callable[[BackstageStandIn], str]
FAILURES = {
    "refused": refuse,
    "hangs": hang,
    "500": respond(500),
    "503": respond(503),
    "a page": respond(200, text="<p>"),
}


async def unknown_yet(setup: Setup, token: str) -> int:
    """The seconds after which to retry: nobody can tell yet whether `token` is genuine."""
    with pytest.raises(UpstreamUnavailableError) as raised:
        await setup.tokens.verify(token)
    return raised.value.retry_after


def made_up(backstage: BackstageStandIn, number: int = 0) -> str:
    """A user token of this moment with a `kid` that nobody publishes."""
    return forged(lambda header, _: header.update(kid=f"made-up-{number}"))(backstage.user_token(BOB))


async def outcome(setup: Setup, token: str) -> type:
    """Caller, or the error."""
    try:
        return type(await setup.tokens.verify(token))
    except (AuthenticationError, UpstreamUnavailableError) as error:
        return type(error)


def of_a_user(backstage: BackstageStandIn) -> str:
    return backstage.user_token(ALICE)


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize(
    ("make", "rotate", "path"),
    [
        (of_a_user, BackstageStandIn.rotate_keys, JWKS),
        (on_behalf_of_alice, BackstageStandIn.rotate_keys, JWKS),
        (on_behalf_of_alice, BackstageStandIn.rotate_plugin_keys, PLUGIN_JWKS),
    ],
    ids=["user", "obo", "plugin"],
)
async def test_a_rotation_while_backstage_does_not_tell_its_keys(  # noqa: PLR0917
    setup: Setup,
    backstage: BackstageStandIn,
    clock: Clock,
    make: Make,
    rotate: Callable[[BackstageStandIn], None],
    path: str,
    failure: str,
) -> None:
    """The new tokens are no fault of their holders: they wait, and work once Backstage tells; the old ones go on."""
    await setup.tokens.verify(make(backstage))
    known = backstage.user_token(BOB)
    clock.advance(20)
    rotate(backstage)
    setup.transport.answers[path] = FAILURES[failure]
    assert await unknown_yet(setup, make(backstage)) == 10
    clock.advance(3)
    asked = setup.asked(path)
    assert await unknown_yet(setup, make(backstage)) == 7
    assert (await setup.tokens.verify(known)).subject == BOB
    assert setup.asked(path) == asked
    setup.transport.answers.clear()
    clock.advance(7)
    assert (await setup.tokens.verify(make(backstage))).subject == ALICE


async def test_keys_rotate(setup: Setup, backstage: BackstageStandIn, clock: Clock) -> None:
    """An unknown kid causes one more fetch, ten seconds after the last one; until then its holder is told to wait."""
    await setup.tokens.verify(backstage.user_token(ALICE))
    backstage.rotate_keys()
    clock.advance(1)
    rotated = backstage.user_token(BOB)
    assert await unknown_yet(setup, rotated) == 9
    clock.advance(8.9)
    assert await unknown_yet(setup, rotated) == 1
    assert setup.asked(JWKS) == 1
    clock.advance(0.1)
    assert (await setup.tokens.verify(rotated)).subject == BOB
    assert setup.asked(JWKS) == 2


@pytest.mark.parametrize(("clock_difference", "is_older"), [(0, False), (-60, False), (-61, True), (60, False)])
async def test_a_token_that_is_older_than_the_known_keys(
    setup: Setup, backstage: BackstageStandIn, clock: Clock, clock_difference: int, *, is_older: bool
) -> None:
    """Its key would be among them: it is refused without another fetch, if Backstage's clock is right to a minute."""
    await setup.tokens.verify(backstage.user_token(ALICE))
    backstage.rotate_keys()
    token = backstage.user_token(BOB, iat=int(clock()) + clock_difference)
    if is_older:
        assert "does not publish" in await refused(setup, token)
    else:
        assert await unknown_yet(setup, token) == 10
    assert setup.asked(JWKS) == 1


@pytest.mark.parametrize("issued_at", [None, "now", float("nan")])
async def test_a_token_that_does_not_say_how_old_it_is(
    setup: Setup, backstage: BackstageStandIn, issued_at: object
) -> None:
    """Backstage's tokens say it, so nobody waits for a key of such a one."""
    await setup.tokens.verify(backstage.user_token(ALICE))
    undated = forged(lambda _, claims: claims.update(iat=issued_at))(made_up(backstage))
    assert "does not publish" in await refused(setup, undated)


async def test_a_key_that_backstage_does_not_publish(setup: Setup, backstage: BackstageStandIn) -> None:
    """It was asked after the token came: nothing is left to wait for."""
    assert "does not publish" in await refused(setup, made_up(backstage))


async def test_a_flood_of_made_up_keys_beside_a_rotation(
    setup: Setup, backstage: BackstageStandIn, clock: Clock
) -> None:
    """It costs a fetch in ten seconds, delays no known key, and hides a new one for ten seconds at most."""
    await setup.tokens.verify(backstage.user_token(ALICE))
    outcomes: list[type] = []
    for number in range(1000):
        clock.advance(0.1)
        await outcome(setup, made_up(backstage, number))
        asked = setup.asked(JWKS)
        if number == 512:
            backstage.rotate_keys()
        outcomes.append(await outcome(setup, backstage.user_token(ALICE, number=number)))
        assert setup.asked(JWKS) == asked
    assert outcomes[:512] == [Caller] * 512
    waited = outcomes.index(Caller, 512) - 512
    assert outcomes[512:] == [KeyNotReadYetError] * waited + [Caller] * (488 - waited)
    assert 0 < waited <= 100
    assert setup.asked(JWKS) <= 1 + 100 / 10


async def test_who_hangs_up_stops_no_fetch(setup: Setup, backstage: BackstageStandIn) -> None:
    """The others who wait for Backstage's slow answer get it, and it is asked for once."""
    setup.holding.held = {JWKS}
    first = asyncio.create_task(setup.tokens.verify(backstage.user_token(BOB)))
    await setup.holding.arrived.wait()
    others = [asyncio.create_task(setup.tokens.verify(backstage.user_token(ALICE))) for _ in range(50)]
    await asyncio.sleep(0)
    first.cancel()
    setup.holding.released.set()
    assert {caller.subject for caller in await asyncio.gather(*others)} == {ALICE}
    assert setup.asked(JWKS) == 1


async def test_a_rotation_while_a_slow_answer_is_on_its_way(
    setup: Setup, backstage: BackstageStandIn, clock: Clock
) -> None:
    """It was made before the new key, so it proves nothing; also if Backstage's clock is a minute behind ours."""
    setup.holding.held = {JWKS}
    before = asyncio.create_task(setup.tokens.verify(backstage.user_token(ALICE)))
    await setup.holding.arrived.wait()
    backstage.rotate_keys()
    clock.advance(4)
    after = asyncio.create_task(setup.tokens.verify(backstage.user_token(BOB, iat=int(clock()) - 59)))
    await asyncio.sleep(0)
    clock.advance(4)
    setup.holding.released.set()
    assert (await before).subject == ALICE
    with pytest.raises(UpstreamUnavailableError):
        await after
    clock.advance(4)
    assert await unknown_yet(setup, backstage.user_token(BOB)) == 6
    clock.advance(6)
    assert (await setup.tokens.verify(backstage.user_token(BOB))).subject == BOB


async def test_a_probe_only_watches(setup: Setup, backstage: BackstageStandIn, clock: Clock) -> None:
    """Whether it is answered, refused, or cancelled while it waits: the next token with a new key is fetched for."""
    await setup.tokens.verify(backstage.user_token(ALICE))
    for look in ("answered", "refused", "cancelled"):
        clock.advance(10)
        backstage.rotate_keys()
        if look == "answered":
            assert await setup.tokens.backstage_answers() is True
        elif look == "refused":
            setup.transport.answers[JWKS] = refuse
            with pytest.raises(UpstreamUnavailableError):
                await setup.tokens.backstage_answers()
            setup.transport.answers.clear()
        else:
            setup.holding.held = {JWKS}
            probe = asyncio.create_task(setup.tokens.backstage_answers())
            await setup.holding.arrived.wait()
            setup.holding.held = set()
        assert (await setup.tokens.verify(backstage.user_token(BOB))).subject == BOB
    probe.cancel()


async def test_a_clock_that_was_set_back(setup: Setup, backstage: BackstageStandIn, clock: Clock) -> None:
    """Keys are found as before, and not only when it is as late again."""
    await setup.tokens.verify(backstage.user_token(ALICE))
    clock.advance(-3600)
    backstage.rotate_keys()
    assert (await setup.tokens.verify(backstage.user_token(BOB))).subject == BOB


async def test_unavailable_plugin_keys_are_not_the_callers_fault(setup: Setup, backstage: BackstageStandIn) -> None:
    """A 500 from Backstage is no reason to send a caller away as not signed in."""
    setup.transport.answers[PLUGIN_JWKS] = lambda _: httpx.Response(500)
    with pytest.raises(UpstreamFaultError):
        await setup.tokens.verify(backstage.plugin_token())


async def test_the_last_good_keys_survive_an_outage(setup: Setup, backstage: BackstageStandIn, clock: Clock) -> None:
    """Also past their age; the next fetch is tried again later, and finds them gone stale or not."""
    await setup.tokens.verify(backstage.user_token(ALICE))
    setup.transport.answers[JWKS] = lambda _: httpx.Response(500)
    clock.advance(601)
    assert (await setup.tokens.verify(backstage.user_token(BOB))).subject == BOB
    await setup.tokens.algorithms()
    asked = setup.asked(JWKS)
    clock.advance(1)
    assert (await setup.tokens.verify(backstage.user_token(ALICE))).subject == ALICE
    assert setup.asked(JWKS) == asked


@pytest.mark.parametrize(
    "answer", [httpx.Response(200, text="<html>"), httpx.Response(200, json={}), httpx.Response(404)]
)
async def test_without_any_keys_it_is_our_fault_and_not_the_callers(
    setup: Setup, backstage: BackstageStandIn, clock: Clock, answer: httpx.Response
) -> None:
    """Never a 401, which would sign the user out; a second later the next request works."""
    setup.transport.answers[JWKS] = lambda _: answer
    with pytest.raises(UpstreamFaultError):
        await setup.tokens.verify(backstage.user_token(ALICE))
    with pytest.raises(UpstreamError):
        await setup.tokens.algorithms()
    setup.transport.answers.clear()
    clock.advance(1)
    assert (await setup.tokens.verify(backstage.user_token(ALICE))).subject == ALICE


async def test_those_who_wait_for_the_first_keys_share_a_failure(
    setup: Setup, backstage: BackstageStandIn, clock: Clock
) -> None:
    """The last of a crowd waits no longer than the first. A caller a second later causes another fetch."""

    async def fail(_: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0)
        return httpx.Response(500)

    setup.transport._inner = httpx.MockTransport(fail)
    crowd = [setup.tokens.verify(backstage.user_token(ALICE)) for _ in range(50)]
    failures = await asyncio.gather(*crowd, return_exceptions=True)
    assert {type(failure) for failure in failures} == {UpstreamFaultError}
    for seconds, fetches in ((0, 1), (0.9, 1), (0.1, 2)):
        clock.advance(seconds)
        with pytest.raises(UpstreamFaultError):
            await setup.tokens.verify(backstage.user_token(ALICE))
        assert setup.asked(JWKS) == fetches


async def test_backstage_out_of_reach(setup: Setup, backstage: BackstageStandIn) -> None:
    """Without keys no token can be verified, and the error says so."""
    setup.transport.answers[JWKS] = refuse
    with pytest.raises(UpstreamUnavailableError):
        await setup.tokens.verify(backstage.user_token(ALICE))


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
    clock.advance(60)
    await flood(setup, backstage, 500, 501)
    assert len(setup.transport.seen) == 20
    clock.advance(1)
    await flood(setup, backstage, 501, 600)
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


async def test_a_flood_while_the_keys_of_a_new_plugin_are_on_their_way(
    setup: Setup, backstage: BackstageStandIn
) -> None:
    """So many others are asked for meanwhile that it is not remembered as a new one: it may call all the same."""
    setup.holding.held = {PLUGIN_JWKS}
    calling = asyncio.create_task(setup.tokens.verify(backstage.plugin_token()))
    await setup.holding.arrived.wait()
    await flood(setup, backstage, 0, 300)
    setup.holding.released.set()
    assert await calling == Caller("plugin:tokens")


async def test_a_plugin_that_publishes_its_first_key_after_somebody_asked_for_it(
    setup: Setup, backstage: BackstageStandIn, clock: Clock
) -> None:
    """Who made up its token causes one fetch in ten seconds; the plugin itself waits that long and is no impostor."""
    setup.transport.answers[PLUGIN_JWKS] = respond(404)
    made_up_token = forged(lambda header, _: header.update(kid="made-up"))(backstage.plugin_token())
    await refused(setup, made_up_token)
    setup.transport.answers.clear()
    for _ in range(5):
        await unknown_yet(setup, made_up_token)
    assert await unknown_yet(setup, on_behalf_of_alice(backstage)) == 10
    assert setup.asked(PLUGIN_JWKS) == 1
    clock.advance(10)
    assert await setup.tokens.verify(on_behalf_of_alice(backstage)) == Caller(
        ALICE, frozenset({ALICE, MEMBERS}), via="plugin:tokens"
    )


async def test_a_plugin_that_is_missing_while_backstage_starts(
    setup: Setup, backstage: BackstageStandIn, clock: Clock
) -> None:
    """Its keys are known from before the restart, and go on verifying; a new one is a matter of waiting."""
    await setup.tokens.verify(on_behalf_of_alice(backstage))
    setup.transport.answers[PLUGIN_JWKS] = respond(404)
    clock.advance(601)
    assert (await setup.tokens.verify(on_behalf_of_alice(backstage))).subject == ALICE
    backstage.rotate_plugin_keys()
    clock.advance(10)
    assert await unknown_yet(setup, on_behalf_of_alice(backstage)) == 10
    assert setup.asked(PLUGIN_JWKS) == 3


async def test_made_up_plugins_do_not_keep_a_new_one_with_a_user_away(
    setup: Setup, backstage: BackstageStandIn
) -> None:
    """The flood used up what there is for plugins for which nobody vouches; the user's token vouches for this one."""
    await flood(setup, backstage, 0, 300)
    assert (await setup.tokens.verify(on_behalf_of_alice(backstage))).via == "plugin:tokens"
    another = BackstageStandIn(now=backstage._now)
    await unknown_yet(setup, backstage.plugin_token(another.limited_token(ALICE), sub="another"))
    assert setup.asked("/api/another/.backstage/auth/v1/jwks.json") == 0
