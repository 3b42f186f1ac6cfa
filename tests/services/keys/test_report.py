"""Leaked keys: who finds one can report it, and it is blocked for good, whatever fails on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from domain.actions import Action, Intent
from standalone.litellm import LiteLLMStandIn
from state.changes import ChangeTable
from state.database import Database
from state.kept_answers import KeptAnswers
from state.rates import Rates
from state.tables import reported_key
from tests.conftest import ALICE, BASE, BOB, CAROL, Clock, MakeService, Service, keys_path
from tests.support.audit import events
from tests.support.keys import chat, made, refusal
from tests.support.requests import run_cleanup
from tests.support.upstreams import Answer, Gate, Overriding, hang, respond

REPORT = f"{BASE}/keys/report"
FAULTS = {"slow": hang, "failing": respond(500, json={}), "odd": respond(200, json={"info": 7})}


async def marks(service: Service) -> set[str]:
    """The keys that are marked as leaked."""
    database = Database(service.settings.database_url, service.ports.wall_clock)
    async with database.reading() as connection:
        found = set((await connection.execute(sa.select(reported_key.c.key_id))).scalars())
    await database.aclose()
    return found


async def assert_blocked_for_good(service: Service, key_id: str) -> None:
    alice, bob = service.signed_in(ALICE), service.signed_in(BOB)
    assert service.litellm.rows.keys[key_id]["blocked"] is True
    for client in (alice, bob):
        refused = await client.patch(keys_path(ALICE, key_id), json={"blocked": False})
        assert (refused.status_code, "leaked" in refused.json()["error"]["message"]) == (403, True)
    assert (await alice.post(f"{keys_path(ALICE, key_id)}/regenerate", json={})).status_code == 201


async def test_a_leaked_key_is_blocked_at_once(
    alice: httpx.AsyncClient, bob: httpx.AsyncClient, litellm: LiteLLMStandIn
) -> None:
    """Anybody may report it; its owner cannot unblock it, and learns why."""
    key = (await bob.post(keys_path(BOB))).json()
    assert (await alice.post(REPORT, json={"key": key["keySecret"]})).status_code == 202
    assert await chat(litellm, key["keySecret"]) == 401
    status, message = await refusal(await bob.patch(keys_path(BOB, key["keyId"]), json={"blocked": False}))
    assert (status, "reported as leaked" in message) == (403, True)
    event = (await bob.get(f"{BASE}/audit", params={"action": "key.report"})).json()["events"][0]
    assert (event["actor"], event["target"], event["keyId"]) == (ALICE, BOB, key["keyId"])


async def test_the_response_does_not_reveal_whether_the_key_exists(service: Service) -> None:
    """Every authenticated caller may report."""
    alice, carol = service.signed_in(ALICE), service.signed_in(CAROL)
    real = (await alice.post(keys_path(ALICE))).json()["keySecret"]
    answers = [await carol.post(REPORT, json={"key": key}) for key in (real, "sk-nobody-has-this-one")]
    assert [(answer.status_code, answer.json()) for answer in answers] == [(202, {"received": True})] * 2
    assert (await service.client().post(REPORT, json={"key": real})).status_code == 401


@pytest.mark.parametrize("key", ["", "canary", "sk-", "sk-a b c d", "sk-" + "x" * 300, "Bearer sk-canary-1", 5, None])
async def test_a_value_that_is_not_a_secret_is_refused(
    alice: httpx.AsyncClient, litellm: LiteLLMStandIn, log: Any, key: Any
) -> None:
    """400 that does not repeat the value."""
    status, message = await refusal(await alice.post(REPORT, json={"key": key}))
    assert (status, "canary" in message, litellm.requests) == (400, False, [])
    assert "canary" not in log.getvalue()


async def test_the_cleanup_does_not_unblock_a_leaked_key(service: Service, litellm: LiteLLMStandIn) -> None:
    """A user who returns gets their other keys back."""
    bob = service.signed_in(BOB)
    leaver = "user:default/alice"
    leaked = (await service.signed_in(ALICE).post(keys_path(ALICE))).json()
    fine = await made(service.signed_in(ALICE))
    groups, service.backstage.org.users[leaver] = service.backstage.org.users[leaver], set()
    await run_cleanup(bob)
    assert {row["blocked"] for row in litellm.rows.keys.values()} == {True}
    await bob.post(REPORT, json={"key": leaked["keySecret"]})
    service.backstage.org.users[leaver] = groups
    await run_cleanup(bob)
    assert {key_id: row["blocked"] for key_id, row in litellm.rows.keys.items()} == {leaked["keyId"]: True, fine: False}
    told = (await bob.get(f"{BASE}/audit", params={"actor": "cleanup"})).json()["events"]
    assert [(row["action"], row["target"], row["after"]) for row in told] == [
        ("user.restore", ALICE, {"keys": 1}),
        ("user.block", ALICE, {"keys": 2}),
    ]


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_a_report_whose_owner_cannot_be_looked_up(
    make_service: MakeService, litellm: LiteLLMStandIn, fault: Answer
) -> None:
    """The key is blocked and marked at once: no admin revives it, and its owner can rotate it."""
    service = make_service()
    key = (await service.signed_in(ALICE).post(keys_path(ALICE))).json()
    lossy = Overriding(httpx.ASGITransport(litellm.app), {"/key/info": fault})
    reporter = make_service(ports={"litellm": lossy}).signed_in(CAROL)
    assert (await reporter.post(REPORT, json={"key": key["keySecret"]})).status_code == 202
    await assert_blocked_for_good(service, key["keyId"])


@pytest.mark.parametrize("fault", [hang, respond(500, json={})], ids=["slow", "failing"])
async def test_a_report_that_could_not_block_is_carried_out_later(
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock, fault: Answer
) -> None:
    """It is marked from the beginning; reconciliation blocks it, and the log then says whose key it was."""
    service = make_service()
    key = (await service.signed_in(ALICE).post(keys_path(ALICE))).json()
    lossy = Overriding(httpx.ASGITransport(litellm.app), {"/key/block": fault})
    reporter = make_service(ports={"litellm": lossy}).signed_in(CAROL)
    assert (await reporter.post(REPORT, json={"key": key["keySecret"]})).status_code in (502, 504)
    clock.advance(301)
    await service.run_background_jobs()
    (event,) = await events(service.signed_in(BOB), action="key.report")
    assert (event["outcome"], event["target"], event["after"]) == ("reconciled", ALICE, {"known": True})
    await assert_blocked_for_good(service, key["keyId"])


async def test_a_process_that_dies_during_a_report(
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """The mark is as old as the report; repair blocks the key, also without the reporter."""
    service = make_service()
    key = (await service.signed_in(ALICE).post(keys_path(ALICE))).json()

    class Dead(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await make_service(ports={"litellm": Dead()}).signed_in(CAROL).post(REPORT, json={"key": key["keySecret"]})
    refused = await service.signed_in(BOB).patch(keys_path(ALICE, key["keyId"]), json={"blocked": True})
    assert refused.status_code == 200
    refused = await service.signed_in(BOB).patch(keys_path(ALICE, key["keyId"]), json={"blocked": False})
    assert refused.status_code == 403
    clock.advance(301)
    await service.run_background_jobs()
    await assert_blocked_for_good(service, key["keyId"])


async def test_a_report_that_an_older_version_did_not_finish(service: Service, clock: Clock) -> None:
    """It left no mark, because the look-up of the owner failed first: repair marks and blocks."""
    key = (await service.signed_in(ALICE).post(keys_path(ALICE))).json()
    database = Database(service.settings.database_url, clock)
    changes = ChangeTable(database, KeptAnswers(database), Rates(database))
    async with database.transaction() as connection:
        report = Intent("older", CAROL, Action.KEY_REPORT, key_id=key["keyId"])
        change_id = await changes.insert_running(connection, report, None)
    assert change_id is not None
    await changes.interrupt(change_id, "older")
    await database.aclose()
    clock.advance(301)
    await service.run_background_jobs()
    await assert_blocked_for_good(service, key["keyId"])


async def test_a_made_up_report_is_forgotten_and_a_real_one_is_not(
    service: Service, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """A mark lasts for as long as LiteLLM has its key, which is asked once a day; marks of deleted keys go too."""
    alice, carol = service.signed_in(ALICE), service.signed_in(CAROL)
    kept, deleted = [(await alice.post(keys_path(ALICE))).json() for _ in range(2)]
    for secret in (kept["keySecret"], deleted["keySecret"], *(f"sk-made-up-{number}" for number in range(20))):
        assert (await carol.post(REPORT, json={"key": secret})).status_code == 202
    assert (await alice.delete(keys_path(ALICE, deleted["keyId"]))).status_code == 204
    for _ in range(3):
        clock.advance(86_401)
        await service.run_background_jobs()
    assert await marks(service) == {kept["keyId"]}
    litellm.requests.clear()
    clock.advance(3600)
    await service.run_background_jobs()
    assert litellm.requests == []
    await assert_blocked_for_good(service, kept["keyId"])


class Meanwhile(httpx.AsyncBaseTransport):
    """A LiteLLM before which something happens when a key is changed."""

    def __init__(self, litellm: LiteLLMStandIn) -> None:
        self._inner = httpx.ASGITransport(litellm.app)
        self.happens: Callable[[], Awaitable[Any]] | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/key/update" and self.happens is not None:
            await self.happens()
        return await self._inner.handle_async_request(request)


@pytest.mark.parametrize("is_blocked", [False, True])
async def test_a_report_during_an_unblock(
    make_service: MakeService, litellm: LiteLLMStandIn, *, is_blocked: bool
) -> None:
    """Who unblocks a key while it is reported does not revive it."""
    meanwhile = Meanwhile(litellm)
    service = make_service(ports={"litellm": meanwhile})
    alice, carol = service.signed_in(ALICE), service.signed_in(CAROL)
    key = (await alice.post(keys_path(ALICE))).json()
    await alice.patch(keys_path(ALICE, key["keyId"]), json={"blocked": is_blocked})
    meanwhile.happens = lambda: carol.post(REPORT, json={"key": key["keySecret"]})
    assert (await alice.patch(keys_path(ALICE, key["keyId"]), json={"blocked": False})).status_code == 403
    meanwhile.happens = None
    await assert_blocked_for_good(service, key["keyId"])


async def test_litellm_says_why_a_leaked_key_is_blocked(
    service: Service, alice: httpx.AsyncClient, bob: httpx.AsyncClient, clock: Clock
) -> None:
    """Written once, without the reporter's name; the alias and what others wrote stay, and the audit log has it."""
    body = {"alias": "laptop", "metadata": {"team": "search"}}
    created = (await alice.post(keys_path(ALICE), json=body)).json()
    assert (await bob.post(f"{BASE}/keys/report", json={"key": created["keySecret"]})).status_code == 202
    for _ in range(2):
        await service.run_background_jobs()
        clock.advance(121)
    (event,) = await events(bob, action="key.update")
    assert (event["actor"], event["target"], event["keyId"]) == ("reports", ALICE, created["keyId"])
    assert (event["requested"], event["after"]) == ({"blockedBy": "report"}, {"exists": True})
    key = (await alice.get(keys_path(ALICE, created["keyId"]))).json()
    assert (key["blockedBy"], key["blockedAt"] is None, key["blocked"]) == ("report", False, True)
    assert (key["key_alias"], key["metadata"]) == ("laptop", {"team": "search"})
    assert BOB not in str(service.litellm.rows.keys[created["keyId"]]["metadata"])


