"""What an exchange meets on its way: an owner who leaves meanwhile, a key that nobody got, the end of a life."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest

from domain.users import Tier
from domain.workloads import KeyTerms, Match
from standalone.backstage import BackstageStandIn
from standalone.environment import CHECKOUT
from standalone.issuer import IssuerStandIn
from standalone.litellm import LiteLLMStandIn
from tests.conftest import BASE, BOB, Clock, MakeService, Service, user_path
from tests.services.tokens.test_exchange import NOT_ACCEPTED, given, ruled
from tests.support.audit import events, nothing_is_open
from tests.support.keys import chat
from tests.support.requests import ended, exchange
from tests.support.upstreams import Gate, Overriding, mint_and_lose


@dataclass(frozen=True)
class Minting:
    """An exchange that goes on when the gate opens."""

    task: asyncio.Task[httpx.Response]
    gate: Gate


@asynccontextmanager
async def being_made(
    make_service: MakeService, litellm: LiteLLMStandIn, issuer: IssuerStandIn
) -> AsyncIterator[Minting]:
    """A key that LiteLLM has made already, for whose answer the service waits, at most until the end of the block."""
    await given(make_service().client(), issuer.token(jti="first"))
    gate = Gate(litellm, "/key/generate", after=True)
    task = asyncio.create_task(exchange(make_service(ports={"litellm": gate}).client(), issuer.token()))
    await gate.reached.wait()
    try:
        yield Minting(task, gate)
    finally:
        gate.open.set()
        await asyncio.wait([task])


async def test_a_deletion_waits_for_it(
    make_service: MakeService, service: Service, litellm: LiteLLMStandIn, issuer: IssuerStandIn
) -> None:
    """And gives up in time; the key is deleted, because one that came later would never be found."""
    bob = service.signed_in(BOB)
    async with being_made(make_service, litellm, issuer) as minting:
        refused = await bob.delete(user_path(CHECKOUT))
        assert refused.status_code == 504, refused.text
        assert CHECKOUT in litellm.rows.users
    assert (minting.task.result().status_code, minting.task.result().json()) == (400, NOT_ACCEPTED)
    assert len(litellm.rows.keys) <= 1
    assert (await events(bob, action="key.mint"))[0]["outcome"] == "failed"
    assert (await bob.delete(user_path(CHECKOUT))).status_code == 200
    assert (litellm.rows.keys, CHECKOUT in litellm.rows.users) == ({}, False)


async def blocked(service: Service, backstage: BackstageStandIn) -> tuple[Any, Any]:
    """Who was blocked by a run after the owner has gone, and what failed."""
    bob = service.signed_in(BOB)
    backstage.org.components.pop(CHECKOUT, None)
    await bob.post(f"{BASE}/cleanup", json={"dryRun": False})
    report = (await ended(bob))["lastReport"]
    return report["done"]["blocked"], report["done"]["failed"]


async def test_a_block_waits_for_it(
    make_service: MakeService, backstage: BackstageStandIn, litellm: LiteLLMStandIn, issuer: IssuerStandIn
) -> None:
    """The first key is blocked, and the one that was being made is deleted."""
    async with being_made(make_service, litellm, issuer) as minting:

        async def until_it_ends(_: float) -> None:
            minting.gate.open.set()
            await asyncio.wait([minting.task])

        service = make_service(ports={"sleep": until_it_ends})
        assert await blocked(service, backstage) == ([CHECKOUT], [])
        assert minting.task.done()
    assert minting.task.result().json() == NOT_ACCEPTED
    assert [row["blocked"] for row in litellm.rows.keys.values()] == [True]
    await nothing_is_open(service)


async def test_a_block_finds_the_key_of_an_exchange_that_is_interrupted(
    make_service: MakeService, backstage: BackstageStandIn, litellm: LiteLLMStandIn, issuer: IssuerStandIn, clock: Clock
) -> None:
    """Its process dies, and LiteLLM makes the key all the same while the block waits: it is blocked, too."""
    async with being_made(make_service, litellm, issuer):

        async def until_it_is_known_to_be_dead(_: float) -> None:
            litellm.rows.add_key({"user_id": CHECKOUT})
            clock.advance(31)

        service = make_service(ports={"sleep": until_it_is_known_to_be_dead})
        assert await blocked(service, backstage) == ([CHECKOUT], [])
        assert [row["blocked"] for row in litellm.rows.keys.values()] == [True] * 3


async def test_a_block_that_waits_for_too_long(
    make_service: MakeService, backstage: BackstageStandIn, litellm: LiteLLMStandIn, issuer: IssuerStandIn
) -> None:
    """It waits for half a minute, since a process that died is known to be dead by then; the next run finds nothing.

    The keys that are there are blocked at once, and the report says what is not done.
    """
    waited: list[float] = []

    async def wait(seconds: float) -> None:
        waited.append(seconds)

    service = make_service(ports={"sleep": wait})
    async with being_made(make_service, litellm, issuer):
        done, failed = await blocked(service, backstage)
        assert (done, [row["userId"] for row in failed]) == ([], [CHECKOUT])
        assert "still being made" in failed[0]["error"]
        assert [row["blocked"] for row in litellm.rows.keys.values()] == [True, True]
        assert sum(waited) == pytest.approx(30)
    assert await blocked(service, backstage) == ([], [])
    await nothing_is_open(service)


async def test_a_key_whose_answer_was_lost(
    make_service: MakeService, litellm: LiteLLMStandIn, issuer: IssuerStandIn
) -> None:
    """Nobody has it: the same token gets another one at once, and it is deleted."""
    token = issuer.token()
    lossy = Overriding(httpx.ASGITransport(litellm.app), {"/key/generate": mint_and_lose(litellm)})
    assert (await exchange(make_service(ports={"litellm": lossy}).client(), token)).status_code == 503
    assert len(litellm.rows.keys) == 1
    await given(make_service().client(), token)
    assert len(litellm.rows.keys) == 1


async def test_a_token_that_ends_within_a_second(
    nobody: httpx.AsyncClient, issuer: IssuerStandIn, clock: Clock, litellm: LiteLLMStandIn
) -> None:
    """LiteLLM counts whole seconds, so there is no key that ends in time."""
    assert (await exchange(nobody, issuer.token(exp=clock() + 0.9))).json() == NOT_ACCEPTED
    assert litellm.rows.keys == {}
    assert (await given(nobody, issuer.token(exp=clock() + 1.1)))["expires_in"] == 1


async def test_a_key_that_is_about_to_end_is_not_given_again(
    make_service: MakeService, issuer: IssuerStandIn, clock: Clock
) -> None:
    """Within the minute of the same answer either."""
    client = ruled(make_service, key=KeyTerms(life=60)).client()
    token = issuer.token(exp=int(clock()) + 3600)
    first = await given(client, token)
    clock.advance(59.5)
    again = await given(client, token)
    assert (again["expires_in"], again["access_token"] == first["access_token"]) == (60, False)


async def test_a_key_whose_tier_ends_it_within_the_minute(
    make_service: MakeService, issuer: IssuerStandIn, clock: Clock
) -> None:
    """It is not given again once it has ended, nor just before."""
    (component, *others) = make_service().settings.owners
    brief = replace(component, tier=Tier(max_key_life=30))
    client = make_service(owners=(brief, *others)).client()
    token = issuer.token(exp=int(clock()) + 3600)
    first = await given(client, token)
    clock.advance(28)
    assert (await given(client, token))["access_token"] == first["access_token"]
    clock.advance(1.5)
    again = await given(client, token)
    assert (again["expires_in"], again["access_token"] == first["access_token"]) == (30, False)


async def test_a_rule_that_has_changed_since(make_service: MakeService, issuer: IssuerStandIn) -> None:
    """A repetition within a minute compares more claims now: it gets a key all the same."""
    token = issuer.token(ref="main")
    await given(make_service().client(), token)
    await given(ruled(make_service, match=Match(claims=((("ref",), "main"),))).client(), token)


async def test_one_token_for_two_rules(
    make_service: MakeService, issuer: IssuerStandIn, litellm: LiteLLMStandIn
) -> None:
    """Each gives a key of its own, as often as it is asked for."""
    workloads = make_service().settings.workloads
    (rule,) = workloads.rules
    rules = (rule, replace(rule, name="other"))
    client, token = make_service(workloads=replace(workloads, rules=rules)).client(), issuer.token()
    names = [rule.name, "other", rule.name, "other"]
    secrets = [(await exchange(client, token, client_id=name)).json()["access_token"] for name in names]
    assert (secrets[:2], len(set(secrets)), len(litellm.rows.keys)) == (secrets[2:], 2, 2)


async def test_an_owner_whom_litellm_has_no_more(
    nobody: httpx.AsyncClient, service: Service, issuer: IssuerStandIn, litellm: LiteLLMStandIn
) -> None:
    """An operator deleted it there: a key that was made for it goes, too."""
    await given(nobody, issuer.token(jti="first"))
    litellm.rows.delete_user(CHECKOUT)
    await exchange(nobody, issuer.token(jti="second"))
    await service.run_background_jobs()
    assert CHECKOUT in litellm.rows.users or litellm.rows.keys == {}


async def test_an_owner_that_was_deleted_and_is_back(
    make_service: MakeService, service: Service, issuer: IssuerStandIn, clock: Clock
) -> None:
    """By another process: this one knew the LiteLLM user a moment ago, and the first exchange makes it again."""
    client = make_service().client()
    await given(client, issuer.token(jti="before"))
    assert (await service.signed_in(BOB).delete(user_path(CHECKOUT))).status_code == 200
    clock.advance(11)
    await given(client, issuer.token(jti="after"))


async def test_the_keys_of_an_owner_that_was_deleted(
    nobody: httpx.AsyncClient, service: Service, issuer: IssuerStandIn, clock: Clock, litellm: LiteLLMStandIn
) -> None:
    """They are gone with it: none is given again, and none is in the way of new ones."""
    bob, token = service.signed_in(BOB), issuer.token()
    gone = (await given(nobody, token))["access_token"]
    assert (await bob.delete(user_path(CHECKOUT))).status_code == 200
    assert (await bob.get(f"{BASE}/workloads")).json()["rules"][0]["livingKeys"] == 0
    clock.advance(11)
    again = (await given(nobody, token))["access_token"]
    assert (again == gone, await chat(litellm, again)) == (False, 200)


@pytest.mark.parametrize(("after", "left"), [(301.5, 1), (302.5, 0)])
async def test_no_key_is_deleted_before_its_end(  # noqa: PLR0917
    nobody: httpx.AsyncClient, service: Service, issuer: IssuerStandIn, litellm: LiteLLMStandIn, clock: Clock,
    after: float, left: int,
) -> None:  # fmt: skip
    """LiteLLM's clock may be behind by two seconds."""
    await given(nobody, issuer.token())
    clock.advance(after)
    await service.run_background_jobs()
    assert len(litellm.rows.keys) == left


