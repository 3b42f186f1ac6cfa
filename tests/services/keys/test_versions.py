"""What is known of the versions of a key: by LiteLLM, by the audit log, and nothing that is invented."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import httpx
import pytest

from domain.times import text_of
from standalone.litellm import LiteLLMStandIn
from state import events
from tests.conftest import ALICE, BOB, Clock, MakeService, Service, keys_path, user_path
from tests.support.keys import chat, id_of, made, refusal, rotated, transferred
from tests.support.upstreams import Overriding, move_and_lose, respond

DAY = 86_400
DAVE, CHECKOUT, ASSISTANT = "user:default/dave", "component:default/checkout", "component:default/assistant"


async def versions(client: httpx.AsyncClient, key_id: str, owner: str = ALICE) -> Any:
    """What the client gets."""
    response = await client.get(f"{keys_path(owner, key_id)}/versions")
    assert response.status_code == 200, response.text
    return response.json()


def told(body: Any, *names: str) -> list[tuple[Any, ...]]:
    """These fields of each version."""
    return [tuple(row[name] for name in names) for row in body["versions"]]


async def test_the_life_of_a_key(service: Service, litellm: LiteLLMStandIn, clock: Clock) -> None:
    """Who made each version, when it ended or is going to, and what works; the same by the id and by every hash."""
    alice, bob = service.signed_in(ALICE), service.signed_in(BOB)
    began = clock()
    first = await made(alice)
    clock.advance(60)
    second = await rotated(bob, first, overlap=100)
    clock.advance(60)
    third = await rotated(alice, second["keyId"], overlap=DAY)
    assert await chat(litellm, third["keySecret"]) == 200
    body = await versions(alice, first)
    assert (body["id"], body["unknownVersions"]) == (id_of(first), 0)
    assert told(body, "version", "token", "status", "isRecorded") == [
        (3, third["keyId"], "active", True),
        (2, second["keyId"], "active", True),
        (1, first, "deleted", True),
    ]
    assert told(body, "createdBy", "createdAt", "revokedAt", "revokeAt") == [
        (ALICE, body["versions"][0]["createdAt"], None, None),
        (BOB, body["versions"][1]["createdAt"], None, text_of(clock() + DAY)),
        (ALICE, text_of(began), text_of(clock()), None),
    ]
    rows = {row["token"]: row for row in (await alice.get(keys_path(ALICE))).json()["keys"]}
    for version in body["versions"][:2]:
        assert version["createdAt"] == rows[version["token"]]["created_at"]
        assert version["lastUsedAt"] == rows[version["token"]]["last_active"]
    assert body["versions"][0]["lastUsedAt"] is not None
    for key_id in (body["id"], first, second["keyId"], third["keyId"]):
        assert await versions(bob, key_id) == body
    await alice.patch(keys_path(ALICE, third["keyId"]), json={"blocked": True})
    assert told(await versions(alice, body["id"]), "status")[:2] == [("blocked",), ("active",)]
    await alice.delete(keys_path(ALICE, body["id"]))
    assert (
        told(await versions(alice, third["keyId"]), "status", "revokedAt", "revokeAt")
        == [("deleted", text_of(clock()), None)] * 3
    )


async def test_a_version_whose_overlap_ended(service: Service, clock: Clock) -> None:
    """It was deleted when the background job came to it."""
    first = await made(service.signed_in(ALICE), expiresIn=DAY)
    await rotated(service.signed_in(ALICE), first, overlap=60)
    clock.advance(75)
    await service.run_background_jobs()
    body = await versions(service.signed_in(ALICE), id_of(first))
    assert told(body, "version", "status", "revokedAt") == [(2, "active", None), (1, "deleted", text_of(clock()))]
    clock.advance(DAY)
    assert told(await versions(service.signed_in(ALICE), first), "status")[0] == ("expired",)


async def test_a_key_made_elsewhere(alice: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """LiteLLM knows since when it exists; who received its secret is marked as not known."""
    await made(alice)
    token = litellm.rows.add_key({"user_id": ALICE})[0]["token"]
    await rotated(alice, token, overlap=DAY)
    new, old = (await versions(alice, token))["versions"]
    assert (new["version"], new["createdBy"], new["isRecorded"]) == (2, ALICE, True)
    assert (old["version"], old["createdBy"], old["isRecorded"]) == (1, None, False)
    assert old["createdAt"] == (await alice.get(keys_path(ALICE, token))).json()["created_at"]


async def test_what_is_older_than_the_audit_log(
    service: Service, litellm: LiteLLMStandIn, tmp_path: Path, clock: Clock
) -> None:
    """It is counted where nothing else is known of it, and marked where LiteLLM still has it."""
    alice = service.signed_in(ALICE)
    ids = [await made(alice)]
    for _ in range(4):
        ids.append((await rotated(alice, ids[-1], overlap=DAY))["keyId"])
    with sqlite3.connect(tmp_path / "state.sqlite3") as connection:
        connection.execute("delete from change where action <> 'key.revoke'")
        connection.execute("delete from change where key_id <> ?", [ids[2]])
    connection.close()
    body = await versions(alice, ids[-1])
    assert told(body, "version", "token", "status", "createdBy", "isRecorded") == [
        (5, ids[4], "active", None, False),
        (4, ids[3], "active", None, False),
        (3, ids[2], "deleted", None, False),
    ]
    assert (body["versions"][2]["createdAt"], body["versions"][2]["revokedAt"]) == (None, text_of(clock()))
    assert body["unknownVersions"] == 2
    assert (await alice.get(f"{keys_path(ALICE, ids[0])}/versions")).status_code == 404


async def test_events_of_an_earlier_release(alice: httpx.AsyncClient, litellm: LiteLLMStandIn, tmp_path: Path) -> None:
    """They name no version: what replaced what says it, and each key keeps the id that it shows."""
    ids = [await made(alice)]
    for _ in range(2):
        ids.append((await rotated(alice, ids[-1]))["keyId"])
    annotations = litellm.rows.keys[ids[2]]["metadata"]["litellm_orchestrator"]
    assert (annotations.pop("id"), annotations.pop("version")) == (id_of(ids[0]), 3)
    with sqlite3.connect(tmp_path / "state.sqlite3") as connection:
        connection.executescript("drop trigger change_is_append_only")
        connection.execute("update change set key_stable_id = null, key_version = null")
    connection.close()
    body = await versions(alice, ids[2])
    assert body["id"] == (await alice.get(keys_path(ALICE, ids[2]))).json()["id"] == id_of(ids[1])
    assert told(body, "version", "token", "createdBy") == [(2, ids[2], ALICE), (1, ids[1], ALICE)]
    assert body["unknownVersions"] == 0
    new = await rotated(alice, ids[2])
    assert (new["id"], new["version"]) == (id_of(ids[1]), 3)
    assert told(await versions(alice, new["id"]), "version") == [(3,), (2,), (1,)]


async def test_a_version_that_litellm_does_not_show_is_not_called_deleted(
    make_service: MakeService, litellm: LiteLLMStandIn
) -> None:
    """502, as nothing is known of it."""
    alice = make_service().signed_in(ALICE)
    first = await made(alice)
    await rotated(alice, first, overlap=DAY)
    litellm.rows.keys[first]["token"] = ""
    answer = await alice.get(f"{keys_path(ALICE, id_of(first))}/versions")
    assert await refusal(answer) == (502, "LiteLLM does not show 1 keys of the user")


@pytest.mark.parametrize("ending", ["/key/delete", "/key/info"])
async def test_what_a_repair_found_ended(
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock, ending: str
) -> None:
    """A deletion whose answer was lost, found to be done."""
    wire = Overriding(httpx.ASGITransport(litellm.app), {})
    service = make_service(ports={"litellm": wire})
    key_id = await made(service.signed_in(ALICE))
    wire.answers[ending] = respond(500, json={})
    status = (await service.signed_in(ALICE).delete(keys_path(ALICE, key_id))).status_code
    assert status == (502 if ending == "/key/delete" else 204)
    wire.answers.clear()
    litellm.rows.keys.pop(key_id, None)
    clock.advance(301)
    await service.run_background_jobs()
    body = await versions(service.signed_in(ALICE), key_id)
    assert told(body, "status", "revokedAt") == [("deleted", text_of(clock() - 301 * (ending == "/key/info")))]


async def test_a_user_who_is_gone(service: Service) -> None:
    """The log still has their keys, for admins."""
    key_id = await made(service.signed_in(ALICE))
    bob = service.signed_in(BOB)
    assert (await bob.delete(user_path(ALICE))).status_code == 200
    assert told(await versions(bob, id_of(key_id)), "status", "createdBy", "revokedAt") == [("deleted", ALICE, None)]


@pytest.fixture
def dave(service: Service) -> httpx.AsyncClient:
    """Manages checkout and the assistant."""
    return service.signed_in(DAVE)


async def test_the_history_goes_with_the_key(dave: httpx.AsyncClient) -> None:
    """Through several owners, each of whom replaced it; also after its deletion."""
    id_ = id_of(await made(dave, CHECKOUT))
    for owner, to in ((CHECKOUT, DAVE), (DAVE, ASSISTANT)):
        assert (await dave.post(f"{keys_path(owner, id_)}/regenerate", json={})).status_code == 201
        await transferred(dave, owner, id_, to)
    recorded = [(number, DAVE, True) for number in (3, 2, 1)]
    assert told(await versions(dave, id_, ASSISTANT), "version", "createdBy", "isRecorded") == recorded
    await dave.delete(keys_path(ASSISTANT, id_))
    body = await versions(dave, id_, ASSISTANT)
    assert told(body, "version", "createdBy", "isRecorded") == recorded
    assert {row["status"] for row in body["versions"]} == {"deleted"}


async def test_who_gave_a_key_away_is_told_nothing_of_it(dave: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    """It works, so it is not called deleted; neither is what others did to it theirs to know."""
    key_id = await made(dave, CHECKOUT)
    await transferred(dave, CHECKOUT, key_id, DAVE)
    await transferred(dave, DAVE, key_id, ASSISTANT)
    for caller, owner in ((dave, DAVE), (dave, CHECKOUT), (bob, DAVE)):
        for asked in (key_id, id_of(key_id)):
            refused = await refusal(await caller.get(f"{keys_path(owner, asked)}/versions"))
            assert refused == (404, f"{owner} has no key with that id")
    await dave.delete(keys_path(ASSISTANT, key_id))
    for asked in (key_id, id_of(key_id), id_of("f" * 64)):
        assert (await dave.get(f"{keys_path(DAVE, asked)}/versions")).status_code == 404


async def test_a_key_that_came_back(dave: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """Has its history, also after its deletion, and if it was LiteLLM's admin who moved it back."""
    elsewhere = await made(dave, DAVE)
    await transferred(dave, DAVE, elsewhere, CHECKOUT)
    litellm.rows.keys[elsewhere]["user_id"] = DAVE
    assert told(await versions(dave, elsewhere, DAVE), "status", "createdBy") == [("active", DAVE)]
    key_id = await made(dave, DAVE)
    await transferred(dave, DAVE, key_id, CHECKOUT)
    await transferred(dave, CHECKOUT, key_id, DAVE)
    await dave.delete(keys_path(DAVE, key_id))
    assert told(await versions(dave, key_id, DAVE), "status", "createdBy") == [("deleted", DAVE)]


