"""Keys in their overlap: one for each key, and never a surprise for their owner when a newer key goes."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from app import Orchestrator
from domain.due import Kind
from domain.users import Tier
from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BASE, BOB, Clock, MakeService, Service, keys_path
from tests.support.audit import nothing_is_open
from tests.support.keys import NAMED, alive, made, refusal, rotated, tiered
from tests.support.kill_points import Killed, KillSwitch
from tests.support.upstreams import Overriding, respond

WEEK = 604_800
_MOST_STEPS = 80


async def described(client: httpx.AsyncClient, key_id: str) -> Any:
    """The key, which the list shows alike."""
    row = (await client.get(keys_path(ALICE, key_id))).json()
    assert row in (await client.get(keys_path(ALICE))).json()["keys"]
    return row


async def events_of(service: Service, action: str) -> list[Any]:
    answer = await service.signed_in(BOB).get(f"{BASE}/audit", params={"limit": 100, "action": action})
    return list(answer.json()["events"])


async def test_rotations_do_not_multiply_keys(make_service: MakeService, clock: Clock) -> None:
    """Nine rotations with a week's overlap leave the newest key and the one before; each says what it ended."""
    service = tiered(make_service, Tier(max_keys=1, max_budget=5))
    alice = service.signed_in(ALICE)
    ids = [await made(alice, maxBudget=5)]
    for _ in range(9):
        new = await rotated(alice, ids[-1], overlap=WEEK)
        assert (new["revokes"]["keyId"], new["revokedAtOnce"]) == (ids[-1], ids[-2:-1])
        ids.append(new["keyId"])
        assert list(service.litellm.rows.keys) == ids[-2:]
        clock.advance(60)
    assert (await alice.post(keys_path(ALICE), json={})).status_code == 409
    assert (await described(alice, ids[-1]))["pendingRevocations"] == [new["revokes"]]
    ended = [{}, *({"revokedAtOnce": [key_id]} for key_id in ids)]
    assert [event["after"] for event in (await events_of(service, "key.regenerate"))[::-1]] == [
        {"replacedBy": new, "version": number} | more
        for number, (new, more) in enumerate(zip(ids[1:], ended, strict=False), 2)
    ]
    clock.advance(WEEK)
    await service.run_background_jobs()
    assert list(service.litellm.rows.keys) == ids[-1:]


async def test_short_lived_replacements_do_not_multiply_keys(make_service: MakeService, clock: Clock) -> None:
    """A key whose replacement has expired still works, so it counts: no other is created beside it."""
    service = tiered(make_service, Tier(max_keys=1))
    alice = service.signed_in(ALICE)
    first = await made(alice)
    await rotated(alice, first, overlap=WEEK, expiresIn=60)
    clock.advance(61)
    assert await refusal(await alice.post(keys_path(ALICE), json={})) == (
        409,
        "The user has 1 keys; the tier userDefaults allows 1",
    )
    await rotated(alice, first, overlap=WEEK)
    assert (await alice.post(keys_path(ALICE), json={})).status_code == 409


