"""The id of a key outlives rotations: it names the newest version; blocking and deleting by it reach all of them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from domain.keys import RotatedKey
from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BOB, Clock, MakeService, Service, keys_path
from tests.support.audit import events, nothing_is_open
from tests.support.keys import NAMED, alive, id_of, made, refusal, rotated
from tests.support.kill_points import Killed, KillSwitch
from tests.support.upstreams import Overriding, respond

_MOST_STEPS = 60
ANNOTATIONS = "litellm_orchestrator"
BLOCK, UNBLOCK = {"blocked": True}, {"blocked": False}
DAY = 86_400


async def two_versions(alice: httpx.AsyncClient, overlap: int = DAY) -> tuple[str, str, str]:
    """The id of a new key, and the hashes of its first version and of the one that replaced it."""
    first = await made(alice)
    return id_of(first), first, (await rotated(alice, first, overlap=overlap))["keyId"]


def blocked(litellm: LiteLLMStandIn) -> dict[str, bool]:
    return {token: bool(row["blocked"]) for token, row in litellm.rows.keys.items()}


async def test_a_key_keeps_its_id(alice: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """Every answer has it and the version; what the plugin's callers read is as it was."""
    new = (await alice.post(keys_path(ALICE))).json()
    assert (new["id"], new["version"]) == (id_of(new["keyId"]), 1)
    for number in (2, 3):
        previous, new = new, await rotated(alice, new["id"], overlap=60)
        assert (new["id"], new["version"]) == (previous["id"], number)
        assert new["revokes"] | {"revokeAt": ""} == {"keyId": previous["keyId"], "id": new["id"], "revokeAt": ""}
        newest = (await alice.get(keys_path(ALICE, new["id"]))).json()
        assert newest == (await alice.get(keys_path(ALICE, new["keyId"]))).json()
        assert (newest["token"], newest["id"], newest["version"]) == (new["keyId"], new["id"], number)
        assert newest["pendingRevocations"] == [new["revokes"]]
        listed = (await alice.get(keys_path(ALICE))).json()["keys"]
        assert sorted((row["id"], row["version"]) for row in listed) == [(new["id"], number - 1), (new["id"], number)]
    changed = (await alice.patch(keys_path(ALICE, new["id"]), json={"alias": "renamed"})).json()
    assert (changed["token"], changed["id"], changed["version"]) == (new["keyId"], new["id"], 3)
    assert [row["metadata"][ANNOTATIONS]["alias"] for row in litellm.rows.keys.values()] == [None, "renamed"]


async def test_a_key_made_elsewhere_has_an_id(alice: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """From the first moment, without an annotation, and it keeps it when it is changed and rotated here."""
    await made(alice)
    token = litellm.rows.add_key({"user_id": ALICE})[0]["token"]
    by_id = keys_path(ALICE, id_of(token))
    assert (await alice.get(by_id)).json()["token"] == token
    assert (await alice.patch(by_id, json={"alias": "ours"})).json()["id"] == id_of(token)
    new = await rotated(alice, id_of(token))
    assert (new["id"], new["version"]) == (id_of(token), 2)
    assert (await rotated(alice, new["keyId"]))["version"] == 3


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"replaces": "a" * 64}, (id_of("a" * 64), 2)),
        ({"replaces": "a" * 64, "id": f"key_{'b' * 32}", "version": 7}, (f"key_{'b' * 32}", 7)),
        ({"replaces": "sk-canary-1"}, None),
        ({"replaces": 5, "id": "key_", "version": 2}, None),
        ({"id": f"key_{'b' * 32}", "version": True}, None),
        ({"id": f"key_{'b' * 32}", "version": 0}, None),
        ({"id": f"key_{'b' * 32}", "version": 2**40}, None),
        ({"id": f"key_{'b' * 32}", "version": "2"}, None),
        ({"id": f"KEY_{'B' * 32}", "version": 2}, None),
        ({"id": f"key_{'b' * 32}"}, None),
    ],
)
async def test_what_the_annotations_say(
    alice: httpx.AsyncClient, litellm: LiteLLMStandIn, written: dict[str, Any], expected: tuple[str, int] | None
) -> None:
    """Those of earlier releases have what the key replaced; what makes no sense says nothing."""
    key_id = await made(alice)
    litellm.rows.keys[key_id]["metadata"][ANNOTATIONS] |= written
    row = (await alice.get(keys_path(ALICE, key_id))).json()
    assert (row["id"], row["version"]) == (expected or (id_of(key_id), 1))
    assert (await alice.get(keys_path(ALICE, row["id"]))).json() == row


