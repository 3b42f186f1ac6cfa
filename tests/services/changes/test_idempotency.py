"""Idempotency keys and rate limits of operations that create something."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from app import Ports
from services.changes.sealing import Sealing
from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BASE, BOB, SERVICE_TOKEN, Clock, MakeService, Service, keys_path
from tests.services.users.test_self_service import Slow
from tests.support.upstreams import Overriding

NAMED = {"Idempotency-Key": "8e03978e-40d5-43dd-bc93-6894a57f9324"}


async def test_a_repeated_request_gets_the_first_answer(alice: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """Including the secret. No body and an empty object are the same request."""
    first = await alice.post(keys_path(ALICE), headers=NAMED)
    again = await alice.post(keys_path(ALICE), json={}, headers=NAMED)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert len(litellm.rows.keys) == 1


@pytest.mark.parametrize("other", ["body", "path"])
async def test_another_request_with_the_same_key_is_refused(
    bob: httpx.AsyncClient, litellm: LiteLLMStandIn, other: str
) -> None:
    """422, and nothing is created."""
    for ref in (ALICE, BOB):
        litellm.rows.add_user({"user_id": ref})
    assert (await bob.post(keys_path(ALICE), json={"alias": "a"}, headers=NAMED)).status_code == 201
    path, body = (keys_path(ALICE), {"alias": "b"}) if other == "body" else (keys_path(BOB), {"alias": "a"})
    refused = await bob.post(path, json=body, headers=NAMED)
    assert (refused.status_code, refused.json()["error"]["name"]) == (422, "UnprocessableError")
    assert len(litellm.rows.keys) == 1


async def test_keys_of_different_callers_are_different_keys(
    alice: httpx.AsyncClient, bob: httpx.AsyncClient, litellm: LiteLLMStandIn
) -> None:
    """Alice's Idempotency-Keys mean nothing for bob."""
    hers = await alice.post(keys_path(ALICE), headers=NAMED)
    his = await bob.post(keys_path(BOB), headers=NAMED)
    assert hers.json()["keyId"] != his.json()["keyId"]
    assert len(litellm.rows.keys) == 2


async def test_fifty_concurrent_requests_create_one_key(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """One creates it; the others get a 409 or the same answer."""
    alice = make_service(ports={"litellm": Slow(litellm)}).signed_in(ALICE)
    answers = await asyncio.gather(*(alice.post(keys_path(ALICE), headers=NAMED) for _ in range(50)))
    made = [answer.json()["keyId"] for answer in answers if answer.status_code == 201]
    assert {answer.status_code for answer in answers} == {201, 409}
    assert set(made) == set(litellm.rows.keys)
    assert len(set(made)) == 1


async def test_a_key_is_forgotten_after_a_day(service: Service, litellm: LiteLLMStandIn, clock: Clock) -> None:
    """Then it belongs to a new request."""
    for later, keys in ((0, 1), (86_399, 1), (2, 2)):
        clock.advance(later)
        assert (await service.signed_in(ALICE).post(keys_path(ALICE), headers=NAMED)).status_code == 201
        assert len(litellm.rows.keys) == keys


async def test_a_refused_request_may_be_corrected_under_the_same_key(
    alice: httpx.AsyncClient, litellm: LiteLLMStandIn
) -> None:
    """Nothing was created, so nothing is kept."""
    await alice.post(keys_path(ALICE), json={"alias": "laptop"})
    refused = await alice.post(keys_path(ALICE), json={"alias": "laptop"}, headers=NAMED)
    corrected = await alice.post(keys_path(ALICE), json={"alias": "desktop"}, headers=NAMED)
    assert (refused.status_code, corrected.status_code) == (409, 201)


LOST: dict[str, Callable[[httpx.Response], httpx.Response]] = {
    "a timeout": lambda _: (_ for _ in ()).throw(httpx.ReadTimeout("lost")),
    "not JSON": lambda _: httpx.Response(200, html="<h1>"),
}


@pytest.mark.parametrize("lost", LOST)
async def test_a_lost_answer_does_not_create_a_second_key(
    make_service: MakeService, litellm: LiteLLMStandIn, lost: str
) -> None:
    """LiteLLM created the key but its response was lost: the repetition deletes that key and creates another."""
    inner = httpx.ASGITransport(litellm.app)
    flaky = Overriding(inner, {})

    def mint_and_lose(request: httpx.Request) -> httpx.Response:
        flaky.answers.clear()
        row, secret = litellm.rows.add_key(json.loads(request.content))
        return LOST[lost](httpx.Response(200, json=row | {"key": secret}))

    flaky.answers["/key/generate"] = mint_and_lose
    alice = make_service(ports={"litellm": flaky}).signed_in(ALICE)
    assert (await alice.post(keys_path(ALICE), headers=NAMED)).status_code in (502, 504)
    assert len(litellm.rows.keys) == 1
    again = await alice.post(keys_path(ALICE), headers=NAMED)
    assert again.status_code == 201
    assert list(litellm.rows.keys) == [again.json()["keyId"]]


@pytest.mark.parametrize("owner", [ALICE, BOB])
async def test_a_caller_who_lost_their_authority_does_not_get_the_answer_again(service: Service, owner: str) -> None:
    """Neither a member who left nor a former admin; the attempt is recorded."""
    service.litellm.rows.add_user({"user_id": ALICE})
    path = keys_path(ALICE)
    key = await service.signed_in(owner).post(path, headers=NAMED)
    rotation = f"{keys_path(ALICE, key.json()['keyId'])}/regenerate"
    rotated = await service.signed_in(owner).post(rotation, headers={"Idempotency-Key": "other"})
    assert (key.status_code, rotated.status_code) == (201, 201)
    service.backstage.org.users[owner] = set()
    gone = service.signed_in(owner)
    for answer, secret in (
        (await gone.post(path, headers=NAMED), key.json()["keySecret"]),
        (await gone.post(rotation, headers={"Idempotency-Key": "other"}), rotated.json()["keySecret"]),
    ):
        assert (answer.status_code, secret in answer.text) == (403, False)
    events = (await service.client(SERVICE_TOKEN).get(f"{BASE}/audit", params={"actor": owner})).json()["events"]
    assert [event["outcome"] for event in events[:2]] == ["denied", "denied"]


async def test_creating_a_user_is_idempotent_too(bob: httpx.AsyncClient) -> None:
    """A repeated `POST /users` is the same 201, not the 409 that it is without the header."""
    dave = {"userId": "user:default/dave"}
    first = await bob.post(f"{BASE}/users", json=dave, headers=NAMED)
    again = await bob.post(f"{BASE}/users", json=dave, headers=NAMED)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert (await bob.post(f"{BASE}/users", json=dave)).status_code == 409


async def test_the_database_alone_reveals_no_secret(alice: httpx.AsyncClient, tmp_path: Path) -> None:
    """It contains neither the secret nor the Idempotency-Key."""
    secret = (await alice.post(keys_path(ALICE), headers=NAMED)).json()["keySecret"]
    stored = _all_of(tmp_path)
    assert secret.encode() not in stored
    assert NAMED["Idempotency-Key"].encode() not in stored


def _all_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


async def test_a_secret_that_cannot_be_decrypted_any_more(service: Service, tmp_path: Path) -> None:
    """After the master key has changed: 409 with the id of the key, and no second key."""
    alice = service.signed_in(ALICE)
    key = (await alice.post(keys_path(ALICE), headers=NAMED)).json()
    with sqlite3.connect(tmp_path / "state.sqlite3") as database:
        sealed = Sealing("another root").request(ALICE, NAMED["Idempotency-Key"], {}).seal(b"{}")
        database.execute("update kept_answer set sealed = ?", [sealed])
    database.close()
    answer = await alice.post(keys_path(ALICE), headers=NAMED)
    assert (answer.status_code, key["keyId"] in answer.json()["error"]["message"]) == (409, True)
    assert len(service.litellm.rows.keys) == 1


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "ü"])
async def test_invalid_idempotency_keys_are_refused(
    alice: httpx.AsyncClient, litellm: LiteLLMStandIn, key: str
) -> None:
    """400 that says what would be right."""
    answer = await alice.post(keys_path(ALICE), headers=[(b"Idempotency-Key", key.encode())])
    assert (answer.status_code, "visible ASCII" in answer.json()["error"]["message"]) == (400, True)
    assert litellm.requests == []


