"""No key outlives the look for its owner, and no owner's key is lost to it."""

from __future__ import annotations

import asyncio
import io

import httpx
import pytest

from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BOB, Clock, MakeService, Service, keys_path
from tests.support.audit import events
from tests.support.upstreams import Answer, Gate, Overriding, respond

NAMED = {"Idempotency-Key": "one"}


async def test_a_key_for_a_user_who_was_deleted_meanwhile(service: Service, litellm: LiteLLMStandIn) -> None:
    """LiteLLM creates it; it is deleted with the answer that was kept, and the log says who did it."""
    alice = service.signed_in(ALICE)
    await alice.post(keys_path(ALICE))
    litellm.rows.delete_user(ALICE)
    created = await alice.post(keys_path(ALICE), headers=NAMED)
    assert (created.status_code, list(litellm.rows.keys)) == (201, [created.json()["keyId"]])
    await service.run_background_jobs()
    assert litellm.rows.keys == {}
    key_id = created.json()["keyId"]
    event = (await events(service.signed_in(BOB), action="key.revoke"))[0]
    assert (event["actor"], event["target"], event["keyId"]) == ("owner-check", ALICE, key_id)
    assert (event["requested"], event["after"]) == ({"because": "no such user"}, {"deleted": [key_id]})
    again = await alice.post(keys_path(ALICE), headers=NAMED)
    assert again.json()["keyId"] != created.json()["keyId"], "the answer named a key that is gone"


async def test_a_key_that_went_with_its_owner(
    service: Service, litellm: LiteLLMStandIn, clock: Clock, log: io.StringIO
) -> None:
    """Neither the log nor the audit log claims that this service deleted it, and nobody looks for it again."""
    await service.signed_in(ALICE).post(keys_path(ALICE))
    litellm.rows.delete_user(ALICE)
    assert litellm.rows.keys == {}
    for _ in range(2):
        await service.run_background_jobs()
        clock.advance(121)
    (event,) = await events(service.signed_in(BOB), action="key.revoke")
    assert event["after"] == {"deleted": []}
    assert "deleted a new key" not in log.getvalue()


async def test_a_rotation_for_a_user_who_was_deleted_meanwhile(service: Service, litellm: LiteLLMStandIn) -> None:
    """Its new key goes the same way."""
    alice = service.signed_in(ALICE)
    old = (await alice.post(keys_path(ALICE))).json()["keyId"]
    litellm.rows.users.pop(ALICE)
    rotated = await alice.post(f"{keys_path(ALICE, old)}/regenerate", json={})
    assert rotated.status_code == 201
    await service.run_background_jobs()
    assert litellm.rows.keys == {}


async def test_the_owners_of_a_hundred_keys_are_one_call(
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """And none for what was checked before."""
    service = make_service(creates_per_minute=1000)
    alice, bob = service.signed_in(ALICE), service.signed_in(BOB)
    for number in range(50):
        for client, owner in ((alice, ALICE), (bob, BOB)):
            assert (await client.post(keys_path(owner))).status_code == 201, number
    litellm.requests.clear()
    await service.run_background_jobs()
    assert (litellm.requests, len(litellm.rows.keys)) == (["GET /user/list"], 100)
    litellm.requests.clear()
    clock.advance(121)
    await service.run_background_jobs()
    assert litellm.requests == []


@pytest.mark.parametrize("answer", [respond(500, json={}), respond(200, json={"users": 7}), respond(404, json={})])
async def test_a_litellm_that_cannot_say(
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock, answer: Answer
) -> None:
    """Nothing is deleted, and it is asked again later."""
    unsure = Overriding(httpx.ASGITransport(litellm.app), {"/user/list": answer, "/v2/user/info": answer})
    service = make_service()
    await service.signed_in(ALICE).post(keys_path(ALICE))
    litellm.rows.users.pop(ALICE)
    asking = make_service(ports={"litellm": unsure})
    await asking.run_background_jobs()
    assert len(litellm.rows.keys) == 1
    unsure.answers.clear()
    clock.advance(121)
    await asking.run_background_jobs()
    assert litellm.rows.keys == {}


async def test_an_incomplete_list_deletes_nothing(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """A user that the list leaves out is asked for by name before anything is deleted."""
    empty = respond(200, json={"users": [], "total": 0, "page": 1, "page_size": 100, "total_pages": 0})
    service = make_service(ports={"litellm": Overriding(httpx.ASGITransport(litellm.app), {"/user/list": empty})})
    await make_service().signed_in(ALICE).post(keys_path(ALICE))
    await service.run_background_jobs()
    assert len(litellm.rows.keys) == 1


async def test_a_user_who_is_created_again_meanwhile(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """Keeps the key."""
    service = make_service()
    alice = service.signed_in(ALICE)
    await alice.post(keys_path(ALICE))
    gone = litellm.rows.users.pop(ALICE)
    gate = Gate(litellm, "/user/list", after=True)
    checking = asyncio.create_task(make_service(ports={"litellm": gate}).run_background_jobs())
    await gate.reached.wait()
    litellm.rows.users[ALICE] = gone
    gate.open.set()
    await checking
    assert len(litellm.rows.keys) == 1


async def test_a_mistyped_owner(service: Service, litellm: LiteLLMStandIn) -> None:
    """An admin's key for nobody is refused before LiteLLM makes it."""
    refused = await service.signed_in(BOB).post(keys_path("user:default/alcie"))
    assert (refused.status_code, "POST /key/generate" in litellm.requests) == (404, False)
