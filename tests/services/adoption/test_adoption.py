"""Adopting: whose limits, spend and keys they are afterwards."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from standalone.backstage import BackstageStandIn
from standalone.catalog import MEMBERS
from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BASE, BOB, Clock, MakeService, Service, keys_path, user_path
from tests.support.adoption import (
    LIMITS,
    OLD,
    add_account,
    adopted,
    alice_was_there,
    is_alices,
    owners_of,
    planned,
)
from tests.support.audit import events
from tests.support.keys import chat
from tests.support.upstreams import Overriding

MIXED = "User:Default/Erin.Mixed"
ERIN = "user:default/erin.mixed"
NOTE = {"from": OLD, "spend": 3.5}


async def test_limits_spend_and_keys_are_kept(bob: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """Under the ref: each secret works as before, what was blocked stays so, and the old user stays, emptied."""
    secrets = alice_was_there(litellm)
    report = await adopted(bob)
    assert (report["outcome"], report["reason"]) == ("done", None)
    assert report["done"]["adopted"] == [
        {"userId": ALICE, "account": OLD, "keys": 3, "deleted": False, "keptBecause": None}
    ]
    assert is_alices(litellm, secrets) == []
    assert [await chat(litellm, secret) for secret in secrets.values()] == [200, 200, 401]
    user = litellm.rows.users[ALICE]
    assert user["metadata"] == {"cost": "42", "litellm_orchestrator": {"email": "ALICE@example.com", "adopted": NOTE}}
    assert (user["user_email"], user["user_role"], OLD in litellm.rows.users) == (None, "internal_user", True)


async def test_she_finds_what_she_had(service: Service, bob: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """Lists and pages of this service show it under her ref, at once."""
    secrets = alice_was_there(litellm)
    await bob.get(f"{BASE}/users")
    await adopted(bob)
    alice = service.signed_in(ALICE)
    assert {row["token"] for row in (await alice.get(keys_path(ALICE))).json()["keys"]} == secrets.keys()
    user = (await alice.get(user_path(ALICE))).json()
    assert (user["maxBudget"], user["spend"]) == (10, 3.5)
    assert [row["userId"] for row in (await bob.get(f"{BASE}/users")).json()["users"]] == [ALICE]


async def test_an_emptied_user_is_deleted_only_where_asked(bob: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """Then the address is free, and hers."""
    secrets = alice_was_there(litellm)
    report = await adopted(bob, deleteEmptied=True)
    assert [(row["keys"], row["deleted"]) for row in report["done"]["adopted"]] == [(3, True)]
    assert [*litellm.rows.users] == [ALICE]
    assert litellm.rows.users[ALICE]["user_email"] == "ALICE@example.com"
    assert "email" not in litellm.rows.users[ALICE]["metadata"]["litellm_orchestrator"]
    assert is_alices(litellm, secrets) == []


async def test_it_can_be_deleted_later(bob: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """A second adoption of the same person moves nothing, counts nothing twice, and deletes the old user."""
    secrets = alice_was_there(litellm)
    await adopted(bob)
    assert (await planned(bob))["plan"]["entries"] == []
    report = await adopted(bob, deleteEmptied=True)
    assert [(row["keys"], row["deleted"]) for row in report["done"]["adopted"]] == [(0, True)]
    assert is_alices(litellm, secrets) == []


async def test_a_user_in_a_team_is_not_deleted(bob: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """LiteLLM would take them out of it. The report says why, and the next plan has nothing to do."""
    secrets = alice_was_there(litellm)
    litellm.rows.users[OLD]["teams"] = ["search"]
    report = await adopted(bob, deleteEmptied=True)
    assert [(row["deleted"], row["keptBecause"]) for row in report["done"]["adopted"]] == [(False, "it is in a team")]
    assert (await planned(bob, deleteEmptied=True))["plan"]["entries"] == []
    assert is_alices(litellm, secrets) == []


async def test_keys_that_were_made_later_follow(bob: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """And what the old user has spent since is added; nothing is added twice."""
    secrets = alice_was_there(litellm)
    await adopted(bob)
    row, secret = litellm.rows.add_key({"user_id": OLD})
    litellm.rows.users[OLD]["spend"] = 4.0
    litellm.rows.users[ALICE]["spend"] = 5.0
    report = await adopted(bob)
    assert [row["keys"] for row in report["done"]["adopted"]] == [1]
    assert owners_of(litellm, secrets | {row["token"]: secret}) == {ALICE}
    assert litellm.rows.users[ALICE]["spend"] == 5.5
    litellm.rows.add_key({"user_id": OLD})
    litellm.rows.users[OLD]["spend"] = 0.25  # its budget was reset
    await adopted(bob)
    assert litellm.rows.users[ALICE]["spend"] == 5.75


async def test_what_litellm_writes_late_is_counted(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """The old user's spend grows while the keys are moved: LiteLLM writes it some seconds after the call."""
    secrets = alice_was_there(litellm)
    wire = Overriding(httpx.ASGITransport(litellm.app), {})
    bob = make_service(ports={"litellm": wire}).signed_in(BOB)
    plan_hash = (await planned(bob))["plan"]["hash"]

    def spend_and_move(request: httpx.Request) -> httpx.Response:
        litellm.rows.users[OLD]["spend"] += 0.5
        asked = json.loads(request.content)
        return httpx.Response(200, json=litellm.rows.update_key(asked["key"], asked))

    wire.answers["/key/update"] = spend_and_move
    await adopted(bob, plan_hash)
    assert is_alices(litellm, secrets, spend=5.0) == []