async def test_thirty_creations_per_minute(alice: httpx.AsyncClient, bob: httpx.AsyncClient, clock: Clock) -> None:
    """The 31st has to wait for as long as Retry-After says; other callers are not affected."""
    answers = [await alice.post(keys_path(ALICE)) for _ in range(31)]
    assert [answer.status_code for answer in answers] == [201] * 30 + [429]
    assert answers[0].headers["ratelimit"] == '"creates";r=29;t=2'
    assert answers[0].headers["ratelimit-policy"] == '"creates";q=30;w=60'
    refused = answers[30]
    assert (refused.headers["retry-after"], refused.headers["ratelimit"]) == ("2", '"creates";r=0;t=60')
    assert (await bob.post(keys_path(BOB))).status_code == 201
    clock.advance(2)
    assert (await alice.post(keys_path(ALICE))).status_code == 201
    assert (await alice.post(keys_path(ALICE))).status_code == 429
    clock.advance(60)
    assert (await alice.get(keys_path(ALICE))).status_code == 200
    assert (await alice.post(keys_path(ALICE))).headers["ratelimit"] == '"creates";r=29;t=2'


async def test_repetitions_and_reads_cost_nothing(make_service: MakeService) -> None:
    """Only new creations count."""
    alice = make_service(creates_per_minute=1).signed_in(ALICE)
    assert (await alice.post(keys_path(ALICE), headers=NAMED)).status_code == 201
    for _ in range(3):
        assert (await alice.post(keys_path(ALICE), headers=NAMED)).status_code == 201
        assert (await alice.get(keys_path(ALICE))).status_code == 200
    assert (await alice.post(keys_path(ALICE))).status_code == 429


async def test_replicas_share_rates_and_idempotency_keys(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """Two services on one database behave like one."""
    one, other = (make_service(creates_per_minute=3).signed_in(ALICE) for _ in range(2))
    first = await one.post(keys_path(ALICE), headers=NAMED)
    assert (await other.post(keys_path(ALICE), headers=NAMED)).json() == first.json()
    answers = [await client.post(keys_path(ALICE)) for client in (one, other, one, other)]
    assert [answer.status_code for answer in answers] == [201, 201, 429, 429]
    assert len(litellm.rows.keys) == 3


def test_replicas_draw_different_ids() -> None:
    """Operations of different replicas never share an id."""
    assert Ports().new_id() != Ports().new_id()
