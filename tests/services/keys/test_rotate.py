"""Rotation: at every moment one of the two keys works, and the old one ends, whatever is killed meanwhile."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from domain.times import seconds_of
from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BASE, BOB, Clock, MakeService, Service, keys_path
from tests.support.audit import nothing_is_open
from tests.support.keys import LAPTOP, NAMED, alive, chat, made, refusal, rotated, tiered
from tests.support.kill_points import Killed, KillSwitch
from tests.support.upstreams import Answer, Overriding, respond

_MOST_STEPS = 80


async def test_the_new_key_has_the_properties_of_the_old(
    alice: httpx.AsyncClient, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """Except for the secret. The amount spent is carried over: rotating gives no new budget."""
    old_id = await made(alice, **LAPTOP)
    litellm.rows.keys[old_id]["spend"] = 3.5
    new = await rotated(alice, old_id)
    row = (await alice.get(keys_path(ALICE, new["keyId"]))).json()
    assert (row["key_alias"], row["models"], row["max_budget"], row["budget_duration"]) == (
        "laptop",
        ["gpt-fake"],
        5,
        "7d",
    )
    assert (row["tpm_limit"], row["rpm_limit"], row["metadata"]) == (1000, 10, {"team": "search"})
    assert (row["spend"], seconds_of(row["expires"], "expires")) == (3.5, clock() + 3600)
    assert list(litellm.rows.keys) == [new["keyId"]]
    assert await chat(litellm, new["keySecret"]) == 200


async def test_the_body_overrides_properties(alice: httpx.AsyncClient, litellm: LiteLLMStandIn, clock: Clock) -> None:
    """The other properties stay."""
    new = await rotated(alice, await made(alice, **LAPTOP), alias="desktop", maxBudget=7, expiresIn=7200)
    row = (await alice.get(keys_path(ALICE, new["keyId"]))).json()
    assert (row["key_alias"], row["max_budget"], row["rpm_limit"]) == ("desktop", 7, 10)
    assert seconds_of(row["expires"], "expires") == clock() + 7200
    new = await rotated(alice, new["keyId"], models=[], metadata={"a": "b"}, expiresAt="2027-01-15T09:00:00Z")
    row = (await alice.get(keys_path(ALICE, new["keyId"]))).json()
    assert (row["key_alias"], row["max_budget"], row["models"], row["metadata"]) == ("desktop", 7, [], {"a": "b"})
    assert row["expires"].startswith("2027-01-15T09:00:00")


async def test_the_new_alias_is_free_or_the_old_one(alice: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """Another key's is a 409 that leaves no key, until that one is replaced under another name, overlap or not."""
    laptop, other = await made(alice, alias="laptop"), await made(alice, alias="other")
    path = f"{keys_path(ALICE, other)}/regenerate"
    assert await refusal(await alice.post(path, json={"alias": "laptop"})) == (
        409,
        "Another key has the alias laptop; choose a different one",
    )
    assert list(litellm.rows.keys) == [laptop, other]
    await rotated(alice, laptop, alias="desktop", overlap=60)
    other = (await rotated(alice, other, alias="laptop"))["keyId"]
    await rotated(alice, other, alias="laptop")


@pytest.mark.parametrize(
    ("asked", "says"), [({"rpmLimit": 11}, "rpmLimit must be at most 10"), ({"expiresIn": 86_401}, "at most 86400")]
)
async def test_a_tier_is_not_exceeded_by_a_rotation(
    make_service: MakeService, asked: dict[str, Any], says: str
) -> None:
    """403, and both are as before; an admin may exceed it for another user."""
    service = tiered(make_service)
    alice, bob = service.signed_in(ALICE), service.signed_in(BOB)
    path = f"{keys_path(ALICE, await made(alice))}/regenerate"
    status, message = await refusal(await alice.post(path, json=asked))
    assert (status, says in message, len(service.litellm.rows.keys)) == (403, True, 1), message
    assert (await bob.post(path, json=asked)).status_code == 201


