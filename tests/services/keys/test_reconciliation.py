"""Reconciliation: what an interrupted change left is repaired, and the audit log says what was found."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from app import Orchestrator
from domain.actions import Action, Intent
from domain.due import Kind
from standalone.litellm import LiteLLMStandIn
from state.changes import ChangeTable
from state.database import Database
from state.kept_answers import KeptAnswers
from state.rates import Rates
from tests.conftest import ALICE, BOB, Clock, MakeService, Service, keys_path, user_path
from tests.support.audit import events
from tests.support.keys import made, rotated
from tests.support.upstreams import Answer, Gate, Overriding, hang, mint_and_lose, respond

UPDATE, DELETE = "/key/update", "/key/delete"
WORKS = {"exists": True, "blocked": False}
BLOCKED = {"exists": True, "blocked": True}
GONE = {"exists": False, "blocked": False}
Happens = Callable[[LiteLLMStandIn, str], Any]


def nothing(_: LiteLLMStandIn, __: str) -> None:
    """LiteLLM did not do it."""


def block(litellm: LiteLLMStandIn, key_id: str) -> None:
    litellm.rows.update_key(key_id, {"blocked": True})


def delete(litellm: LiteLLMStandIn, key_id: str) -> None:
    litellm.rows.delete_key(key_id)


async def reconciled(service: Service, clock: Clock, action: Action) -> Any:
    """What the audit log says of the newest change with this action, once it is reconciled."""
    clock.advance(301)
    await service.run_background_jobs()
    event = (await events(service.signed_in(BOB), action=action))[0]
    assert (event["outcome"], event["target"]) == ("reconciled", ALICE)
    return event["after"]


@pytest.mark.parametrize(("happened", "found"), [(block, BLOCKED), (delete, GONE)])
async def test_the_log_says_what_became_of_a_key_that_was_changed(
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock, happened: Happens, found: dict[str, Any]
) -> None:
    """LiteLLM did not say whether it did what it was asked, and others may have changed the key since."""
    wire = Overriding(httpx.ASGITransport(litellm.app), {UPDATE: respond(500, json={})})
    service = make_service(ports={"litellm": wire})
    alice = service.signed_in(ALICE)
    key_id = await made(alice)
    assert (await alice.patch(keys_path(ALICE, key_id), json={"alias": "a"})).status_code == 502
    happened(litellm, key_id)
    assert await reconciled(service, clock, Action.KEY_UPDATE) == found


@pytest.mark.parametrize(("happened", "found"), [(nothing, WORKS), (delete, {"exists": False})])
async def test_the_log_says_what_became_of_a_key_that_was_deleted(
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock, happened: Happens, found: dict[str, Any]
) -> None:
    """It is there as before, or it is gone; one that replaced no other leaves nothing else to tell."""
    wire = Overriding(httpx.ASGITransport(litellm.app), {DELETE: respond(500, json={})})
    service = make_service(ports={"litellm": wire})
    alice = service.signed_in(ALICE)
    key_id = await made(alice)
    assert (await alice.delete(keys_path(ALICE, key_id))).status_code == 502
    happened(litellm, key_id)
    assert await reconciled(service, clock, Action.KEY_DELETE) == found


@pytest.mark.parametrize("is_rotation", [False, True])
async def test_the_log_says_which_key_nobody_received(
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock, *, is_rotation: bool
) -> None:
    """LiteLLM made it and its answer was lost; it is deleted, and the key that a rotation was to replace stays."""
    wire = Overriding(httpx.ASGITransport(litellm.app), {})
    service = make_service(ports={"litellm": wire})
    alice = service.signed_in(ALICE)
    kept = await made(alice)
    wire.answers["/key/generate"] = mint_and_lose(litellm)
    path = f"{keys_path(ALICE, kept)}/regenerate" if is_rotation else keys_path(ALICE)
    assert (await alice.post(path)).status_code == 504
    (lost,) = set(litellm.rows.keys) - {kept}
    action = Action.KEY_REGENERATE if is_rotation else Action.KEY_CREATE
    assert await reconciled(service, clock, action) == {"deleted": [lost]}
    assert list(litellm.rows.keys) == [kept]


@pytest.mark.parametrize("is_gone", [False, True])
async def test_the_log_says_what_became_of_a_user(
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock, *, is_gone: bool
) -> None:
    """An admin's change to their limits has no answer; they are there, or were deleted elsewhere."""
    wire = Overriding(httpx.ASGITransport(litellm.app), {"/user/update": respond(500, json={})})
    service = make_service(ports={"litellm": wire})
    litellm.rows.add_user({"user_id": ALICE})
    assert (await service.signed_in(BOB).patch(user_path(ALICE), json={"maxBudget": 5})).status_code == 502
    if is_gone:
        litellm.rows.delete_user(ALICE)
    assert await reconciled(service, clock, Action.USER_UPDATE) == {"exists": not is_gone}


def losing(litellm: LiteLLMStandIn, key_id: str) -> Answer:
    """A LiteLLM that deletes keys; that it deleted `key_id` is never heard."""

    def answer(request: httpx.Request) -> httpx.Response:
        (asked,) = json.loads(request.content)["keys"]
        litellm.rows.delete_key(asked)
        return hang(request) if asked == key_id else httpx.Response(200, json={"deleted_keys": [asked]})

    return answer


