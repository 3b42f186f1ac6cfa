"""What all creating has in common: nothing is made twice for one Idempotency-Key, and nobody creates without end."""

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


async def test_the_same_request_again_is_answered_with_the_first_answer(
    alice: httpx.AsyncClient, litellm: LiteLLMStandIn
) -> None:
    """Secret and all; no field and an empty body are the same request."""
    first = await alice.post(keys_path(ALICE), headers=NAMED)
    again = await alice.post(keys_path(ALICE), json={}, headers=NAMED)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert len(litellm.rows.keys) == 1


@pytest.mark.parametrize("other", ["body", "path"])
async def test_another_request_of_the_same_key_is_refused(
    bob: httpx.AsyncClient, litellm: LiteLLMStandIn, other: str
) -> None:
    """422, and nothing is made."""
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
    """What alice chose is not known to bob."""
    hers = await alice.post(keys_path(ALICE), headers=NAMED)
    his = await bob.post(keys_path(BOB), headers=NAMED)
    assert hers.json()["keyId"] != his.json()["keyId"]
    assert len(litellm.rows.keys) == 2


async def test_fifty_at_once_make_one_key(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """One is answered, the others are told that it is under way or get the same answer."""
    alice = make_service(ports={"litellm": Slow(litellm)}).signed_in(ALICE)
    answers = await asyncio.gather(*(alice.post(keys_path(ALICE), headers=NAMED) for _ in range(50)))
    made = [answer.json()["keyId"] for answer in answers if answer.status_code == 201]
    assert {answer.status_code for answer in answers} == {201, 409}
    assert set(made) == set(litellm.rows.keys)
    assert len(set(made)) == 1


async def test_a_key_is_forgotten_after_a_day(service: Service, litellm: LiteLLMStandIn, clock: Clock) -> None:
    """Then it names a new request."""
    for later, keys in ((0, 1), (86_399, 1), (2, 2)):
        clock.advance(later)
        assert (await service.signed_in(ALICE).post(keys_path(ALICE), headers=NAMED)).status_code == 201
        assert len(litellm.rows.keys) == keys


async def test_a_refused_request_may_be_mended_under_the_same_key(
    alice: httpx.AsyncClient, litellm: LiteLLMStandIn
) -> None:
    """Nothing was made, so nothing is remembered."""
    await alice.post(keys_path(ALICE), json={"alias": "laptop"})
    refused = await alice.post(keys_path(ALICE), json={"alias": "laptop"}, headers=NAMED)
    mended = await alice.post(keys_path(ALICE), json={"alias": "desktop"}, headers=NAMED)
    assert (refused.status_code, mended.status_code) == (409, 201)


LOST: dict[str, Callable[[httpx.Response], httpx.Response]] = {
    "a timeout": lambda _: (_ for _ in ()).throw(httpx.ReadTimeout("lost")),
    "nonsense": lambda _: httpx.Response(200, html="<h1>"),
}


@pytest.mark.parametrize("lost", LOST)
async def test_a_key_whose_answer_was_lost_is_not_made_twice(
    make_service: MakeService, litellm: LiteLLMStandIn, lost: str
) -> None:
    """LiteLLM minted it and its answer never came: sent again, that one is deleted and another made."""
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
async def test_who_lost_their_authority_is_not_shown_the_answer_again(service: Service, owner: str) -> None:
    """Neither a member who left nor an admin who is none any more; the attempt is written down."""
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


async def test_users_too(bob: httpx.AsyncClient) -> None:
    """`POST /users` again is the same 201, and not the 409 that it is without the header."""
    dave = {"userId": "user:default/dave"}
    first = await bob.post(f"{BASE}/users", json=dave, headers=NAMED)
    again = await bob.post(f"{BASE}/users", json=dave, headers=NAMED)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert (await bob.post(f"{BASE}/users", json=dave)).status_code == 409


async def test_the_database_alone_gives_no_secret_away(alice: httpx.AsyncClient, tmp_path: Path) -> None:
    """Neither the secret nor the Idempotency-Key stands in it."""
    secret = (await alice.post(keys_path(ALICE), headers=NAMED)).json()["keySecret"]
    stored = _all_of(tmp_path)
    assert secret.encode() not in stored
    assert NAMED["Idempotency-Key"].encode() not in stored


def _all_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


async def test_a_secret_that_cannot_be_opened_any_more(service: Service, tmp_path: Path) -> None:
    """After the master key has changed: 409 with the key's id, and no second key."""
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
async def test_keys_that_are_none(alice: httpx.AsyncClient, litellm: LiteLLMStandIn, key: str) -> None:
    """400 that says what would be right."""
    answer = await alice.post(keys_path(ALICE), headers=[(b"Idempotency-Key", key.encode())])
    assert (answer.status_code, "visible ASCII" in answer.json()["error"]["message"]) == (400, True)
    assert litellm.requests == []


async def test_thirty_a_minute(alice: httpx.AsyncClient, bob: httpx.AsyncClient, clock: Clock) -> None:
    """The 31st waits for as long as Retry-After says; others are not concerned."""
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


async def test_replays_and_reads_cost_nothing(make_service: MakeService) -> None:
    """Only what is made anew counts."""
    alice = make_service(creates_per_minute=1).signed_in(ALICE)
    assert (await alice.post(keys_path(ALICE), headers=NAMED)).status_code == 201
    for _ in range(3):
        assert (await alice.post(keys_path(ALICE), headers=NAMED)).status_code == 201
        assert (await alice.get(keys_path(ALICE))).status_code == 200
    assert (await alice.post(keys_path(ALICE))).status_code == 429


async def test_replicas_count_together(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """Two services on one database are one for rates and for idempotent requests."""
    one, other = (make_service(creates_per_minute=3).signed_in(ALICE) for _ in range(2))
    first = await one.post(keys_path(ALICE), headers=NAMED)
    assert (await other.post(keys_path(ALICE), headers=NAMED)).json() == first.json()
    answers = [await client.post(keys_path(ALICE)) for client in (one, other, one, other)]
    assert [answer.status_code for answer in answers] == [201, 201, 429, 429]
    assert len(litellm.rows.keys) == 3


def test_replicas_draw_different_ids() -> None:
    """Two replicas draw different names for what they do."""
    assert Ports().new_id() != Ports().new_id()
