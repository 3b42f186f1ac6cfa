"""The audit log: every change is recorded before it is made, and never with a secret."""

from __future__ import annotations

import asyncio
import io
import sqlite3
from pathlib import Path
from typing import Any

import httpx
import pytest

from domain.pages import cursor_of
from settings.parse import from_app_config
from standalone.backstage import BackstageStandIn
from standalone.litellm import LiteLLMStandIn
from tests.conftest import (
    ALICE,
    BASE,
    BOB,
    CAROL,
    SERVICE_TOKEN,
    Clock,
    MakeService,
    Service,
    keys_path,
    stored_in,
    user_path,
)
from tests.support.audit import AUDIT, events
from tests.support.keys import made
from tests.support.upstreams import Gate, Overriding, answering, mint_and_lose


async def test_every_change_is_recorded(alice: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    """Who, what, whose, which request, and the outcome. Reads are not recorded."""
    key_id = await made(alice, alias="a")
    changed = await alice.patch(keys_path(ALICE, key_id), json={"alias": "b", "maxBudget": 3})
    await alice.get(keys_path(ALICE))
    new = (await alice.post(f"{keys_path(ALICE, key_id)}/regenerate", json={})).json()["keyId"]
    await bob.patch(user_path(ALICE), json={"maxBudget": 7})
    await alice.delete(keys_path(ALICE, new))
    await bob.delete(user_path(ALICE))
    told = [(row["actor"], row["action"], row["target"], row["keyId"], row["outcome"]) for row in await events(bob)]
    assert told[::-1] == [
        (ALICE, "user.create", ALICE, None, "done"),
        (ALICE, "key.create", ALICE, key_id, "done"),
        (ALICE, "key.update", ALICE, key_id, "done"),
        (ALICE, "key.regenerate", ALICE, key_id, "done"),
        ("rotation", "key.revoke", ALICE, key_id, "done"),
        (BOB, "user.update", ALICE, None, "done"),
        (ALICE, "key.delete", ALICE, new, "done"),
        (BOB, "user.block", ALICE, None, "done"),
        (BOB, "user.delete", ALICE, None, "done"),
    ]
    update = (await events(bob, action="key.update"))[0]
    assert update["requestId"] == changed.headers["x-request-id"]
    assert (update["before"]["key_alias"], update["before"]["max_budget"]) == ("a", None)
    assert update["requested"] == {"alias": "b", "max_budget": 3}
    assert (update["after"]["key_alias"], update["after"]["max_budget"]) == ("b", 3)
    assert (await events(bob, action="user.update"))[0]["before"]["max_budget"] == 100


async def test_the_plugin_of_a_change_is_recorded(service: Service, backstage: BackstageStandIn) -> None:
    """The user is the actor, and `via` is the plugin that called on their behalf."""
    on_behalf = service.client(backstage.plugin_token(backstage.limited_token(ALICE)))
    await on_behalf.post(keys_path(ALICE))
    assert {(row["actor"], row["via"]) for row in await events(service.signed_in(BOB))} == {(ALICE, "plugin:tokens")}


async def test_a_denied_attempt_is_recorded(service: Service) -> None:
    """With the reason."""
    alice, carol = service.signed_in(ALICE), service.signed_in(CAROL)
    await carol.post(keys_path(CAROL))
    await alice.delete(keys_path(BOB, "0" * 64))
    await alice.patch(user_path(ALICE), json={"maxBudget": 10**6})
    await alice.post(f"{BASE}/users", json={"userId": BOB})
    told = [(r["actor"], r["action"], r["target"], r["outcome"]) for r in await events(service.signed_in(BOB))]
    assert told[::-1] == [
        (CAROL, "key.create", CAROL, "denied"),
        (ALICE, "key.delete", BOB, "denied"),
        (ALICE, "user.update", ALICE, "denied"),
        (ALICE, "user.create", BOB, "denied"),
    ]
    detail = (await events(service.signed_in(BOB), actor=CAROL))[0]["detail"]
    assert detail == f"{CAROL} is in neither the allowed group nor the admin group"


async def test_a_refusal_within_a_change_is_a_denial(alice: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    """What a key's state or the tier forbids is denied, as what the role forbids is; a conflict is a failure."""
    key_id = await made(alice, alias="taken")
    path = keys_path(ALICE, key_id)
    await bob.patch(path, json={"blocked": True})
    assert (await alice.patch(path, json={"blocked": False})).status_code == 403
    assert (await alice.post(keys_path(ALICE), json={"maxBudget": 10**6})).status_code == 403
    assert (await alice.post(keys_path(ALICE), json={"alias": "taken"})).status_code == 409
    told = [(row["action"], row["outcome"]) for row in (await events(bob, actor=ALICE))[:3]]
    assert told[::-1] == [("key.update", "denied"), ("key.create", "denied"), ("key.create", "failed")]


async def test_members_read_their_own_events(service: Service) -> None:
    """Changes by them and changes to their resources; no filter shows them other users' events."""
    alice, bob = service.signed_in(ALICE), service.signed_in(BOB)
    await alice.post(keys_path(ALICE))
    await bob.post(keys_path(ALICE))
    await bob.post(keys_path(BOB))
    assert {(row["actor"], row["target"]) for row in await events(alice)} == {(ALICE, ALICE), (BOB, ALICE)}
    assert {row["target"] for row in await events(alice, actor=BOB)} == {ALICE}
    assert await events(alice, target=BOB) == []
    assert (await service.signed_in(CAROL).get(AUDIT)).status_code == 403


async def test_the_time_of_an_event_can_be_sent_back(alice: httpx.AsyncClient, clock: Clock) -> None:
    """As it is, and with an offset or a fraction of a second."""
    clock.advance(0.25)
    await alice.post(keys_path(ALICE))
    clock.advance(5)
    await alice.post(keys_path(ALICE))
    newest, *older = await events(alice)
    assert newest["at"] == "2027-01-15T08:00:05.250000Z"
    for moment in (newest["at"], "2027-01-15T08:00:05.25Z", "2027-01-15T09:00:05.250+01:00", "2027-01-15t08:00:05.25z"):
        assert await events(alice, since=moment) == [newest]
        assert await events(alice, until=moment) == older


async def test_a_service_is_found_however_its_subject_is_written(make_service: MakeService, tmp_path: Path) -> None:
    """In the settings or in a filter: it is recorded and compared in lower case, like the refs of users."""
    tree = {
        "liteLLM": {"baseUrl": "http://x", "masterKey": "m", "adminGroup": "a", "allowedGroup": "b"},
        "backend": {"baseUrl": "http://x"},
        "litellmOrchestrator": {
            "serviceTokens": [{"token": SERVICE_TOKEN, "subject": "Terraform", "role": "admin"}],
        },
    }
    service = make_service(service_tokens=from_app_config(tree).service_tokens)
    terraform = service.client(SERVICE_TOKEN)
    assert (await terraform.post(f"{BASE}/users", json={"userId": BOB})).status_code == 201
    for actor in ("Terraform", "terraform"):
        assert [row["actor"] for row in await events(terraform, actor=actor)] == ["terraform"]


async def test_filters_and_pages(service: Service, clock: Clock) -> None:
    """By actor, target, action and time; new events do not shift later pages."""
    bob = service.signed_in(BOB)
    for _ in range(5):
        await made(bob, BOB)
        clock.advance(60)
    await service.signed_in(ALICE).post(keys_path(ALICE))
    creates = [row["id"] for row in await events(bob, action="key.create", target=BOB)]
    assert len(creates) == 5
    assert [row["id"] for row in await events(bob, actor="User:default/BOB", action="key.create")] == creates
    since, until = "2027-01-15T08:01:00Z", "2027-01-15T08:03:00Z"
    assert [row["id"] for row in await events(bob, since=since, until=until)] == creates[2:4]
    assert await events(bob, actor="user:default/nobody") == []
    page = await bob.get(AUDIT, params={"limit": 2, "action": "key.create", "target": BOB})
    seen = [row["id"] for row in page.json()["events"]]
    while "link" in page.headers:
        await made(bob, BOB)
        page = await bob.get(page.headers["link"].split(">")[0][1:])
        seen += [row["id"] for row in page.json()["events"]]
    assert seen == creates


@pytest.mark.parametrize(
    "actor", ["cleanup", "command line", "rotation", "reports", "owner-check", "plugin:scaffolder"]
)
async def test_whatever_the_log_calls_an_actor_can_be_asked_for(bob: httpx.AsyncClient, actor: str) -> None:
    """Also with the space that one of the words has."""
    answer = await bob.get(AUDIT, params={"actor": actor})
    assert (answer.status_code, answer.json()["events"]) == (200, [])


HUGE, NO_TIME = cursor_of(1.0, 2**70), cursor_of(float("nan"), 1)
CURSORS = [f"cursor={cursor}" for cursor in ("WyJhIl0", "WzEsMl0", HUGE, NO_TIME)]
NO_TIMES = ["since=2027-01-15T08:00:00", "until=2027-01-15T08:00:00%2B99:99", "since=2027-01-15T08:00:00+01:00"]
NO_QUERIES = [
    "since=2026-02-30T00:00:00Z",
    "since=yesterday",
    "since=2027-01-15T08:00:00",
    "until=2027-01-15T08:00:00%2B99:99",
    "target=bob",
    "actor=",
    "limit=1000",
]


@pytest.mark.parametrize("query", [*NO_QUERIES, *NO_TIMES, *CURSORS, "actor=%00", "actor=%20cleanup"])
async def test_invalid_queries_are_refused(bob: httpx.AsyncClient, query: str) -> None:
    """400 that says what would be right."""
    assert (await bob.get(f"{AUDIT}?{query}")).status_code == 400


async def test_no_secret_is_stored(make_service: MakeService, litellm: LiteLLMStandIn, tmp_path: Path) -> None:
    """Neither a key's own secret, nor a secret in another field, before a change and after it, by either id."""
    alice = make_service().signed_in(ALICE)
    canary = "sk-canary-in-a-field"
    answer = await alice.post(keys_path(ALICE), json={"alias": canary, "metadata": {canary: canary}})
    new = await alice.post(f"{keys_path(ALICE, answer.json()['keyId'])}/regenerate", json={"overlap": 5})
    for key_id in (new.json()["keyId"], new.json()["id"]):
        changed = await alice.patch(keys_path(ALICE, key_id), json={"metadata": {canary: canary}})
        assert changed.status_code == 200
    await alice.post(f"{BASE}/keys/report", json={"key": new.json()["keySecret"]})
    stored = stored_in(tmp_path)
    for secret in (canary, answer.json()["keySecret"], new.json()["keySecret"]):
        assert secret.encode() not in stored
    assert b"[redacted]" in stored


async def test_the_log_is_append_only(service: Service, tmp_path: Path) -> None:
    """The database itself refuses to change an ended event."""
    await made(service.signed_in(ALICE))
    database = sqlite3.connect(tmp_path / "state.sqlite3")
    for column in ("outcome", "actor", "detail"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            database.execute(f"update change set {column} = 'x'")  # noqa: S608  # three names of ours
    database.close()


async def test_retention_deletes_old_events(make_service: MakeService, clock: Clock) -> None:
    """After the configured time; an event without an outcome stays."""
    service = make_service(audit_retention=1000.0)
    await made(service.signed_in(ALICE))
    clock.advance(999)
    await service.run_background_jobs()
    assert len(await events(service.signed_in(BOB))) == 2
    clock.advance(2)
    await service.run_background_jobs()
    assert await events(service.signed_in(BOB)) == []


async def test_a_change_that_cannot_be_recorded_is_not_made(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """503, and LiteLLM receives nothing."""
    litellm.rows.add_user({"user_id": ALICE})
    service = make_service(database_url="postgresql+psycopg://user:canary@127.0.0.1:9/state")
    assert (await service.signed_in(BOB).patch(user_path(ALICE), json={"maxBudget": 1})).status_code == 503
    assert [request for request in litellm.requests if request.startswith("POST")] == []
    with pytest.raises(Exception, match="unavailable"):
        await service.aclose()
    service._clients.clear()
    service._app = None


@pytest.mark.parametrize("odd", [{}, {"max_budget": "5", "models": None}])
async def test_a_change_with_an_unknown_end_is_open_until_it_is_reconciled(
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock, odd: dict[str, Any]
) -> None:
    """LiteLLM did not answer. Five minutes later a key that nobody received is deleted, an odd key beside it or not."""
    lossy = Overriding(httpx.ASGITransport(litellm.app), {})
    service = make_service(ports={"litellm": lossy})
    alice, bob = service.signed_in(ALICE), service.signed_in(BOB)
    kept = await made(alice)

    lossy.answers |= {"/key/generate": mint_and_lose(litellm), "/key/update": lambda _: httpx.Response(500, json={})}
    assert (await alice.post(keys_path(ALICE))).status_code == 504
    assert (await alice.patch(keys_path(ALICE, kept), json={"alias": "a"})).status_code == 502
    assert [row["outcome"] for row in await events(bob, action="key.create")] == [None, "done"]
    lossy.answers.clear()
    litellm.rows.keys[kept].update(odd)
    clock.advance(299)
    await service.run_background_jobs()
    assert len(litellm.rows.keys) == 2, "it may be under way still"
    clock.advance(2)
    await service.run_background_jobs()
    assert list(litellm.rows.keys) == [kept]
    created, updated = (await events(bob, action="key.create"))[0], (await events(bob, action="key.update"))[0]
    assert (created["outcome"], len(created["after"]["deleted"])) == ("reconciled", 1)
    assert created["detail"] == updated["detail"] == "It was interrupted"
    assert (updated["outcome"], updated["after"]) == ("reconciled", {"exists": True, "blocked": False})


async def test_a_reconciliation_waits_for_a_change_of_the_same_user(
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock, log: io.StringIO
) -> None:
    """While alice's next change runs, nothing of hers is repaired, and the log says for whom that waits."""
    lossy, gate = Overriding(httpx.ASGITransport(litellm.app), {}), Gate(litellm, "/key/update")
    service = make_service(ports={"litellm": lossy})
    alice = service.signed_in(ALICE)
    kept = await made(alice)
    lossy.answers["/key/generate"] = mint_and_lose(litellm)
    assert (await alice.post(keys_path(ALICE))).status_code == 504
    clock.advance(301)
    slow = make_service(ports={"litellm": gate}).signed_in(ALICE)
    running = asyncio.create_task(slow.patch(keys_path(ALICE, kept), json={"alias": "a"}))
    await gate.reached.wait()
    await service.run_background_jobs()
    assert len(litellm.rows.keys) == 2
    assert f"Too many changes to {ALICE} are in progress" in log.getvalue()
    gate.open.set()
    assert (await running).status_code == 200
    clock.advance(60)
    await service.run_background_jobs()
    assert list(litellm.rows.keys) == [kept]


async def test_a_failed_reconciliation_is_retried(
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """A change that cannot be reconciled yet does not block the others."""
    service = make_service(ports={"litellm": answering(httpx.Response(500, json={}))})
    litellm.rows.add_user({"user_id": ALICE})
    assert (await service.signed_in(ALICE).post(keys_path(ALICE))).status_code == 502
    working = make_service()
    lossy = Overriding(httpx.ASGITransport(litellm.app), {"/key/block": lambda _: httpx.Response(500, json={})})
    key = (await working.signed_in(ALICE).post(keys_path(ALICE))).json()
    reporter = make_service(ports={"litellm": lossy}).signed_in(ALICE)
    assert (await reporter.post(f"{BASE}/keys/report", json={"key": key["keySecret"]})).status_code == 502
    clock.advance(301)
    await service.run_background_jobs()
    assert [row["action"] for row in await events(working.signed_in(BOB)) if row["outcome"] is None] == ["key.report"]
    clock.advance(5)
    await working.run_background_jobs()
    assert [row["action"] for row in await events(working.signed_in(BOB)) if row["outcome"] is None] == []
    assert litellm.rows.keys[key["keyId"]]["blocked"] is True, "the report is carried out in the end"


async def test_a_last_page_that_is_full_leads_nowhere(alice: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    """Of two events, a page of two is all; a page of one leads to another page of one."""
    for number in range(2):
        await alice.delete(keys_path(ALICE, f"{number:064}"))
    pages = [(await bob.get(AUDIT, params={"action": "key.delete", "limit": limit})).json() for limit in (2, 1)]
    assert [(len(page["events"]), page["nextCursor"] is None) for page in pages] == [(2, True), (1, False)]
