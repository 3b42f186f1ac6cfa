"""Self-service for users and keys through the API, asserted on the requests that LiteLLM received."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from standalone.backstage import BackstageStandIn
from standalone.litellm import LiteLLMStandIn
from tests.conftest import (
    ALICE,
    BASE,
    BOB,
    CAROL,
    ERIN,
    SERVICE_TOKEN,
    Clock,
    MakeService,
    Service,
    keys_path,
    user_path,
)
from tests.support.upstreams import Overriding, Slow

DAVE = "user:default/dave"


async def mint(client: httpx.AsyncClient, owner: str) -> Any:
    response = await client.post(keys_path(owner))
    assert response.status_code == 201
    return response.json()


@pytest.mark.parametrize("first", ["get", "keys", "post"])
async def test_a_members_first_request_creates_their_user(
    alice: httpx.AsyncClient, litellm: LiteLLMStandIn, first: str
) -> None:
    """With the defaults, whichever request comes first."""
    requests = {
        "get": alice.get(user_path(ALICE)),
        "keys": alice.get(keys_path(ALICE)),
        "post": alice.post(keys_path(ALICE)),
    }
    assert (await requests.pop(first)).status_code in (200, 201)
    for unused in requests.values():
        unused.close()
    row = litellm.rows.users[ALICE]
    assert (row["max_budget"], row["budget_duration"], row["user_role"]) == (100.0, "30d", "internal_user")


async def test_an_admins_first_request_for_themselves_creates_their_user(
    bob: httpx.AsyncClient, litellm: LiteLLMStandIn
) -> None:
    """An admin needs no membership."""
    assert (await bob.get(user_path(BOB))).json()["userId"] == BOB
    assert list(litellm.rows.users) == [BOB]


async def test_an_admin_acting_for_others_creates_nobody(bob: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """Neither the other user nor the admin's own."""
    for response in [
        await bob.get(user_path(ALICE)),
        await bob.get(keys_path(ALICE)),
        await bob.post(keys_path(ALICE)),
        await bob.delete(keys_path(ALICE, "0" * 64)),
    ]:
        assert response.status_code == 404
    assert litellm.rows.users == {}
    assert litellm.rows.keys == {}


async def test_creating_oneself_is_201_then_409(alice: httpx.AsyncClient) -> None:
    """`POST /users` does not create the user on first use, or it would always be a 409."""
    created = await alice.post(f"{BASE}/users", json={"userId": ALICE})
    assert created.status_code == 201
    assert created.json() == {
        "userId": ALICE,
        "kind": "user",
        "entityUid": None,
        "createdAt": created.json()["createdAt"],
        "maxBudget": 100.0,
        "budgetDuration": "30d",
        "spend": 0.0,
        "models": [],
        "tpmLimit": None,
        "rpmLimit": None,
        "tier": "userDefaults",
    }
    assert (await alice.post(f"{BASE}/users", json={"userId": ALICE})).status_code == 409


