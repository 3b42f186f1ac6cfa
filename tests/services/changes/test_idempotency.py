"""Idempotency keys and rate limits of operations that create something."""

from __future__ import annotations

import asyncio
import base64
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app import Ports
from standalone.litellm import MASTER_KEY, LiteLLMStandIn
from tests.conftest import ALICE, BASE, BOB, SERVICE_TOKEN, Clock, MakeService, Service, keys_path, stored_in
from tests.support.upstreams import Gate, Overriding, Slow

NAMED = {"Idempotency-Key": "8e03978e-40d5-43dd-bc93-6894a57f9324"}


async def test_a_repeated_request_gets_the_first_answer(alice: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """Including the secret. No body and an empty object are the same request."""
    first = await alice.post(keys_path(ALICE), headers=NAMED)
    again = await alice.post(keys_path(ALICE), json={}, headers=NAMED)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert len(litellm.rows.keys) == 1


async def test_the_order_of_the_fields_does_not_matter(alice: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """A client that builds the same JSON anew may name the fields, also those within its metadata, in another order."""
    body = {"alias": "laptop", "maxBudget": 3, "metadata": {"team": "a", "purpose": "b"}}
    other = {"metadata": {"purpose": "b", "team": "a"}, "maxBudget": 3, "alias": "laptop"}
    first, again = [await alice.post(keys_path(ALICE), json=sent, headers=NAMED) for sent in (body, other)]
    assert (first.status_code, again.status_code, again.json()) == (201, 201, first.json())
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


@pytest.mark.parametrize("is_running", [True, False], ids=["running", "interrupted"])
async def test_another_request_with_the_key_of_one_that_has_not_ended_is_refused(
    make_service: MakeService, litellm: LiteLLMStandIn, *, is_running: bool
) -> None:
    """422: nobody waits for an answer that is not theirs, and what the first request created is left to it."""
    gate = Gate(litellm, "/key/generate", after=True)
    slow = make_service(ports={"litellm": gate}).signed_in(ALICE)
    first = asyncio.create_task(slow.post(keys_path(ALICE), json={"alias": "a"}, headers=NAMED))
    await gate.reached.wait()
    if not is_running:
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
    created = list(litellm.rows.keys)
    alice = make_service().signed_in(ALICE)
    refused = await alice.post(keys_path(ALICE), json={"alias": "b"}, headers=NAMED)
    assert (refused.status_code, refused.json()["error"]["name"]) == (422, "UnprocessableError")
    assert list(litellm.rows.keys) == created
    gate.open.set()
    again = (await first) if is_running else await alice.post(keys_path(ALICE), json={"alias": "a"}, headers=NAMED)
    assert (again.status_code, list(litellm.rows.keys)) == (201, [again.json()["keyId"]])


async def interrupt_a_creation(make_service: MakeService, litellm: LiteLLMStandIn, who: str, **sent: Any) -> None:
    """LiteLLM has made alice's key, and the process that asked for it ends before it hears of it."""
    gate = Gate(litellm, "/key/generate", after=True)
    creating = asyncio.create_task(make_service(ports={"litellm": gate}).signed_in(who).post(keys_path(ALICE), **sent))
    await gate.reached.wait()
    creating.cancel()
    await asyncio.gather(creating, return_exceptions=True)


async def test_the_key_of_a_request_for_another_user_that_was_interrupted_is_refused(
    make_service: MakeService, litellm: LiteLLMStandIn
) -> None:
    """422 also where the two requests have different locks: bob's key for alice is not ended by one for himself."""
    for user_id in (ALICE, BOB):
        litellm.rows.add_user({"user_id": user_id})
    await interrupt_a_creation(make_service, litellm, BOB, headers=NAMED)
    bob = make_service().signed_in(BOB)
    refused = await bob.post(keys_path(BOB), headers=NAMED)
    assert (refused.status_code, refused.json()["error"]["name"]) == (422, "UnprocessableError")
    assert {row["user_id"] for row in litellm.rows.keys.values()} == {ALICE}
    again = await bob.post(keys_path(ALICE), headers=NAMED)
    assert (again.status_code, list(litellm.rows.keys)) == (201, [again.json()["keyId"]])


async def test_another_interruption_does_not_hide_that_of_the_same_key(
    make_service: MakeService, litellm: LiteLLMStandIn
) -> None:
    """422 for another request, though a change of alice's without an Idempotency-Key has not ended either."""
    await interrupt_a_creation(make_service, litellm, ALICE, json={"alias": "first"})
    await interrupt_a_creation(make_service, litellm, ALICE, json={"alias": "second"}, headers=NAMED)
    refused = await make_service().signed_in(ALICE).post(keys_path(ALICE), json={"alias": "third"}, headers=NAMED)
    assert (refused.status_code, refused.json()["error"]["name"]) == (422, "UnprocessableError")


@pytest.mark.parametrize("owner", [ALICE, BOB])
async def test_a_caller_who_lost_their_authority_does_not_get_the_answer_again(
    service: Service, clock: Clock, owner: str
) -> None:
    """Neither a member who left nor a former admin; the attempt is recorded."""
    service.litellm.rows.add_user({"user_id": ALICE})
    path = keys_path(ALICE)
    key = await service.signed_in(owner).post(path, headers=NAMED)
    rotation = f"{keys_path(ALICE, key.json()['keyId'])}/regenerate"
    rotated = await service.signed_in(owner).post(rotation, headers={"Idempotency-Key": "other"})
    assert (key.status_code, rotated.status_code) == (201, 201)
    service.backstage.org.users[owner] = set()
    clock.advance(service.settings.membership_seconds + 1)
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
    stored = stored_in(tmp_path)
    assert secret.encode() not in stored
    assert NAMED["Idempotency-Key"].encode() not in stored


NEW_MASTER = "sk-another-master"
OLD_SECRET, NEW_SECRET, OTHER_SECRET = ("s" * 32, "t" * 32, "u" * 32)


def with_master_key(make_service: MakeService, master_key: str, **changes: Any) -> Service:
    """A replica on the same database, configured with this master key."""
    service = make_service(**changes)
    service.settings = replace(service.settings, litellm=replace(service.settings.litellm, master_key=master_key))
    return service


async def test_after_a_change_of_the_master_key(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """409 with the id of the key, and no second key; another Idempotency-Key creates one as ever."""
    key = (await make_service().signed_in(ALICE).post(keys_path(ALICE), headers=NAMED)).json()
    litellm.master_keys = {NEW_MASTER}
    alice = with_master_key(make_service, NEW_MASTER).signed_in(ALICE)
    for answer in [await alice.post(keys_path(ALICE), headers=NAMED) for _ in range(2)]:
        assert (answer.status_code, key["keyId"] in answer.json()["error"]["message"]) == (409, True)
    assert (await alice.post(keys_path(ALICE), json={"alias": "a"}, headers=NAMED)).status_code == 422
    assert list(litellm.rows.keys) == [key["keyId"]]
    assert (await alice.post(keys_path(ALICE), headers={"Idempotency-Key": "another"})).status_code == 201


async def test_replicas_agree_while_the_master_key_is_changed(
    make_service: MakeService, litellm: LiteLLMStandIn
) -> None:
    """In a rolling restart, what one replica creates or has created is not created again by one with another key."""
    litellm.master_keys.add(NEW_MASTER)
    gate = Gate(litellm, "/key/generate")
    old = make_service(ports={"litellm": gate}).signed_in(ALICE)
    new = with_master_key(make_service, NEW_MASTER).signed_in(ALICE)
    await old.get(keys_path(ALICE))
    creating = asyncio.create_task(old.post(keys_path(ALICE), headers=NAMED))
    await gate.reached.wait()
    meanwhile = await new.post(keys_path(ALICE), headers=NAMED)
    assert (meanwhile.status_code, "in progress" in meanwhile.json()["error"]["message"]) == (409, True)
    gate.open.set()
    first = (await creating).json()
    second = (await new.post(keys_path(ALICE), headers={"Idempotency-Key": "second"})).json()
    for replica, name, made in ((new, NAMED["Idempotency-Key"], first), (old, "second", second)):
        again = await replica.post(keys_path(ALICE), headers={"Idempotency-Key": name})
        assert (again.status_code, made["keyId"] in again.json()["error"]["message"]) == (409, True)
    assert list(litellm.rows.keys) == [first["keyId"], second["keyId"]]


async def test_a_secret_of_our_own_outlives_the_master_key(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """With `secretKey` a repetition gets its answer, also while that is replaced; without the old one it is a 409."""
    first = await make_service(secret_keys=(OLD_SECRET,)).signed_in(ALICE).post(keys_path(ALICE), headers=NAMED)
    litellm.master_keys = {NEW_MASTER}
    for secrets, status in {
        (OLD_SECRET,): 201,
        (NEW_SECRET, OLD_SECRET): 201,
        (OLD_SECRET, NEW_SECRET): 201,
        (NEW_SECRET,): 409,
        (): 409,
    }.items():
        alice = with_master_key(make_service, NEW_MASTER, secret_keys=secrets).signed_in(ALICE)
        again = await alice.post(keys_path(ALICE), headers=NAMED)
        assert (secrets, again.status_code) == (secrets, status)
        assert status == 409 or again.json() == first.json()
    assert len(litellm.rows.keys) == 1


async def test_the_first_of_two_secrets_seals(make_service: MakeService) -> None:
    """Once both are known everywhere, what is kept from then on does not need the old one."""
    both = make_service(secret_keys=(NEW_SECRET, OLD_SECRET)).signed_in(ALICE)
    first = await both.post(keys_path(ALICE), headers=NAMED)
    statuses = []
    for secret in (NEW_SECRET, OLD_SECRET, OTHER_SECRET):
        alice = make_service(secret_keys=(secret,)).signed_in(ALICE)
        statuses.append((await alice.post(keys_path(ALICE), headers=NAMED)).status_code)
    assert (first.status_code, statuses) == (201, [201, 409, 409])


async def test_a_first_secret_of_our_own_does_not_cost_an_answer(make_service: MakeService) -> None:
    """What the master key sealed before `secretKey` was set is opened still."""
    first = await make_service().signed_in(ALICE).post(keys_path(ALICE), headers=NAMED)
    again = await make_service(secret_keys=(NEW_SECRET,)).signed_in(ALICE).post(keys_path(ALICE), headers=NAMED)
    assert (again.status_code, again.json()) == (201, first.json())


def joined(*parts: str) -> bytes:
    """As it joins what it derives from."""
    return b"".join(len(part).to_bytes(4, "big") + part.encode() for part in parts)


async def test_the_database_and_the_root_in_it_reveal_nothing(alice: httpx.AsyncClient, tmp_path: Path) -> None:
    """It takes the database, LiteLLM's master key and the Idempotency-Key to open an answer; two open nothing."""
    assert (await alice.post(keys_path(ALICE), headers=NAMED)).status_code == 201
    with closing(sqlite3.connect(tmp_path / "state.sqlite3")) as database:
        ((root,),) = database.execute("select secret from root").fetchall()
        kept = [sealed for (sealed,) in database.execute("select sealed from kept_answer")]
    assert (len(root), len(kept)) == (32, 1)
    named, master_key = joined("seal", ALICE, NAMED["Idempotency-Key"]), MASTER_KEY.encode()

    def opened(salt: bytes | None, secret: bytes, purpose: bytes = named) -> bytes:
        derived = HKDF(SHA256(), 32, salt, purpose).derive(secret)
        return Fernet(base64.urlsafe_b64encode(derived)).decrypt(kept[0])

    for salt, secret in ((None, root), (root, root), (root, b""), (None, b""), (None, master_key)):
        with pytest.raises(InvalidToken):
            opened(salt, secret)
    for purpose in (b"", joined("seal", ALICE, ""), joined("seal", ALICE, "another")):
        with pytest.raises(InvalidToken):
            opened(root, master_key, purpose)
    assert b'"secret":' in opened(root, master_key)


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
