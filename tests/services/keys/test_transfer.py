"""Giving a key another owner."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from domain.owners import OwnerEntry
from domain.users import Tier
from standalone.backstage import BackstageStandIn
from standalone.catalog import MEMBERS
from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BASE, Clock, MakeService, Service, keys_path
from tests.support.audit import nothing_is_open
from tests.support.keys import id_of, made, signed_in_there
from tests.support.kill_points import Killed, KillSwitch
from tests.support.requests import ended

_MOST_STEPS = 80
DAVE, CHECKOUT, ASSISTANT = "user:default/dave", "component:default/checkout", "component:default/assistant"


@pytest.fixture
def dave(service: Service) -> httpx.AsyncClient:
    """A member of team-a, which owns checkout."""
    return service.signed_in(DAVE)


async def transfer(caller: httpx.AsyncClient, owner: str, key_id: str, to: str, **options: Any) -> httpx.Response:
    return await caller.post(f"{keys_path(owner, key_id)}/transfer", json={"owner": to}, **options)


async def test_a_team_moves_a_key_from_a_person_to_its_component(
    dave: httpx.AsyncClient, litellm: LiteLLMStandIn
) -> None:
    """The secret and all properties stay; only the lists and the budget are another's."""
    key = await made(dave, DAVE, alias="ci", maxBudget=5)
    before = dict(litellm.rows.keys[key])
    moved = await transfer(dave, DAVE, key, CHECKOUT)
    assert (moved.status_code, moved.json()["user_id"], moved.json()["key_alias"]) == (200, CHECKOUT, "ci")
    assert litellm.rows.keys[key] == before | {"user_id": CHECKOUT}
    assert (await dave.get(keys_path(DAVE))).json()["keys"] == []
    assert [row["token"] for row in (await dave.get(keys_path(CHECKOUT))).json()["keys"]] == [key]


async def test_by_its_id_the_newest_version_moves_with_its_history(dave: httpx.AsyncClient) -> None:
    """The id stays, who made the versions is known to the new owner too, and the next one has the next number."""
    key = await made(dave, DAVE)
    await dave.post(f"{keys_path(DAVE, id_of(key))}/regenerate", json={})
    moved = await transfer(dave, DAVE, id_of(key), CHECKOUT)
    assert (moved.status_code, moved.json()["id"], moved.json()["version"]) == (200, id_of(key), 2)
    rotated = await dave.post(f"{keys_path(CHECKOUT, id_of(key))}/regenerate", json={})
    assert (rotated.json()["id"], rotated.json()["version"]) == (id_of(key), 3)
    known = (await dave.get(f"{keys_path(CHECKOUT, id_of(key))}/versions")).json()["versions"]
    assert [(row["version"], row["createdBy"], row["isRecorded"]) for row in known] == [
        (number, DAVE, True) for number in (3, 2, 1)
    ]