async def test_the_log_says_whose_key_was_reported(service: Service, bob: httpx.AsyncClient) -> None:
    """And whether LiteLLM has such a key: for an admin, as the answer tells the reporter neither."""
    key = (await service.signed_in(ALICE).post(keys_path(ALICE))).json()
    for secret in ("sk-made-up", key["keySecret"]):
        assert (await service.signed_in(CAROL).post(REPORT, json={"key": secret})).status_code == 202
    told = [(event["actor"], event["target"], event["after"]) for event in await events(bob, action="key.report")]
    assert told == [(CAROL, ALICE, {"known": True}), (CAROL, None, {"known": False})]


async def test_a_leaked_key_that_was_made_elsewhere(
    service: Service, litellm: LiteLLMStandIn, clock: Clock, bob: httpx.AsyncClient
) -> None:
    """It is blocked; nothing is written into its metadata, the audit log claims no change of it, and that is all."""
    litellm.rows.add_user({"user_id": ALICE})
    row, secret = litellm.rows.add_key({"user_id": ALICE, "metadata": {"tags": ["a"]}})
    assert (await bob.post(REPORT, json={"key": secret})).status_code == 202
    await service.run_background_jobs()
    assert (litellm.rows.keys[row["token"]]["blocked"], row["metadata"]) == (True, {"tags": ["a"]})
    litellm.requests.clear()
    clock.advance(121)
    await service.run_background_jobs()
    assert litellm.requests == []
    assert await events(bob, action="key.update") == []


async def test_a_leaked_key_that_is_deleted_before_the_owners_turn(
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """Nothing is left to annotate: the audit log says so, and it is not tried again."""
    service = make_service()
    key = (await service.signed_in(ALICE).post(keys_path(ALICE))).json()
    assert (await service.signed_in(CAROL).post(REPORT, json={"key": key["keySecret"]})).status_code == 202
    gate = Gate(litellm, "/key/list", after=True)
    annotating = asyncio.create_task(make_service(ports={"litellm": gate}).run_background_jobs())
    await gate.reached.wait()
    litellm.rows.delete_key(key["keyId"])
    gate.open.set()
    await annotating
    clock.advance(121)
    await service.run_background_jobs()
    (event,) = await events(service.signed_in(BOB), action="key.update")
    assert (event["actor"], event["outcome"], event["after"]) == ("reports", "done", {"exists": False})