def test_an_answer_that_an_earlier_release_kept() -> None:
    """It has neither; its key says the same by what it replaced."""
    kept = RotatedKey(ALICE, "b" * 64, "sk-b", "a" * 64, 0.0)
    assert (kept.key_version.stable_id, kept.key_version.number) == (id_of("a" * 64), 2)


async def test_the_same_request_again_by_id(alice: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """It gets the first answer, although the id is that of the new version by now."""
    path = f"{keys_path(ALICE, id_of(await made(alice)))}/regenerate"
    first, again = await alice.post(path, headers=NAMED), await alice.post(path, headers=NAMED)
    assert (first.status_code, first.json()) == (201, again.json())
    assert list(litellm.rows.keys) == [first.json()["keyId"]]


async def test_another_users_id_is_a_404(service: Service, litellm: LiteLLMStandIn) -> None:
    """For everybody, also if a key of one's own bears it: then it is that key. Nothing of theirs changes."""
    bob = service.signed_in(BOB)
    theirs = id_of(await made(service.signed_in(ALICE)))
    mine = await made(bob, BOB)
    before = dict(litellm.rows.keys)
    by_id = keys_path(BOB, theirs)
    for method, path, body in (
        ("GET", by_id, None),
        ("GET", f"{by_id}/versions", None),
        ("PATCH", by_id, BLOCK),
        ("DELETE", by_id, None),
        ("POST", f"{by_id}/regenerate", {}),
    ):
        assert (await bob.request(method, path, json=body)).status_code == 404
    assert litellm.rows.keys == before
    litellm.rows.keys[mine]["metadata"][ANNOTATIONS] |= {"id": theirs, "version": 9}
    assert (await bob.patch(by_id, json=BLOCK)).json()["token"] == mine
    assert (await bob.get(f"{by_id}/versions")).json()["versions"][0]["token"] == mine
    assert sum(blocked(litellm).values()) == 1


async def test_what_reading_costs(alice: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """A list and a key are one call each, as before; a key by its id is one list."""
    key_id = await made(alice)
    for path in (keys_path(ALICE), keys_path(ALICE, key_id), keys_path(ALICE, id_of(key_id))):
        litellm.requests.clear()
        assert (await alice.get(path)).status_code == 200
        assert litellm.requests == ["GET /key/list"]


async def test_the_newest_is_the_last_that_was_made(
    alice: httpx.AsyncClient, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """A version that is gone, or has expired, keeps its number: the next one gets another."""
    stable_id, first, second = await two_versions(alice)
    assert (await alice.delete(keys_path(ALICE, second))).status_code == 204
    assert (await alice.get(keys_path(ALICE, stable_id))).json()["token"] == first
    third = await rotated(alice, stable_id, overlap=DAY, expiresIn=60)
    assert (third["version"], third["revokes"]["keyId"]) == (3, first)
    clock.advance(61)
    fourth = await rotated(alice, first, overlap=DAY)
    assert (fourth["id"], fourth["version"]) == (stable_id, 4)
    assert (await alice.get(keys_path(ALICE, stable_id))).json()["token"] == fourth["keyId"]
    assert set(litellm.rows.keys) == {first, third["keyId"], fourth["keyId"]}


async def test_blocking_by_id_blocks_every_version(
    service: Service, alice: httpx.AsyncClient, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """By hash it is that version only. Unblocking by id unblocks what one block blocked, and nothing else."""
    stable_id, first, second = await two_versions(alice)
    by_id = keys_path(ALICE, stable_id)
    answer = await alice.patch(by_id, json=BLOCK)
    assert (answer.status_code, answer.json()["token"], "Effective-Within" in answer.headers) == (200, second, True)
    assert blocked(litellm) == {first: True, second: True}
    assert (await alice.patch(by_id, json=UNBLOCK)).status_code == 200
    assert blocked(litellm) == {first: False, second: False}
    assert (await alice.patch(keys_path(ALICE, first), json=BLOCK)).status_code == 200
    assert blocked(litellm) == {first: True, second: False}
    clock.advance(1)
    await alice.patch(keys_path(ALICE, second), json=BLOCK)
    assert (await alice.patch(by_id, json=UNBLOCK)).status_code == 200
    assert blocked(litellm) == {first: True, second: False}, "another block"
    assert (await service.signed_in(BOB).patch(by_id, json=BLOCK)).json()["blockedBy"] == "admin"
    told = [row["metadata"][ANNOTATIONS]["blocked_as"] for row in litellm.rows.keys.values()]
    assert (blocked(litellm), told) == ({first: True, second: True}, ["admin", "admin"])
    assert (await alice.patch(by_id, json=UNBLOCK)).status_code == 403
    assert blocked(litellm) == {first: True, second: True}


async def test_what_else_is_changed_by_id_is_the_newest(alice: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """Together with a block too; and on the condition that the newest is as it was read."""
    stable_id, first, second = await two_versions(alice)
    read = await alice.get(keys_path(ALICE, stable_id))
    condition = {"If-Match": read.headers["ETag"]}
    both = {"blocked": True, "rpmLimit": 7}
    assert (await alice.patch(keys_path(ALICE, stable_id), json=both, headers=condition)).status_code == 200
    assert {token: row["rpm_limit"] for token, row in litellm.rows.keys.items()} == {first: None, second: 7}
    assert blocked(litellm) == {first: True, second: True}
    assert (await alice.patch(keys_path(ALICE, stable_id), json=UNBLOCK, headers=condition)).status_code == 412
    assert (await alice.delete(keys_path(ALICE, stable_id), headers=condition)).status_code == 412
    assert blocked(litellm) == {first: True, second: True}


async def test_a_leaked_version_stays_blocked(service: Service, litellm: LiteLLMStandIn) -> None:
    """Whatever its annotation says until the report is in it, unblocking by id leaves it alone."""
    alice = service.signed_in(ALICE)
    leaked = (await alice.post(keys_path(ALICE))).json()
    new = await rotated(alice, leaked["keyId"], overlap=DAY)
    by_id = keys_path(ALICE, new["id"])
    await alice.patch(by_id, json=BLOCK)
    await alice.post(f"{keys_path(ALICE).rpartition('/users')[0]}/keys/report", json={"key": leaked["keySecret"]})
    assert (await alice.patch(by_id, json=UNBLOCK)).status_code == 200
    assert blocked(litellm) == {leaked["keyId"]: True, new["keyId"]: False}


@pytest.mark.parametrize("column", ["spend", "expires"])
async def test_an_odd_version_is_blocked_too(alice: httpx.AsyncClient, litellm: LiteLLMStandIn, column: str) -> None:
    """Whatever its row contains, as long as it says which key it is."""
    stable_id, first, second = await two_versions(alice)
    litellm.rows.keys[first][column] = "nonsense"
    assert (await alice.patch(keys_path(ALICE, stable_id), json=BLOCK)).status_code == 200
    assert blocked(litellm) == {first: True, second: True}


async def test_a_version_that_lost_its_annotations(alice: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """In its overlap it is one of the versions all the same: the plan to end it says so."""
    first = await made(alice)
    second = (await rotated(alice, first, overlap=DAY))["keyId"]
    litellm.rows.keys[second]["metadata"] = {}
    assert (await alice.patch(keys_path(ALICE, id_of(second)), json=BLOCK)).status_code == 200
    assert blocked(litellm) == {first: True, second: True}


async def test_deleting_by_id_deletes_every_version(
    service: Service, alice: httpx.AsyncClient, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """Whatever `replaced` says; no plan to end one is left, and the log says which they were."""
    stable_id, first, second = await two_versions(alice)
    other = await made(alice)
    answer = await alice.delete(keys_path(ALICE, stable_id), params={"replaced": "keep"})
    assert (answer.status_code, list(litellm.rows.keys)) == (204, [other])
    clock.advance(DAY)
    await service.run_background_jobs()
    event = (await events(service.signed_in(BOB)))[0]
    assert (event["action"], event["keyId"], event["keyStableId"], event["keyVersion"]) == (
        "key.delete",
        second,
        stable_id,
        2,
    )
    assert (event["requested"], event["after"]) == ({"replaced": "delete"}, {"deleted": [first]})
    assert event["before"]["versions"] == [second, first]
    assert (await service.signed_in(ALICE).delete(keys_path(ALICE, stable_id))).status_code == 404


async def test_a_key_that_litellm_does_not_show_may_be_one_of_the_versions(
    make_service: MakeService, litellm: LiteLLMStandIn
) -> None:
    """So nothing is changed by id, and the answer says why; by hash it is."""
    wire = Overriding(httpx.ASGITransport(litellm.app), {})
    alice = make_service(ports={"litellm": wire}).signed_in(ALICE)
    stable_id, first, second = await two_versions(alice)
    litellm.rows.keys[first]["token"] = ""
    wire.seen.clear()
    for response in (
        await alice.patch(keys_path(ALICE, stable_id), json=BLOCK),
        await alice.delete(keys_path(ALICE, stable_id)),
        await alice.get(keys_path(ALICE, stable_id)),
    ):
        assert await refusal(response) == (502, "LiteLLM does not show 1 keys of the user")
    assert {request.method for request in wire.seen} == {"GET"}
    assert (await alice.delete(keys_path(ALICE, second))).status_code == 204


@pytest.mark.parametrize("operation", ["DELETE", "PATCH"])
async def test_a_rotation_at_the_same_time(service: Service, litellm: LiteLLMStandIn, operation: str) -> None:
    """The id is looked up under the owner's lock: no version that works slips through, in either order."""
    alice = service.signed_in(ALICE)
    for _ in range(5):
        stable_id = id_of(await made(alice))
        by_id = keys_path(ALICE, stable_id)
        body = BLOCK if operation == "PATCH" else None
        taken, new = await asyncio.gather(
            alice.request(operation, by_id, json=body),
            alice.post(f"{by_id}/regenerate", json={"overlap": DAY}),
        )
        assert taken.status_code in (200, 204)
        assert new.status_code in (201, 404, 409)
        assert alive(litellm) == []


async def test_the_audit_log_names_the_id(service: Service, alice: httpx.AsyncClient, clock: Clock) -> None:
    """Whether the path had it or a hash, and whatever ended the change; background jobs too."""
    stable_id, first, second = await two_versions(alice, overlap=60)
    await alice.patch(keys_path(ALICE, second), json={"alias": "a"})
    await alice.patch(keys_path(ALICE, stable_id), json={"alias": "b"})
    assert (await alice.post(f"{keys_path(ALICE, first)}/regenerate", json={})).status_code == 409
    assert (await alice.patch(keys_path(ALICE, id_of("0" * 64)), json={"alias": "c"})).status_code == 404
    clock.advance(60)
    await service.run_background_jobs()
    told = await events(service.signed_in(BOB))
    assert [(row["action"], row["keyId"], row["keyStableId"], row["keyVersion"]) for row in told[:-1]] == [
        ("key.revoke", first, stable_id, 1),
        ("key.update", None, id_of("0" * 64), None),
        ("key.regenerate", first, stable_id, 1),
        ("key.update", second, stable_id, 2),
        ("key.update", second, stable_id, 2),
        ("key.regenerate", first, stable_id, 1),
        ("key.create", first, stable_id, 1),
    ]
    members = [row for row in await events(alice) if row["keyId"]]
    assert {row["keyStableId"] for row in members} == {stable_id}


async def test_the_log_names_the_id(alice: httpx.AsyncClient, log: Any) -> None:
    """The line about a change to a key has it, also where the path has the hash; the next line does not."""
    stable_id, _, second = await two_versions(alice)
    await alice.patch(keys_path(ALICE, second), json={"alias": "a"})
    await alice.get(keys_path(ALICE))
    lines = [json.loads(line) for line in log.getvalue().splitlines() if '"event": "request"' in line]
    assert [(line["operation"], line.get("key_stable_id")) for line in lines] == [
        ("createUserKey", stable_id),
        ("regenerateUserKey", stable_id),
        ("updateUserKey", stable_id),
        ("getUserKeys", None),
    ]


async def killed(service: Service, kill_switch: KillSwitch, method: str, path: str, body: Any) -> int | None:
    """The status of a request to a service that is killed; None if it was killed."""
    with kill_switch.watching():
        try:
            return (await service.signed_in(ALICE).request(method, path, json=body)).status_code
        except Killed:
            return None


@pytest.mark.parametrize("during", [False, True], ids=["before a request", "after LiteLLM did it"])
@pytest.mark.parametrize("method", ["DELETE", "PATCH"])
@pytest.mark.parametrize("ending", ["it is sent again", "nobody sends it again"])
async def test_killed_at_every_step(
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock, method: str, ending: str, *, during: bool
) -> None:
    """In the end every version works, or none; if it is sent again, none."""
    plain = make_service(creates_per_minute=100_000)
    body = BLOCK if method == "PATCH" else None
    for step in range(_MOST_STEPS):
        alice = plain.signed_in(ALICE)
        stable_id, first, second = await two_versions(alice, overlap=7 * DAY)
        kill_switch = KillSwitch(litellm.app, step, during=during)
        service = make_service(ports={"litellm": kill_switch})
        status = await killed(service, kill_switch, method, keys_path(ALICE, stable_id), body)
        if status is not None:
            assert (status in (200, 204), alive(litellm), step) == (True, [], 2 if during else 5)
            return
        clock.advance(31)
        if ending == "it is sent again":
            again = await plain.signed_in(ALICE).request(method, keys_path(ALICE, stable_id), json=body)
            assert again.status_code in (200, 204, 404), (step, again.text)
        for _ in range(3):
            clock.advance(301)
            await plain.run_background_jobs()
        wanted = ([],) if ending == "it is sent again" else ([], [first, second])
        assert alive(litellm) in wanted, f"after step {step}"
        await nothing_is_open(plain)
        for key_id in list(litellm.rows.keys):
            litellm.rows.delete_key(key_id)
        clock.advance(120)
    pytest.fail("it never came to its end")


async def test_a_repair_finds_the_key_in_other_hands(
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """It deletes and blocks only what is the owner's still."""
    plain = make_service()
    stable_id, first, second = await two_versions(plain.signed_in(ALICE))
    wire = Overriding(httpx.ASGITransport(litellm.app), {})
    lossy = make_service(ports={"litellm": wire})
    wire.answers["/key/delete"] = respond(500, json={})
    assert (await lossy.signed_in(ALICE).delete(keys_path(ALICE, stable_id))).status_code == 502
    litellm.rows.delete_key(second)
    litellm.rows.keys[first]["user_id"] = BOB
    clock.advance(301)
    await plain.run_background_jobs()
    assert list(litellm.rows.keys) == [first]
    event = (await events(plain.signed_in(BOB), action="key.delete"))[0]
    assert (event["outcome"], event["after"]) == ("reconciled", {"exists": False})