async def test_how_long_the_new_key_lives(make_service: MakeService, clock: Clock) -> None:
    """As long as the old one, to its last second; one that had no end gets the longest life of today's tier."""
    alice = make_service().signed_in(ALICE)
    endless, ending = await made(alice), await made(alice, expiresIn=60)
    clock.advance(59.5)
    for client, key_id, life in ((alice, ending, 1), (tiered(make_service).signed_in(ALICE), endless, 86_400)):
        new = (await rotated(client, key_id))["keyId"]
        row = (await alice.get(keys_path(ALICE, new))).json()
        assert seconds_of(row["expires"], "expires") == clock() + life


async def test_the_old_key_works_for_the_overlap(
    service: Service, alice: httpx.AsyncClient, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """Both keys show the end of the old one, which is deleted at that time and not before; the audit log says why."""
    first = (await alice.post(keys_path(ALICE))).json()
    new = await rotated(alice, first["keyId"], overlap=60)
    ends = "2027-01-15T08:01:00Z"
    assert new["revokes"] == {"keyId": first["keyId"], "id": first["id"], "revokeAt": ends}
    for row in (await alice.get(keys_path(ALICE))).json()["keys"]:
        is_old = row["token"] == first["keyId"]
        assert row["pendingRevocations"] == ([] if is_old else [new["revokes"]])
        assert (row["revokeAt"], row["replacedBy"]) == ((ends, new["keyId"]) if is_old else (None, None))
        assert (await alice.get(keys_path(ALICE, row["token"]))).json() == row
    clock.advance(59)
    await service.run_background_jobs()
    assert await chat(litellm, first["keySecret"]) == 200
    clock.advance(1)
    await service.run_background_jobs()
    assert await chat(litellm, first["keySecret"]) == 401
    assert await chat(litellm, new["keySecret"]) == 200
    assert (await alice.get(keys_path(ALICE, new["keyId"]))).json()["pendingRevocations"] == []
    ended, rotation, _, _ = (await alice.get(f"{BASE}/audit")).json()["events"]
    assert (ended["actor"], ended["action"], ended["keyId"]) == ("rotation", "key.revoke", first["keyId"])
    assert (ended["requested"], ended["after"]) == ({"replacedBy": new["keyId"]}, None)
    assert (rotation["actor"], rotation["action"], rotation["keyId"]) == (ALICE, "key.regenerate", first["keyId"])
    assert (rotation["requested"], rotation["after"]) == ({"overlap": 60}, {"replacedBy": new["keyId"], "version": 2})


@pytest.mark.parametrize("answer", [respond(500, json={}), respond(404, text="default backend - 404")])
async def test_a_failed_revocation_is_retried(
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock, answer: Answer
) -> None:
    """LiteLLM may be down when the revocation is due, or the ingress before it not know it."""
    flaky = Overriding(httpx.ASGITransport(litellm.app), {})
    service = make_service(ports={"litellm": flaky})
    alice = service.signed_in(ALICE)
    new = await rotated(alice, await made(alice), overlap=1)
    flaky.answers["/key/delete"] = answer
    clock.advance(2)
    await service.run_background_jobs()
    assert len(litellm.rows.keys) == 2
    flaky.answers.clear()
    await service.run_background_jobs()
    assert len(litellm.rows.keys) == 2, "not at once"
    clock.advance(6)
    await service.run_background_jobs()
    assert list(litellm.rows.keys) == [new["keyId"]]


async def test_a_key_that_cannot_be_rotated(
    alice: httpx.AsyncClient, bob: httpx.AsyncClient, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """It is replaced, blocked or expired, or has properties that a new key would lose."""
    replaced, blocked, over = await made(alice), await made(alice), await made(alice, expiresIn=60)
    await rotated(alice, replaced, overlap=600)
    await bob.patch(keys_path(ALICE, blocked), json={"blocked": True})
    clock.advance(61)
    foreign, _ = litellm.rows.add_key({"user_id": ALICE, "team_id": "research"})
    before = set(litellm.rows.keys)
    for key_id, says in (
        (replaced, "replaced already"),
        (blocked, "is blocked"),
        (over, "has expired"),
        (foreign["token"], "set elsewhere: team_id"),
    ):
        status, message = await refusal(await alice.post(f"{keys_path(ALICE, key_id)}/regenerate"))
        assert (status, says in message) == (409, True), message
    assert set(litellm.rows.keys) == before


@pytest.mark.parametrize("overlap", [-1, 604_801, 1.5, "60", None])
async def test_invalid_overlaps_are_refused(alice: httpx.AsyncClient, overlap: object) -> None:
    """From now to seven days."""
    answer = await alice.post(f"{keys_path(ALICE, '0' * 64)}/regenerate", json={"overlap": overlap})
    assert answer.status_code == 400


async def test_a_leaked_key_is_replaced_at_once(alice: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """It stays blocked until it is deleted; the new one works."""
    leaked = (await alice.post(keys_path(ALICE))).json()
    await alice.post(f"{BASE}/keys/report", json={"key": leaked["keySecret"]})
    new = await rotated(alice, leaked["keyId"], overlap=600)
    assert (await chat(litellm, leaked["keySecret"]), await chat(litellm, new["keySecret"])) == (401, 200)


async def test_a_repeated_request_rotates_once(alice: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """The repetition gets the first answer, although the old key is gone; another rotation is not a repetition."""
    other = f"{keys_path(ALICE, await made(alice))}/regenerate"
    path = f"{keys_path(ALICE, await made(alice))}/regenerate"
    first, again = await alice.post(path, headers=NAMED), await alice.post(path, headers=NAMED)
    assert (first.status_code, first.json()) == (201, again.json())
    before = list(litellm.rows.keys)
    assert before[1:] == [first.json()["keyId"]]
    assert (await alice.post(other, headers=NAMED)).status_code == 422
    assert (await alice.post(path, json={"rpmLimit": 5}, headers=NAMED)).status_code == 422
    assert list(litellm.rows.keys) == before


async def killed_while_rotating(
    service: Service, kill_switch: KillSwitch, path: str, overlap: int
) -> httpx.Response | None:
    """Rotates with a service that is killed. Returns None if it was killed."""
    with kill_switch.watching():
        try:
            return await service.signed_in(ALICE).post(path, json={"overlap": overlap}, headers=NAMED)
        except Killed:
            return None


@pytest.mark.parametrize(
    ("during", "overlap", "steps"),
    [(False, 0, 7), (False, 60, 4), (True, 60, 2)],
    ids=["before a request", "before a request, overlapping", "after LiteLLM did it"],
)
@pytest.mark.parametrize("ending", ["it is sent again", "nobody sends it again"])
async def test_killed_at_every_step(
    make_service: MakeService,
    litellm: LiteLLMStandIn,
    clock: Clock,
    *,
    during: bool,
    overlap: int,
    steps: int,
    ending: str,
) -> None:
    """At every moment one key works; in the end one is left, and the caller who retried has its secret."""
    plain = make_service(creates_per_minute=100_000)
    for step in range(_MOST_STEPS):
        old = (await plain.signed_in(ALICE).post(keys_path(ALICE), json={"alias": f"a{step}"})).json()
        path = f"{keys_path(ALICE, old['keyId'])}/regenerate"
        kill_switch = KillSwitch(litellm.app, step, during=during)
        answer = await killed_while_rotating(make_service(ports={"litellm": kill_switch}), kill_switch, path, overlap)
        assert alive(litellm), f"both are dead after step {step}"
        if answer is not None:
            assert answer.status_code == 201
            assert step == steps
            return
        clock.advance(31)
        await plain.run_background_jobs()
        assert alive(litellm), f"both are dead after step {step}"
        if ending == "it is sent again":
            answer = await plain.signed_in(ALICE).post(path, json={"overlap": overlap}, headers=NAMED)
            assert answer.status_code == 201, (step, answer.text)
            assert await chat(litellm, answer.json()["keySecret"]) == 200
            assert len(litellm.rows.keys) <= 1 + (overlap > 0), f"one was left behind at step {step}"
        for _ in range(3):
            clock.advance(301)
            await plain.run_background_jobs()
        assert len(alive(litellm)) == 1, f"{len(alive(litellm))} are left after step {step}"
        if answer is not None:
            assert alive(litellm) == [answer.json()["keyId"]]
        await nothing_is_open(plain)
        await plain.signed_in(ALICE).delete(keys_path(ALICE, alive(litellm)[0]))
        clock.advance(86_400)
    pytest.fail("a rotation never came to its end")
