"""A kill at each step of an adoption: nothing is lost, nothing is doubled."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest

from app import Orchestrator
from domain.adoption import AdoptionOrder
from domain.identity import Principal, Role
from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BOB, Clock, MakeService
from tests.support.adoption import LIMITS, OLD, add_account, alice_was_there, is_alices, owners_of, planned
from tests.support.audit import events, nothing_is_open
from tests.support.keys import chat
from tests.support.kill_points import Killed, KillSwitch

_MOST_STEPS = 120
ADMIN = Principal(BOB, frozenset({Role.ADMIN}))


async def plan_hash_of(orchestrator: Orchestrator, *, delete_emptied: bool) -> str:
    """The hash of a dry run's plan."""
    adoption, order = orchestrator.adoption, AdoptionOrder(by_email=True, delete_emptied=delete_emptied)
    assert adoption is not None
    report = await adoption.plan(await adoption.begin(BOB, order, None))
    assert report.plan is not None
    return report.plan.hash


async def run_until_killed(orchestrator: Orchestrator, plan_hash: str, *, delete_emptied: bool) -> bool:
    """A run of a process that is killed, perhaps. Returns whether it was."""
    order = AdoptionOrder(by_email=True, delete_emptied=delete_emptied, plan_hash=plan_hash)
    adoption = orchestrator.adoption
    assert adoption is not None
    try:
        held = await adoption.take(order)
        report = await adoption.run(held, await adoption.begin(BOB, order, held), ADMIN)
    except Killed:
        return True
    assert report.outcome == "done"
    return False


@pytest.mark.parametrize("during", [False, True], ids=["before a request", "after LiteLLM did it"])
@pytest.mark.parametrize("ending", ["it is repaired", "another run follows"])
@pytest.mark.parametrize(
    ("exists", "delete_emptied"), [(False, True), (True, False)], ids=["a new user", "a user who exists"]
)
async def test_killed_at_every_step(
    make_service: MakeService,
    litellm: LiteLLMStandIn,
    clock: Clock,
    *,
    during: bool,
    ending: str,
    exists: bool,
    delete_emptied: bool,
) -> None:
    """At each moment the secrets work; afterwards all is alice's, once, whichever process goes on."""
    service = make_service()
    orchestrator = Orchestrator(service.settings, service.ports)
    for step in range(_MOST_STEPS):
        litellm.rows.users.clear()
        litellm.rows.keys.clear()
        secrets = alice_was_there(litellm)
        if exists:
            add_account(litellm, ALICE, spend=1.0, **LIMITS)
        plan_hash = await plan_hash_of(orchestrator, delete_emptied=delete_emptied)
        kill_switch = KillSwitch(litellm.app, step, during=during)
        dying = Orchestrator(service.settings, replace(service.ports, litellm=kill_switch))
        with kill_switch.watching():
            was_killed = await run_until_killed(dying, plan_hash, delete_emptied=delete_emptied)
        await dying.foundation.aclose()
        assert [await chat(litellm, secret) for secret in secrets.values()] == [200, 200, 401], step
        spend = sum(row["spend"] for row in litellm.rows.keys.values())
        expected = pytest.approx(3.5 + spend + exists)
        clock.advance(62)
        if ending == "it is repaired":
            clock.advance(301)
            await service.run_background_jobs()
            assert owners_of(litellm, secrets) in ({ALICE}, {OLD}), f"half is done after step {step}"
        if owners_of(litellm, secrets) != {ALICE} or (OLD in litellm.rows.users) is delete_emptied:
            again = await plan_hash_of(orchestrator, delete_emptied=delete_emptied)
            assert not await run_until_killed(orchestrator, again, delete_emptied=delete_emptied)
        assert is_alices(litellm, secrets, spend=expected) == [], step
        assert (OLD in litellm.rows.users) is not delete_emptied
        clock.advance(301)
        await service.run_background_jobs()
        await nothing_is_open(service)
        assert is_alices(litellm, secrets, spend=expected) == [], step
        if not was_killed:
            assert step == ((4 if during else 21) if exists else (6 if during else 24))
            await orchestrator.aclose()
            return
    pytest.fail("an adoption never came to its end")


async def test_killed_before_the_limits_are_those_of_the_account(
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """LiteLLM's own defaults filled in what was not limited; the repair takes that away again."""
    secrets = add_account(litellm, keys=1, spend=1.0)
    litellm.policy.user_defaults = {"max_budget": 2.0, "budget_duration": "7d", "models": ["gpt-other"]}
    plain = make_service()
    bob = plain.signed_in(BOB)
    plan_hash = (await planned(bob))["plan"]["hash"]

    class Dying(httpx.ASGITransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.path == "/user/update":
                raise Killed
            return await super().handle_async_request(request)

    dying = make_service(ports={"litellm": Dying(litellm.app)})
    orchestrator = Orchestrator(dying.settings, dying.ports)
    assert await run_until_killed(orchestrator, plan_hash, delete_emptied=False)
    await orchestrator.foundation.aclose()
    assert litellm.rows.users[ALICE]["max_budget"] == 2.0
    clock.advance(400)
    await plain.run_background_jobs()
    user = litellm.rows.users[ALICE]
    assert (user["max_budget"], user["budget_duration"], user["models"]) == (None, None, ["all-proxy-models"])
    assert (owners_of(litellm, secrets), user["spend"]) == ({ALICE}, 1.0)


async def test_an_adoption_that_was_never_begun(
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """Killed before LiteLLM was changed: its repair changes nothing either, and says so."""
    secrets = alice_was_there(litellm)
    plain = make_service()
    bob = plain.signed_in(BOB)
    plan_hash = (await planned(bob, deleteEmptied=True))["plan"]["hash"]

    class Dying(httpx.ASGITransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.method == "POST":
                raise Killed
            return await super().handle_async_request(request)

    dying = make_service(ports={"litellm": Dying(litellm.app)})
    orchestrator = Orchestrator(dying.settings, dying.ports)
    assert await run_until_killed(orchestrator, plan_hash, delete_emptied=True)
    await orchestrator.foundation.aclose()
    clock.advance(400)
    await plain.run_background_jobs()
    (event,) = await events(bob, action="user.adopt")
    assert (event["outcome"], event["after"]) == ("reconciled", {"adopted": False})
    assert (owners_of(litellm, secrets), [*litellm.rows.users]) == ({OLD}, [OLD])