async def test_a_transfer_that_a_repair_found(make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock) -> None:
    """Its answer was lost: the history is the new owner's all the same."""
    wire = Overriding(httpx.ASGITransport(litellm.app), {"/key/update": move_and_lose(litellm)})
    service = make_service(ports={"litellm": wire})
    dave = service.signed_in(DAVE)
    key_id = await made(dave, DAVE)
    lost = await dave.post(f"{keys_path(DAVE, key_id)}/transfer", json={"owner": CHECKOUT})
    assert lost.status_code == 504
    clock.advance(301)
    await service.run_background_jobs()
    assert told(await versions(dave, key_id, CHECKOUT), "status", "createdBy") == [("active", DAVE)]
    assert (await dave.get(f"{keys_path(DAVE, key_id)}/versions")).status_code == 404


async def test_events_of_an_earlier_release_about_a_key_that_was_transferred(
    dave: httpx.AsyncClient, tmp_path: Path
) -> None:
    """They count for it as they did for the owner before."""
    key_id = await made(dave, DAVE)
    await dave.post(f"{keys_path(DAVE, key_id)}/regenerate", json={})
    with sqlite3.connect(tmp_path / "state.sqlite3") as connection:
        connection.executescript("drop trigger change_is_append_only")
        connection.execute("update change set key_stable_id = null, key_version = null")
    connection.close()
    await transferred(dave, DAVE, id_of(key_id), CHECKOUT)
    known = told(await versions(dave, id_of(key_id), CHECKOUT), "version", "isRecorded")
    assert known == [(2, True), (1, True)]


async def test_other_keys_push_no_version_out(dave: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many events are read at most: those of one key, of each of its owners."""
    monkeypatch.setattr(events, "_MAX_OF_KEYS", 2)
    key_id = await made(dave, DAVE)
    await transferred(dave, DAVE, key_id, CHECKOUT)
    for owner in (DAVE, CHECKOUT) * 2:
        await made(dave, owner)
    assert told(await versions(dave, key_id, CHECKOUT), "createdBy") == [(DAVE,)]