@pytest.mark.parametrize(("replaced", "is_kept"), [("keep", True), ("delete", False)])
async def test_a_deletion_without_an_answer_is_ended_as_requested(
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock, replaced: str, *, is_kept: bool
) -> None:
    """The older key's overlap is over by then, and was not when its owner asked: it stays, or is gone, and all know."""
    wire = Overriding(httpx.ASGITransport(litellm.app), {})
    service = make_service(ports={"litellm": wire})
    alice = service.signed_in(ALICE)
    first, other = await made(alice), await made(alice)
    second = (await rotated(alice, first, overlap=60))["keyId"]
    newest = (await rotated(alice, other, overlap=60_000))["keyId"]
    wire.answers[DELETE] = losing(litellm, second)
    assert (await alice.delete(f"{keys_path(ALICE, second)}?replaced={replaced}")).status_code == 504
    wire.answers.clear()
    clock.advance(61)
    await service.run_background_jobs()
    assert (first in litellm.rows.keys) is is_kept, "it is not known yet what becomes of it"
    after = await reconciled(service, clock, Action.KEY_DELETE)
    assert after == {"exists": False, "kept" if is_kept else "deleted": [first]}
    clock.advance(301)
    await service.run_background_jobs()
    listed = {row["token"]: row["replacedBy"] for row in (await alice.get(keys_path(ALICE))).json()["keys"]}
    assert listed == {newest: None, other: newest} | ({first: None} if is_kept else {})


async def not_deleted(
    make_service: MakeService, litellm: LiteLLMStandIn, *, overlap: int, replaced: str
) -> tuple[Service, str, str]:
    """The service, an older key in its overlap, and its replacement, which LiteLLM failed to delete."""
    wire = Overriding(httpx.ASGITransport(litellm.app), {})
    service = make_service(ports={"litellm": wire})
    alice = service.signed_in(ALICE)
    first = await made(alice)
    second = (await rotated(alice, first, overlap=overlap))["keyId"]
    wire.answers[DELETE] = respond(500, json={})
    assert (await alice.delete(f"{keys_path(ALICE, second)}?replaced={replaced}")).status_code == 502
    wire.answers.clear()
    return service, first, second


async def test_a_deletion_that_did_not_happen_does_not_move_the_end_of_the_older_key(
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """LiteLLM failed, so the newer key is there, and the older one ends with its overlap, reconciled or not."""
    service, _, second = await not_deleted(make_service, litellm, overlap=60, replaced="keep")
    clock.advance(61)
    await service.run_background_jobs()
    assert list(litellm.rows.keys) == [second]


async def test_a_deletion_that_somebody_finished_elsewhere(
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """LiteLLM failed to delete the older key, and the newer one was deleted there since: the older one goes, too."""
    service, first, second = await not_deleted(make_service, litellm, overlap=600, replaced="delete")
    assert list(litellm.rows.keys) == [first, second]
    litellm.rows.delete_key(second)
    assert await reconciled(service, clock, Action.KEY_DELETE) == {"exists": False, "deleted": [first]}
    assert litellm.rows.keys == {}


@pytest.mark.parametrize("is_repaired", [False, True])
async def test_nothing_is_left_to_reconcile(
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock, *, is_repaired: bool
) -> None:
    """A slow creation is due to be repaired: it is, or it ends before by itself and its key stays; once is enough."""
    gate = Gate(litellm, "/key/generate", after=True)
    slow = make_service(ports={"litellm": gate}).signed_in(ALICE)
    await slow.get(keys_path(ALICE))
    creating = asyncio.create_task(slow.post(keys_path(ALICE)))
    await gate.reached.wait()
    clock.advance(301)
    service = make_service()
    replica = Orchestrator(service.settings, service.ports)
    await replica.background.reconciliation.find()
    assert len(await replica.foundation.due.of_owner(Kind.RECONCILIATION, ALICE)) == 1
    if is_repaired:
        await service.run_background_jobs()
    gate.open.set()
    assert (await creating).status_code == (504 if is_repaired else 201)
    await service.run_background_jobs()
    assert len(litellm.rows.keys) == (0 if is_repaired else 1)
    assert await replica.foundation.due.of_owner(Kind.RECONCILIATION, ALICE) == []
    await replica.aclose()


async def test_a_deletion_that_an_older_version_did_not_finish(
    service: Service, alice: httpx.AsyncClient, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """It did not record what becomes of the older key: that one stays."""
    first = await made(alice)
    second = (await rotated(alice, first, overlap=60))["keyId"]
    database = Database(service.settings.database_url, clock)
    changes = ChangeTable(database, KeptAnswers(database), Rates(database))
    async with database.transaction() as connection:
        deletion = Intent("older", ALICE, Action.KEY_DELETE, ALICE, ALICE, key_id=second)
        change_id = await changes.insert_running(connection, deletion, None)
    assert change_id is not None
    await changes.interrupt(change_id, "older")
    await database.aclose()
    litellm.rows.delete_key(second)
    assert await reconciled(service, clock, Action.KEY_DELETE) == {"exists": False, "kept": [first]}
    assert list(litellm.rows.keys) == [first]