async def test_both_owners_audit_logs_say_it(dave: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    """From whom to whom, and by whom."""
    key = await made(dave, DAVE)
    await transfer(dave, DAVE, key, CHECKOUT)
    events = (await bob.get(f"{BASE}/audit", params={"action": "key.transfer"})).json()["events"]
    said = {(row["target"], row["actor"], row["before"]["owner"], row["after"]["owner"]) for row in events}
    assert said == {(owner, DAVE, DAVE, CHECKOUT) for owner in (DAVE, CHECKOUT)}


@pytest.mark.parametrize(("owner", "to"), [(DAVE, ALICE), (DAVE, "component:default/abandoned"), (CHECKOUT, ALICE)])
async def test_it_takes_managing_both(dave: httpx.AsyncClient, alice: httpx.AsyncClient, owner: str, to: str) -> None:
    """A person gives a key to nobody else, and a manager gives none of a component's to another person."""
    key = await made(dave, owner)
    assert (await transfer(dave, owner, key, to)).status_code == 403
    assert (await transfer(alice, owner, key, MEMBERS)).status_code == 403


async def test_an_admin_gives_any_key_to_any_owner(dave: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    """But not to a person whom LiteLLM does not have."""
    key = await made(dave, DAVE)
    assert (await transfer(bob, DAVE, key, CHECKOUT)).status_code == 200
    assert (await transfer(bob, CHECKOUT, key, ALICE)).status_code == 404


async def test_the_new_owners_tier_applies(make_service: MakeService) -> None:
    """Its limits, its longest life, its number of keys and its aliases."""
    tier = Tier(max_budget=10, max_keys=1, max_key_life=3600)
    service = make_service(owners=(OwnerEntry("component", ("spec.type=service",), None, tier),))
    dave = service.signed_in(DAVE)
    refusals = {}
    for name, asked in {
        "budget": {"maxBudget": 11, "expiresIn": 60},
        "no end": {"maxBudget": 1},
        "too long": {"expiresIn": 7200},
    }.items():
        key = await made(dave, DAVE, **asked)
        refusals[name] = (await transfer(dave, DAVE, key, CHECKOUT)).status_code
    assert refusals == {"budget": 403, "no end": 403, "too long": 403}
    await made(dave, CHECKOUT)
    key = await made(dave, DAVE, expiresIn=60)
    assert (await transfer(dave, DAVE, key, CHECKOUT)).status_code == 409


async def test_a_taken_alias_is_a_conflict(dave: httpx.AsyncClient) -> None:
    """Aliases name keys of one owner."""
    await made(dave, CHECKOUT, alias="ci")
    key = await made(dave, DAVE, alias="ci")
    assert (await transfer(dave, DAVE, key, CHECKOUT)).status_code == 409


@pytest.mark.parametrize("which", ["old", "new"])
async def test_not_in_the_overlap_of_a_rotation(dave: httpx.AsyncClient, which: str) -> None:
    """Neither the key that ends nor the one that replaced it."""
    old = await made(dave, DAVE)
    new = (await dave.post(f"{keys_path(DAVE, old)}/regenerate", json={"overlap": 60})).json()
    key_id = {"old": old, "new": new["keyId"]}[which]
    refused = await transfer(dave, DAVE, key_id, CHECKOUT)
    assert (refused.status_code, "overlap" in refused.text) == (409, True)


async def test_not_to_itself(dave: httpx.AsyncClient) -> None:
    """A 409 that says so."""
    key = await made(dave, DAVE)
    assert (await transfer(dave, DAVE, key, DAVE)).status_code == 409


async def test_another_version_of_the_key_is_a_412(dave: httpx.AsyncClient) -> None:
    """`If-Match` is compared under the lock."""
    key = await made(dave, DAVE)
    refused = await transfer(dave, DAVE, key, CHECKOUT, headers={"If-Match": f'"{"0" * 32}"'})
    assert refused.status_code == 412


async def test_a_refusal_leaves_no_trace_but_itself(
    dave: httpx.AsyncClient, bob: httpx.AsyncClient, litellm: LiteLLMStandIn
) -> None:
    """The new owner gets no user for nothing, and no second event; the refusal is about the owner that it is for."""
    key = await made(dave, DAVE)
    await transfer(dave, DAVE, key, CHECKOUT, headers={"If-Match": f'"{"0" * 32}"'})
    assert CHECKOUT not in litellm.rows.users
    refused = await transfer(dave, DAVE, key, "component:default/abandoned")
    assert "component:default/abandoned may have no keys" in refused.json()["error"]["message"]
    its = await made(dave, ASSISTANT)
    await transfer(dave, ASSISTANT, its, ALICE)
    events = (await bob.get(f"{BASE}/audit", params={"action": "key.transfer"})).json()["events"]
    said = [(row["target"], row["outcome"]) for row in events]
    assert said == [(ALICE, "denied"), ("component:default/abandoned", "denied"), (DAVE, "failed")]


async def test_a_sign_in_stays_whose_it_is(dave: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """It is no key of a program."""
    litellm.lists_sessions = True
    await made(dave, DAVE)
    session, _ = signed_in_there(litellm, DAVE)
    assert (await transfer(dave, DAVE, session, CHECKOUT)).status_code == 409


async def test_a_key_whose_new_owner_is_gone_is_deleted(
    service: Service, dave: httpx.AsyncClient, litellm: LiteLLMStandIn
) -> None:
    """LiteLLM gives keys to users that it does not have: looked for afterwards."""
    key = await made(dave, DAVE)
    assert (await transfer(dave, DAVE, key, CHECKOUT)).status_code == 200
    del litellm.rows.users[CHECKOUT]
    await service.run_background_jobs()
    assert key not in litellm.rows.keys


async def test_nobody_transfers_while_an_owner_is_being_off_boarded(
    service: Service, dave: httpx.AsyncClient, bob: httpx.AsyncClient, backstage: BackstageStandIn
) -> None:
    """A key would escape with it."""
    key, its = await made(dave, DAVE), await made(dave, CHECKOUT)
    await made(dave, MEMBERS)
    del backstage.org.components[CHECKOUT]
    plan = (await bob.post(f"{BASE}/cleanup", json={"dryRun": True})).json()["plan"]
    assert [(row["userId"], row["action"]) for row in plan["entries"]] == [(CHECKOUT, "block")]
    assert (await bob.post(f"{BASE}/cleanup", json={"dryRun": False})).status_code == 202
    await ended(bob)
    refused = await transfer(bob, DAVE, key, CHECKOUT)
    assert (refused.status_code, "off-boarded" in refused.text) == (409, True)
    refused = await transfer(bob, CHECKOUT, its, DAVE)
    assert (refused.status_code, "off-boarded" in refused.text) == (409, True)


async def test_two_transfers_against_each_other_do_not_wait_for_ever(dave: httpx.AsyncClient) -> None:
    """Both owners are locked in one order."""
    mine, its = await made(dave, DAVE), await made(dave, CHECKOUT)
    answers = await asyncio.gather(transfer(dave, DAVE, mine, CHECKOUT), transfer(dave, CHECKOUT, its, DAVE))
    assert [answer.status_code for answer in answers] == [200, 200]


@pytest.mark.parametrize("during", [False, True], ids=["before a request", "after LiteLLM did it"])
async def test_killed_at_every_step(
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock, *, during: bool
) -> None:
    """The key has one owner and works; the audit log of both is closed by reconciliation, and nothing was doubled."""
    plain = make_service(changes_per_minute=100_000, creates_per_minute=100_000)
    for step in range(_MOST_STEPS):
        dave = plain.signed_in(DAVE)
        key_id = await made(dave, DAVE)
        litellm.rows.users.pop(CHECKOUT, None)  # created by the transfer
        kill_switch = KillSwitch(litellm.app, step, during=during)
        killed = make_service(ports={"litellm": kill_switch}).signed_in(DAVE)
        try:
            with kill_switch.watching():
                answer = await transfer(killed, DAVE, key_id, CHECKOUT)
        except Killed:
            clock.advance(301)
            await plain.run_background_jobs()
            assert litellm.rows.keys[key_id]["user_id"] in (DAVE, CHECKOUT), f"after step {step}"
            await nothing_is_open(plain)
            owner = litellm.rows.keys[key_id]["user_id"]
            assert (await dave.delete(keys_path(owner, key_id))).status_code == 204
        else:
            assert (answer.status_code, step) == (200, 2 if during else 8)
            return
    pytest.fail("a transfer never came to its end")