async def test_a_deletion_that_ended_meanwhile(
    make_service: MakeService, litellm: LiteLLMStandIn, issuer: IssuerStandIn
) -> None:
    """It had looked for keys before this one was begun, and nobody would find it any more."""
    await given(make_service().client(), issuer.token(jti="first"))
    deletes = Gate(litellm, "/user/delete", after=True)
    makes = Gate(litellm, "/key/generate", after=True)
    bob = make_service(ports={"litellm": deletes}).signed_in(BOB)
    deleting = asyncio.create_task(bob.delete(user_path(CHECKOUT)))
    await deletes.reached.wait()
    minting = asyncio.create_task(exchange(make_service(ports={"litellm": makes}).client(), issuer.token()))
    await asyncio.wait([minting, asyncio.create_task(makes.reached.wait())], return_when=asyncio.FIRST_COMPLETED)
    deletes.open.set()
    assert (await deleting).status_code == 200
    makes.open.set()
    assert (await minting).status_code in {400, 503}
    assert litellm.rows.keys == {}


async def test_a_process_that_hung_for_longer_than_its_lease(
    make_service: MakeService, service: Service, litellm: LiteLLMStandIn, issuer: IssuerStandIn, clock: Clock
) -> None:
    """A deletion did not wait for it, and has ended; the key that it goes on with is deleted."""
    async with being_made(make_service, litellm, issuer) as minting:
        clock.advance(31)
        assert (await service.signed_in(BOB).delete(user_path(CHECKOUT))).status_code == 200
    assert minting.task.result().status_code in {400, 503}
    assert litellm.rows.keys == {}