async def test_an_older_key_that_cannot_be_deleted_at_once_is_deleted_later(
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """LiteLLM may fail right after the rotation: what it promised is due, whatever happens to the newer keys."""
    wire = Overriding(httpx.ASGITransport(litellm.app), {})
    service = make_service(ports={"litellm": wire})
    alice = service.signed_in(ALICE)
    first = await made(alice)
    second = (await rotated(alice, first, overlap=WEEK))["keyId"]
    wire.answers["/key/delete"] = respond(500, json={})
    third = (await rotated(alice, second, overlap=WEEK))["keyId"]
    assert list(litellm.rows.keys) == [first, second, third]
    wire.answers.clear()
    assert (await alice.delete(keys_path(ALICE, second))).status_code == 204
    clock.advance(6)
    await service.run_background_jobs()
    assert list(litellm.rows.keys) == [third]


async def test_a_repeated_request_ends_the_same_keys(alice: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """The answer that was kept says it, and nothing more ends."""
    first = await made(alice)
    second = (await rotated(alice, first, overlap=WEEK))["keyId"]
    path = f"{keys_path(ALICE, second)}/regenerate"
    answers = [await alice.post(path, json={"overlap": WEEK}, headers=NAMED) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert answers[1].json()["revokedAtOnce"] == [first]
    assert list(litellm.rows.keys) == [second, answers[0].json()["keyId"]]


@pytest.mark.parametrize(("query", "kept"), [("", True), ("?replaced=keep", True), ("?replaced=delete", False)])
async def test_deleting_a_replacement(
    service: Service, alice: httpx.AsyncClient, query: str, clock: Clock, *, kept: bool
) -> None:
    """Unless asked to, it leaves its owner the key in its overlap, which no longer ends; the audit log says so."""
    first = await made(alice)
    second = (await rotated(alice, first, overlap=60))["keyId"]
    assert (await alice.delete(f"{keys_path(ALICE, second)}{query}")).status_code == 204
    clock.advance(61)
    await service.run_background_jobs()
    assert list(service.litellm.rows.keys) == ([first] if kept else [])
    if kept:
        row = await described(alice, first)
        assert (row["revokeAt"], row["replacedBy"]) == (None, None)
    (event,) = await events_of(service, "key.delete")
    assert (event["requested"], event["after"]) == (
        {"replaced": "keep" if kept else "delete"},
        {"kept" if kept else "deleted": [first]},
    )
    assert await events_of(service, "key.revoke") == []


async def test_only_what_the_contract_knows_becomes_of_the_older_key(alice: httpx.AsyncClient) -> None:
    """400, and both keys stay."""
    first = await made(alice)
    second = (await rotated(alice, first, overlap=60))["keyId"]
    status, message = await refusal(await alice.delete(f"{keys_path(ALICE, second)}?replaced=forget"))
    assert (status, "replaced must be one of keep, delete" in message) == (400, True), message
    assert len((await alice.get(keys_path(ALICE))).json()["keys"]) == 2


async def test_deleting_a_key_that_replaced_none(service: Service, alice: httpx.AsyncClient) -> None:
    """Nothing else happens, and nothing is recorded but what the key was."""
    kept, deleted = await made(alice), await made(alice, alias="laptop")
    await alice.delete(f"{keys_path(ALICE, deleted)}?replaced=delete")
    assert list(service.litellm.rows.keys) == [kept]
    (event,) = await events_of(service, "key.delete")
    assert (event["keyId"], event["before"]["key_alias"], event["after"]) == (deleted, "laptop", None)


async def test_an_older_key_that_is_gone_does_not_stop_the_deletion(
    alice: httpx.AsyncClient, litellm: LiteLLMStandIn
) -> None:
    """Somebody deleted it elsewhere."""
    first = await made(alice)
    second = (await rotated(alice, first, overlap=60))["keyId"]
    litellm.rows.delete_key(first)
    assert (await alice.delete(f"{keys_path(ALICE, second)}?replaced=delete")).status_code == 204
    assert litellm.rows.keys == {}


@pytest.mark.parametrize("end", ["deleted elsewhere", "expired"])
async def test_a_key_whose_replacement_is_gone(
    service: Service, alice: httpx.AsyncClient, litellm: LiteLLMStandIn, clock: Clock, end: str
) -> None:
    """List and key agree on when it ends, as the rotation said; until then it can be changed, blocked and rotated."""
    first, other = await made(alice), await made(alice, alias="other")
    new = await rotated(alice, first, overlap=600, expiresIn=60)
    clock.advance(61)
    if end == "deleted elsewhere":
        litellm.rows.delete_key(new["keyId"])
    row = await described(alice, first)
    assert (row["revokeAt"], row["replacedBy"]) == (new["revokes"]["revokeAt"], new["keyId"])
    assert (await alice.patch(keys_path(ALICE, first), json={"alias": "other"})).status_code == 409
    assert (await alice.patch(keys_path(ALICE, first), json={"alias": "mine"})).status_code == 200
    newest = await rotated(alice, first, overlap=1200)
    assert newest["revokedAtOnce"] == []
    row = await described(alice, first)
    assert (row["revokeAt"], row["replacedBy"]) == (newest["revokes"]["revokeAt"], newest["keyId"])
    clock.advance(1201)
    await service.run_background_jobs()
    assert set(litellm.rows.keys) - {new["keyId"]} == {other, newest["keyId"]}


async def test_a_key_in_its_overlap_ends_although_its_replacement_is_gone(
    service: Service, alice: httpx.AsyncClient, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """Its owner rotated it to be rid of it, and can see when it ends; what happens elsewhere does not revive it."""
    first = await made(alice)
    litellm.rows.delete_key((await rotated(alice, first, overlap=60))["keyId"])
    clock.advance(61)
    await service.run_background_jobs()
    assert litellm.rows.keys == {}


async def test_a_key_in_its_overlap_can_be_changed(alice: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """Its end stays; blocking it ends its use before."""
    first = await made(alice)
    new = await rotated(alice, first, overlap=60)
    changed = (await alice.patch(keys_path(ALICE, first), json={"blocked": True, "rpmLimit": 5})).json()
    assert (changed["blocked"], changed["rpm_limit"], changed["revokeAt"]) == (True, 5, new["revokes"]["revokeAt"])
    status, message = await refusal(await alice.post(f"{keys_path(ALICE, first)}/regenerate"))
    assert (status, "replaced already" in message) == (409, True)


async def test_a_revocation_that_is_already_claimed_leaves_a_key_that_is_kept(
    service: Service, alice: httpx.AsyncClient, litellm: LiteLLMStandIn
) -> None:
    """A replica took it when it was due, and waited for the owner's turn while the newer key was deleted."""
    first = await made(alice)
    second = (await rotated(alice, first, overlap=60))["keyId"]
    replica = Orchestrator(service.settings, service.ports)
    (claimed,) = await replica.foundation.due.of_owner(Kind.REVOCATION, ALICE)
    await alice.delete(keys_path(ALICE, second))
    await replica.background.due.handlers[Kind.REVOCATION](claimed)
    await replica.aclose()
    assert list(litellm.rows.keys) == [first]
    assert [event["after"] for event in await events_of(service, "key.revoke")] == [{"deleted": []}]


async def killed_while_deleting(service: Service, kill_switch: KillSwitch, path: str) -> bool:
    """Deletes with a service that is killed. Whether it was."""
    with kill_switch.watching():
        try:
            assert (await service.signed_in(ALICE).delete(path)).status_code == 204
        except Killed:
            return True
    return False


@pytest.mark.parametrize("during", [False, True], ids=["before a request", "after LiteLLM did it"])
@pytest.mark.parametrize("replaced", ["keep", "delete"])
async def test_a_deletion_killed_at_every_step(
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock, *, during: bool, replaced: str
) -> None:
    """Nothing happened, and the older key ends as planned; or all of it did: never both keys gone where one is kept."""
    plain = make_service(creates_per_minute=100_000)
    for step in range(_MOST_STEPS):
        alice = plain.signed_in(ALICE)
        first = await made(alice)
        second = (await rotated(alice, first, overlap=60))["keyId"]
        kill_switch = KillSwitch(litellm.app, step, during=during)
        path = f"{keys_path(ALICE, second)}?replaced={replaced}"
        was_killed = await killed_while_deleting(make_service(ports={"litellm": kill_switch}), kill_switch, path)
        # The overlap ends before the interrupted deletion is reconciled.
        clock.advance(61)
        for _ in range(3):
            await plain.run_background_jobs()
            clock.advance(301)
        await plain.run_background_jobs()
        is_deleted = second not in litellm.rows.keys
        assert list(litellm.rows.keys) == ([first] if replaced == "keep" else []) if is_deleted else [second], step
        await nothing_is_open(plain)
        if not was_killed:
            assert is_deleted
            assert (
                step
                == {("keep", False): 3, ("keep", True): 1, ("delete", False): 4, ("delete", True): 2}[replaced, during]
            )
            return
        for key_id in list(litellm.rows.keys):
            await alice.delete(keys_path(ALICE, key_id))
        clock.advance(86_400)
    pytest.fail("a deletion never came to its end")


@pytest.mark.parametrize("during", [False, True], ids=["before a request", "after LiteLLM did it"])
async def test_a_second_rotation_killed_at_every_step(
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock, *, during: bool
) -> None:
    """Sent again, it leaves the newest key and the one before, and the oldest ends without waiting for its overlap."""
    plain = make_service(creates_per_minute=100_000)
    for step in range(_MOST_STEPS):
        alice = plain.signed_in(ALICE)
        first = await made(alice)
        second = (await rotated(alice, first, overlap=WEEK))["keyId"]
        path = f"{keys_path(ALICE, second)}/regenerate"
        named = {"Idempotency-Key": f"rotate-{step}"}
        kill_switch = KillSwitch(litellm.app, step, during=during)
        doomed = make_service(ports={"litellm": kill_switch})
        with kill_switch.watching():
            try:
                answer = await doomed.signed_in(ALICE).post(path, json={"overlap": WEEK}, headers=named)
            except Killed:
                answer = None
        was_killed = answer is None
        assert alive(litellm)
        clock.advance(31)
        answer = answer or await alice.post(path, json={"overlap": WEEK}, headers=named)
        assert (answer.status_code, answer.json()["revokedAtOnce"]) == (201, [first]), (step, answer.text)
        clock.advance(31)
        await plain.run_background_jobs()
        assert list(litellm.rows.keys) == [second, answer.json()["keyId"]], step
        if not was_killed:
            assert step == (2 if during else 6)
            return
        for key_id in list(litellm.rows.keys):
            await alice.delete(keys_path(ALICE, key_id))
        clock.advance(86_400)
    pytest.fail("a rotation never came to its end")