async def test_a_user_of_the_ref_with_equal_limits(bob: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """Who has no key yet is taken as they are: both spends are theirs, and what restricted one of the two."""
    secrets = alice_was_there(litellm)
    litellm.rows.users[OLD]["user_role"] = "internal_user_viewer"
    add_account(litellm, ALICE, spend=1.0, metadata={"mine": 1, "litellm_orchestrator": {"tier": "t"}}, **LIMITS)
    await adopted(bob)
    assert is_alices(litellm, secrets, spend=4.5) == []
    assert litellm.rows.users[ALICE]["metadata"] == {
        "mine": 1, "cost": "42", "litellm_orchestrator": {"tier": "t", "adopted": NOTE},
    }  # fmt: skip
    assert litellm.rows.users[ALICE]["user_role"] == "internal_user_viewer"


async def test_no_limit_stays_none(bob: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """Even where LiteLLM's own configuration fills in what a new user lacks."""
    litellm.policy.user_defaults = {"max_budget": 1.0, "models": ["gpt-other"], "budget_duration": "7d"}
    add_account(litellm, keys=1)
    assert (await adopted(bob))["outcome"] == "done"
    user = (await bob.get(user_path(ALICE))).json()
    assert (user["maxBudget"], user["models"]) == (None, [])


async def test_a_budget_of_nothing_is_a_budget(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """It stays 0, also where LiteLLM at first makes something else of the new user's limits."""
    add_account(litellm, keys=1, max_budget=0.0, rpm_limit=0)

    def create_with_others(request: httpx.Request) -> httpx.Response:
        asked: dict[str, Any] = json.loads(request.content)
        assert (asked["max_budget"], asked["rpm_limit"]) == (0, 0)
        return httpx.Response(200, json=litellm.rows.add_user(asked | {"max_budget": 5.0, "rpm_limit": 7}))

    wire = Overriding(httpx.ASGITransport(litellm.app), {"/user/new": create_with_others})
    assert (await adopted(make_service(ports={"litellm": wire}).signed_in(BOB)))["outcome"] == "done"
    assert [litellm.rows.users[ALICE][name] for name in ("max_budget", "rpm_limit")] == [0, 0]


async def test_mixed_case_needs_no_address(bob: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """And is adopted whatever `by` is; an address is looked at only where it is asked for."""
    secrets = add_account(litellm, MIXED, keys=2, spend=1.0)
    add_account(litellm, OLD, keys=1)
    report = await adopted(bob, by="spelling")
    assert [(row["userId"], row["account"], row["keys"]) for row in report["done"]["adopted"]] == [(ERIN, MIXED, 2)]
    assert (owners_of(litellm, secrets), litellm.rows.users[ERIN]["spend"]) == ({ERIN}, 1.0)
    assert (report["plan"]["unmatched"], ALICE in litellm.rows.users) == (1, False)


async def test_it_is_in_the_audit_log(bob: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """One event for each user: who did it, what there was, what became of it."""
    secrets = alice_was_there(litellm)
    await adopted(bob)
    (event,) = await events(bob, action="user.adopt")
    assert (event["actor"], event["target"], event["outcome"]) == (BOB, ALICE, "done")
    assert event["requested"] == {"account": OLD, "keys": sorted(secrets), "deleteEmptied": False, "limits": LIMITS}
    assert event["before"] == {"account": OLD, "limits": LIMITS, "spend": 3.5}
    assert event["after"] == {"account": OLD, "keys": 3, "deleted": False, "limits": LIMITS, "spend": 3.5}


@pytest.mark.parametrize("change", ["a key more", "another limit", "a user of the ref with a key", "they left"])
async def test_only_the_confirmed_plan_is_executed(
    bob: httpx.AsyncClient, litellm: LiteLLMStandIn, backstage: BackstageStandIn, change: str
) -> None:
    """What changed since the dry run is a refusal, and nobody is adopted."""
    secrets = alice_was_there(litellm)
    plan_hash = (await planned(bob))["plan"]["hash"]
    if change == "a key more":
        litellm.rows.add_key({"user_id": OLD})
    elif change == "another limit":
        litellm.rows.users[OLD]["max_budget"] = 11.0
    elif change == "they left":
        backstage.org.users[ALICE] = set()
    else:
        add_account(litellm, ALICE, keys=1)
    report = await adopted(bob, plan_hash)
    assert (report["outcome"], report["done"], owners_of(litellm, secrets)) == ("refused", None, {OLD})
    assert "make a new dry run" in report["reason"]


CHANGED = "It changed since the plan was made; make a new one"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("a key more", CHANGED),
        ("another limit", CHANGED),
        ("a user of the ref", CHANGED),
        ("it is gone", CHANGED),
        ("a key in a team", "1 of its keys are in a team; take them out of it in LiteLLM, or delete them"),
    ],
)
async def test_what_changes_while_others_are_adopted(
    make_service: MakeService, litellm: LiteLLMStandIn, change: str, why: str
) -> None:
    """Each account is looked at again in its turn: one that is not as planned is left, and the others are adopted."""
    secrets, mixed = alice_was_there(litellm), add_account(litellm, MIXED, keys=1)

    def create_and_change(request: httpx.Request) -> httpx.Response:
        if change in ("a key more", "a key in a team"):
            litellm.rows.add_key({"user_id": MIXED} | ({"team_id": "search"} if change == "a key in a team" else {}))
        elif change == "another limit":
            litellm.rows.users[MIXED]["max_budget"] = 11.0
        elif change == "a user of the ref":
            add_account(litellm, ERIN)
        else:
            del litellm.rows.users[MIXED]
        return httpx.Response(200, json=litellm.rows.add_user(json.loads(request.content)))

    wire = Overriding(httpx.ASGITransport(litellm.app), {"/user/new": create_and_change})
    report = await adopted(make_service(ports={"litellm": wire}).signed_in(BOB))
    assert [row["userId"] for row in report["done"]["adopted"]] == [ALICE]
    assert (report["outcome"], report["done"]["failed"]) == ("failed", [{"userId": ERIN, "error": why}])
    assert (is_alices(litellm, secrets), owners_of(litellm, mixed)) == ([], {MIXED})


async def test_what_was_spent_meanwhile_is_no_change(bob: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """People go on working between a dry run and its confirmation."""
    secrets = alice_was_there(litellm)
    plan_hash = (await planned(bob))["plan"]["hash"]
    litellm.rows.users[OLD]["spend"] = 4.0
    assert (await adopted(bob, plan_hash))["outcome"] == "done"
    assert is_alices(litellm, secrets, spend=4.0) == []


async def test_other_options_are_another_plan(bob: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """A plan that was confirmed without deleting deletes nobody."""
    alice_was_there(litellm)
    plan_hash = (await planned(bob))["plan"]["hash"]
    assert (await adopted(bob, plan_hash, deleteEmptied=True))["outcome"] == "refused"
    assert [*litellm.rows.users] == [OLD]


async def test_a_failure_stops_no_other(make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock) -> None:
    """The report says who failed and why; a new dry run has exactly what is left."""
    secrets, mixed = alice_was_there(litellm), add_account(litellm, MIXED, keys=1)

    def refuse_alice(request: httpx.Request) -> httpx.Response:
        asked = json.loads(request.content)
        if asked["user_id"] == ALICE:
            return httpx.Response(500, json={"error": {"message": "no"}})
        return httpx.Response(200, json=litellm.rows.add_user(asked))

    failing = make_service(ports={"litellm": Overriding(httpx.ASGITransport(litellm.app), {"/user/new": refuse_alice})})
    report = await adopted(failing.signed_in(BOB))
    assert (report["outcome"], [row["userId"] for row in report["done"]["adopted"]]) == ("failed", [ERIN])
    assert [row["userId"] for row in report["done"]["failed"]] == [ALICE]
    assert (owners_of(litellm, secrets), owners_of(litellm, mixed)) == ({OLD}, {ERIN})
    plain = make_service().signed_in(BOB)
    assert [row["userId"] for row in (await planned(plain))["plan"]["entries"]] == [ALICE]
    assert (await adopted(plain))["outcome"] == "done"
    assert is_alices(litellm, secrets) == []


async def test_at_most_so_many_people(
    bob: httpx.AsyncClient, litellm: LiteLLMStandIn, backstage: BackstageStandIn
) -> None:
    """The first by their refs; the plan says how many are left, and the next one begins there."""
    for number in range(5):
        backstage.org.users[f"user:default/p{number}"] = {MEMBERS}
        add_account(litellm, f"User:default/P{number}", keys=1)
    first = await adopted(bob, limit=2)
    assert [row["userId"] for row in first["done"]["adopted"]] == ["user:default/p0", "user:default/p1"]
    assert first["plan"]["postponed"] == 3
    rest = await adopted(bob)
    assert [row["userId"] for row in rest["done"]["adopted"]] == [f"user:default/p{number}" for number in (2, 3, 4)]


async def test_keys_of_sign_ins_are_left(bob: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """LiteLLM makes them for its own pages, and old releases list them: they are no key in a team."""
    alice_was_there(litellm)
    litellm.lists_sessions = True
    session, _ = litellm.rows.add_key({"user_id": OLD, "team_id": "litellm-dashboard"})
    assert [row["keys"] for row in (await adopted(bob))["done"]["adopted"]] == [3]
    assert litellm.rows.keys[session["token"]]["user_id"] == OLD


async def test_a_key_that_is_deleted_meanwhile(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """Is no failure: it is gone, and the others are moved."""
    secrets = alice_was_there(litellm)
    wire = Overriding(httpx.ASGITransport(litellm.app), {})
    bob = make_service(ports={"litellm": wire}).signed_in(BOB)
    plan_hash = (await planned(bob))["plan"]["hash"]
    first = min(secrets)

    def move(request: httpx.Request) -> httpx.Response:
        asked: dict[str, Any] = json.loads(request.content)
        if asked["key"] == first:
            litellm.rows.delete_key(first)
            return httpx.Response(404, json={"error": {"message": "Key not found.", "code": "404"}})
        return httpx.Response(200, json=litellm.rows.update_key(asked["key"], asked))

    wire.answers["/key/update"] = move
    report = await adopted(bob, plan_hash)
    assert [row["keys"] for row in report["done"]["adopted"]] == [2]
    assert {row["user_id"] for row in litellm.rows.keys.values()} == {ALICE}


async def test_a_key_that_is_made_meanwhile(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """Is not deleted with the old user, which stays; the next run has it."""
    alice_was_there(litellm)
    wire = Overriding(httpx.ASGITransport(litellm.app), {})
    bob = make_service(ports={"litellm": wire}).signed_in(BOB)
    plan_hash = (await planned(bob, deleteEmptied=True))["plan"]["hash"]
    made: list[str] = []

    def move(request: httpx.Request) -> httpx.Response:
        if not made:
            made.append(litellm.rows.add_key({"user_id": OLD})[0]["token"])
        asked: dict[str, Any] = json.loads(request.content)
        return httpx.Response(200, json=litellm.rows.update_key(asked["key"], asked))

    wire.answers["/key/update"] = move
    report = await adopted(bob, plan_hash, deleteEmptied=True)
    assert [(row["keys"], row["deleted"], row["keptBecause"]) for row in report["done"]["adopted"]] == [
        (3, False, "it has keys that were not moved")
    ]
    assert litellm.rows.keys[made[0]]["user_id"] == OLD
    (left,) = (await adopted(bob, deleteEmptied=True))["done"]["adopted"]
    assert (left["keys"], left["deleted"], litellm.rows.keys[made[0]]["user_id"]) == (1, True, ALICE)


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, json={"user_id": OLD}),
        httpx.Response(500, json={"error": {"message": "no", "code": "500"}}),
    ],
    ids=["it says yes and moves nothing", "it fails"],
)
async def test_a_key_that_litellm_does_not_move(
    make_service: MakeService, litellm: LiteLLMStandIn, answer: httpx.Response
) -> None:
    """The user fails, and nothing is deleted, though it was asked for."""
    secrets = alice_was_there(litellm)
    wire = Overriding(httpx.ASGITransport(litellm.app), {"/key/update": lambda _: answer})
    report = await adopted(make_service(ports={"litellm": wire}).signed_in(BOB), deleteEmptied=True)
    assert ([row["userId"] for row in report["done"]["failed"]], owners_of(litellm, secrets)) == ([ALICE], {OLD})
    assert OLD in litellm.rows.users