async def test_an_admin_creates_others(bob: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """In lower case, however they are written."""
    assert (await bob.post(f"{BASE}/users", json={"userId": "User:Default/Dave"})).json()["userId"] == DAVE
    assert list(litellm.rows.users) == [DAVE]


async def test_refs_compare_without_case(service: Service, litellm: LiteLLMStandIn) -> None:
    """Erin.Mixed has upper-case letters in the catalog."""
    erin = service.signed_in("user:default/Erin.Mixed")
    assert (await erin.get(user_path("User:default/Erin.Mixed"))).json()["userId"] == ERIN
    assert (await mint(erin, "user:Default/ERIN.mixed"))["userId"] == ERIN
    assert list(litellm.rows.users) == [ERIN]


async def test_fifty_first_requests_at_once_create_one_user(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """One `/user/new`, whatever the concurrency."""
    alice = make_service(ports={"litellm": Slow(litellm)}).signed_in(ALICE)
    responses = await asyncio.gather(*(alice.get(keys_path(ALICE)) for _ in range(50)))
    assert {response.status_code for response in responses} == {200}
    assert litellm.requests.count("POST /user/new") == 1


async def test_a_user_that_another_replica_created_is_accepted(
    make_service: MakeService, litellm: LiteLLMStandIn
) -> None:
    """LiteLLM's 409 on creation on first use is success."""
    replica = Overriding(httpx.ASGITransport(litellm.app), {})

    def missing_once(request: httpx.Request) -> httpx.Response:
        litellm.rows.add_user({"user_id": ALICE, "max_budget": 7.0})
        replica.answers.clear()
        return httpx.Response(404, json={"error": {"message": "User not found"}})

    replica.answers["/v2/user/info"] = missing_once
    assert (await make_service(ports={"litellm": replica}).signed_in(ALICE).get(user_path(ALICE))).json()[
        "maxBudget"
    ] == 7.0


async def test_the_usual_request_costs_one_call(
    alice: httpx.AsyncClient, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """A user who was seen is cached for a while, and then checked again."""
    await alice.get(keys_path(ALICE))
    litellm.requests.clear()
    await alice.get(keys_path(ALICE))
    assert litellm.requests == ["GET /key/list"]
    litellm.requests.clear()
    clock.advance(301)
    await alice.get(keys_path(ALICE))
    assert litellm.requests == ["GET /v2/user/info", "GET /key/list"]


async def test_a_key_is_created_listed_and_deleted(alice: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """The secret is only in the first response, which no cache may store."""
    response = await alice.post(keys_path(ALICE), json={})
    assert response.headers["cache-control"] == "no-store"
    key = response.json()
    listed = await alice.get(keys_path(ALICE))
    assert [row["token"] for row in listed.json()["keys"]] == [key["keyId"]]
    assert key["keySecret"] not in listed.text
    assert (await alice.delete(keys_path(ALICE, key["keyId"]))).status_code == 204
    assert (await alice.delete(keys_path(ALICE, key["keyId"]))).status_code == 404
    assert litellm.rows.keys == {}


async def test_another_persons_key_is_a_404_and_stays(
    alice: httpx.AsyncClient, bob: httpx.AsyncClient, litellm: LiteLLMStandIn
) -> None:
    """For every caller and on every user's path; LiteLLM receives no deletion."""
    bobs = (await mint(bob, BOB))["keyId"]
    alices = (await mint(alice, ALICE))["keyId"]
    assert (await alice.delete(keys_path(ALICE, bobs))).status_code == 404
    assert (await bob.delete(keys_path(BOB, alices))).status_code == 404
    assert (await alice.delete(keys_path(BOB, bobs))).status_code == 403
    assert "POST /key/delete" not in litellm.requests
    assert set(litellm.rows.keys) == {alices, bobs}


async def test_an_admin_acts_for_a_member(alice: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    """All that the member could do."""
    key = await mint(alice, ALICE)
    assert (await bob.get(user_path(ALICE))).json()["userId"] == ALICE
    assert (await mint(bob, ALICE))["userId"] == ALICE
    assert len((await bob.get(keys_path(ALICE))).json()["keys"]) == 2
    assert (await bob.delete(keys_path(ALICE, key["keyId"]))).status_code == 204


async def test_carol_is_refused_everything(carol: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """Her own resources and those of others; LiteLLM receives nothing."""
    for owner in (CAROL, ALICE):
        for response in [
            await carol.get(user_path(owner)),
            await carol.get(keys_path(owner)),
            await carol.post(keys_path(owner)),
            await carol.delete(keys_path(owner, "0" * 64)),
            await carol.post(f"{BASE}/users", json={"userId": owner}),
        ]:
            assert response.status_code == 403
    assert litellm.requests == []


async def test_a_member_cannot_access_other_users(alice: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """Reading included."""
    for response in [
        await alice.get(user_path(BOB)),
        await alice.get(keys_path(BOB)),
        await alice.post(keys_path(BOB)),
        await alice.post(f"{BASE}/users", json={"userId": BOB}),
    ]:
        assert response.status_code == 403
    assert litellm.requests == []


async def test_service_and_plugin_callers(
    service: Service, backstage: BackstageStandIn, litellm: LiteLLMStandIn
) -> None:
    """A service token has its role; a plugin acts for a user or has no role."""
    assert (await service.client(SERVICE_TOKEN).post(f"{BASE}/users", json={"userId": ALICE})).status_code == 201
    on_behalf = service.client(backstage.plugin_token(backstage.limited_token(ALICE)))
    assert (await on_behalf.get(user_path(ALICE))).json()["userId"] == ALICE
    assert (await service.client(backstage.plugin_token()).get(user_path(ALICE))).status_code == 403
    assert list(litellm.rows.users) == [ALICE]


async def test_a_user_deleted_during_a_creation_by_an_admin_leaves_no_orphan(
    make_service: MakeService, litellm: LiteLLMStandIn
) -> None:
    """Afterwards LiteLLM keeps no key without an owner."""
    litellm.rows.add_user({"user_id": ALICE})
    racing = Overriding(httpx.ASGITransport(litellm.app), {})

    def mint_after_deletion(_: httpx.Request) -> httpx.Response:
        litellm.rows.delete_user(ALICE)
        row, secret = litellm.rows.add_key({"user_id": ALICE})
        return httpx.Response(200, json=row | {"key": secret})

    racing.answers["/key/generate"] = mint_after_deletion
    service = make_service(ports={"litellm": racing})
    created = await service.signed_in(BOB).post(keys_path(ALICE))
    assert list(litellm.rows.keys) == [created.json()["keyId"]]
    await service.run_background_jobs()
    assert litellm.rows.keys == {}


async def off_board(bob: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    assert (await bob.delete(user_path(ALICE))).status_code == 200


async def delete_elsewhere(bob: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """In LiteLLM itself; bob is the first to notice."""
    litellm.rows.delete_user(ALICE)
    assert (await bob.post(keys_path(ALICE))).status_code == 404


@pytest.mark.parametrize("remove", [off_board, delete_elsewhere])
async def test_a_user_who_was_removed_is_created_again_before_their_next_key(
    alice: httpx.AsyncClient,
    bob: httpx.AsyncClient,
    litellm: LiteLLMStandIn,
    remove: Callable[[httpx.AsyncClient, LiteLLMStandIn], Awaitable[None]],
) -> None:
    """Alice was here a moment ago: that she had a user then says nothing any more, and no key is nobody's."""
    await mint(alice, ALICE)
    await remove(bob, litellm)
    assert litellm.rows.users == {}
    created = await mint(alice, ALICE)
    assert litellm.rows.users[ALICE]["max_budget"] == 100.0
    assert list(litellm.rows.keys) == [created["keyId"]]


async def test_who_was_deleted_elsewhere_is_created_again_when_they_look(
    alice: httpx.AsyncClient, litellm: LiteLLMStandIn
) -> None:
    """In LiteLLM itself, and nobody has noticed: alice was here a moment ago."""
    assert (await alice.get(user_path(ALICE))).status_code == 200
    litellm.rows.delete_user(ALICE)
    assert (await alice.get(user_path(ALICE))).status_code == 200
    assert list(litellm.rows.users) == [ALICE]


async def test_a_litellm_that_contradicts_itself_is_a_fault(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """It confirms the user and then does not have them."""
    lying = Overriding(httpx.ASGITransport(litellm.app), {"/user/new": lambda _: httpx.Response(409, json={})})
    assert (await make_service(ports={"litellm": lying}).signed_in(ALICE).get(user_path(ALICE))).status_code == 502


async def test_orphaned_keys_can_be_seen_and_deleted_by_an_admin(
    bob: httpx.AsyncClient, litellm: LiteLLMStandIn
) -> None:
    """LiteLLM cannot remove them itself."""
    row, _ = litellm.rows.add_key({"user_id": ALICE})
    assert [key["token"] for key in (await bob.get(keys_path(ALICE))).json()["keys"]] == [row["token"]]
    assert (await bob.delete(keys_path(ALICE, row["token"]))).status_code == 204


async def test_a_budget_of_zero_is_a_budget(service: Service, litellm: LiteLLMStandIn) -> None:
    """0 is a budget, null is none."""
    litellm.rows.add_user({"user_id": ALICE, "max_budget": 0})
    litellm.rows.add_user({"user_id": DAVE})
    bob = service.signed_in(BOB)
    assert (await bob.get(user_path(ALICE))).json()["maxBudget"] == 0
    assert (await bob.get(user_path(DAVE))).json()["maxBudget"] is None
