"""Refusals: who is refused again and again fills no table and gets a 429; an admin sees how often it was."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import httpx
import pytest
import sqlalchemy as sa

from app import Orchestrator
from standalone.litellm import LiteLLMStandIn
from state.database import Database
from state.tables import metadata
from tests.conftest import ALICE, BASE, BOB, CAROL, Clock, MakeService, Service, keys_path, user_path
from tests.support.audit import events
from tests.support.keys import made
from tests.support.upstreams import Overriding, respond

NO_KEY = "0" * 64
FEW = {"changes_per_minute": 20, "refusals_per_minute": 10, "creates_per_minute": 10}
"""Limits that are soon reached. Those of the defaults: `tests/contract/test_statuses.py`."""


async def rows(service: Service) -> int:
    """The rows of all tables together."""
    database = Database(service.settings.database_url, service.ports.wall_clock)
    async with database.reading() as connection:
        counts = [sa.select(sa.func.count()).select_from(table) for table in metadata.tables.values()]
        found = sum([(await connection.execute(count)).scalar_one() for count in counts])
    await database.aclose()
    return int(found)


async def test_many_refusals_of_an_outsider(service: Service) -> None:
    """Thirty are a 403, the rest a 429 that says how long to wait; the log has one event that counts them."""
    carol = service.signed_in(CAROL)
    before = await rows(service)
    answers = [await carol.post(keys_path(CAROL)) for _ in range(90)]
    assert [answer.status_code for answer in answers] == [403] * 30 + [429] * 60
    assert (answers[-1].headers["retry-after"], answers[-1].headers["ratelimit"]) == ("2", '"refusals";r=0;t=60')
    (event,) = await events(service.signed_in(BOB))
    assert (event["actor"], event["outcome"], event["repetitions"]) == (CAROL, "denied", 89)
    assert await rows(service) - before <= 3, "the event, its count and the rate"


async def test_another_refusal_is_another_event(service: Service, clock: Clock) -> None:
    """Other targets and actions are told apart, and an hour later it is news again."""
    alice, bob = service.signed_in(ALICE), service.signed_in(BOB)
    for _ in range(2):
        await alice.delete(keys_path(BOB, NO_KEY))
        await alice.post(f"{BASE}/users", json={"userId": BOB})
        await alice.delete(keys_path(CAROL, NO_KEY))
    clock.advance(3601)
    await alice.delete(keys_path(BOB, NO_KEY))
    assert [(row["action"], row["target"], row["repetitions"]) for row in await events(bob, actor=ALICE)][::-1] == [
        ("key.delete", BOB, 1),
        ("user.create", BOB, 1),
        ("key.delete", CAROL, 1),
        ("key.delete", BOB, 0),
    ]


async def test_changing_targets_does_not_help(service: Service) -> None:
    """An outsider who names another user each time gets no further than one who does not."""
    carol = service.signed_in(CAROL)
    answers = [await carol.post(keys_path(f"user:default/u{number}")) for number in range(60)]
    assert [answer.status_code for answer in answers] == [403] * 30 + [429] * 30
    assert len(await events(service.signed_in(BOB), limit=100)) == 30


async def test_refusals_do_not_spend_what_is_allowed(service: Service) -> None:
    """Who was refused too often can still do what they may."""
    alice = service.signed_in(ALICE)
    for _ in range(40):
        last = await alice.delete(user_path(BOB))
    assert last.status_code == 429
    assert await made(alice)


async def until_refused(service: Service, request: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
    """Sends it until it is a 429, and thirty times more, which leave nothing. Returns the first answer."""
    first = answer = await request()
    for _ in range(150):
        if answer.status_code == 429:
            break
        answer = await request()
    recorded = await rows(service)
    assert {(await request()).status_code for _ in range(30)} == {429}
    assert await rows(service) - recorded <= 1, "the count of what was refused"
    return first


MEMBERS_TRY = {
    "to delete a key that does not exist": ("DELETE", keys_path(ALICE, NO_KEY), None),
    "to change a key that does not exist": ("PATCH", keys_path(ALICE, NO_KEY), {"alias": "a"}),
    "to block a key that does not exist": ("PATCH", keys_path(ALICE, NO_KEY), {"blocked": True}),
    "to rotate a key that does not exist": ("POST", f"{keys_path(ALICE, NO_KEY)}/regenerate", {}),
    "to create a key beyond their tier": ("POST", keys_path(ALICE), {"maxBudget": 10**9}),
    "to create themselves again": ("POST", f"{BASE}/users", {"userId": ALICE}),
    "to change their own limits": ("PATCH", user_path(ALICE), {"maxBudget": 10**6}),
    "to report keys that nobody has": ("POST", f"{BASE}/keys/report", {"key": "sk-made-up"}),
}


@pytest.mark.parametrize("name", MEMBERS_TRY)
async def test_no_member_writes_rows_without_limit(make_service: MakeService, name: str) -> None:
    """Whatever is tried again and again in a minute leaves five rows more than the limit, and ends in a 429."""
    service = make_service(**FEW)
    alice = service.signed_in(ALICE)
    await alice.get(keys_path(ALICE))
    method, path, body = MEMBERS_TRY[name]
    before = await rows(service)
    await until_refused(service, lambda: alice.request(method, path, json=body))
    assert await rows(service) - before <= FEW["changes_per_minute"] + 5


async def test_blocking_a_blocked_key_again_and_again(make_service: MakeService) -> None:
    """What changes nothing is refused above the rate; the first block of a key never is."""
    service = make_service(**FEW)
    alice = service.signed_in(ALICE)
    first, second = await made(alice), await made(alice)
    before = await rows(service)
    first_answer = await until_refused(service, lambda: alice.patch(keys_path(ALICE, first), json={"blocked": True}))
    assert first_answer.status_code == 200
    assert await rows(service) - before <= FEW["changes_per_minute"] + 5
    assert (await alice.patch(keys_path(ALICE, second), json={"alias": "a"})).status_code == 429
    assert (await alice.patch(keys_path(ALICE, second), json={"blocked": True})).status_code == 200
    assert service.litellm.rows.keys[second]["blocked"] is True


async def test_a_user_whom_litellm_does_not_create(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """Each attempt to create them on their first request is recorded; above the rate it is a 503 and leaves nothing."""
    lossy = Overriding(httpx.ASGITransport(litellm.app), {"/user/new": respond(500, json={})})
    service = make_service(ports={"litellm": lossy})
    alice = service.signed_in(ALICE)
    before = await rows(service)
    answers = [await alice.get(keys_path(ALICE)) for _ in range(60)]
    assert [answer.status_code for answer in answers] == [502] * 30 + [503] * 30
    assert answers[-1].headers["retry-after"] == "2"
    assert await rows(service) - before <= 32


async def test_an_outage_does_not_fill_the_log(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """Deletions that fail because LiteLLM does are recorded up to the rate; above it LiteLLM is asked first."""
    service = make_service()
    key_id = await made(service.signed_in(ALICE))
    down = Overriding(
        httpx.ASGITransport(litellm.app), {path: respond(500, json={}) for path in ("/key/list", "/key/delete")}
    )
    alice = make_service(ports={"litellm": down}).signed_in(ALICE)
    before = await rows(service)
    answers = [await alice.delete(keys_path(ALICE, key_id)) for _ in range(160)]
    assert {answer.status_code for answer in answers} <= {502, 503}
    assert await rows(service) - before <= 125


async def test_an_admins_deletion_that_was_refused_leaves_an_event(service: Service, litellm: LiteLLMStandIn) -> None:
    """A user who does not exist, one who has changed, one during a cleanup: the reason is in the log."""
    bob = service.signed_in(BOB)
    missing = await bob.delete(user_path(ALICE))
    litellm.rows.add_user({"user_id": ALICE})
    changed = await bob.delete(user_path(ALICE), headers={"If-Match": f'"{NO_KEY[:32]}"'})
    replica = Orchestrator(service.settings, service.ports)
    held = await replica.foundation.lease.acquire()
    during = await bob.delete(user_path(ALICE))
    await replica.foundation.lease.release(held, next_run_in=None)
    await replica.aclose()
    answers = (during, changed, missing)
    assert [answer.status_code for answer in answers] == [409, 412, 404]
    shown = [(row["target"], row["outcome"], row["detail"]) for row in await events(bob, action="user.delete")]
    assert shown == [(ALICE, "failed", answer.json()["error"]["message"]) for answer in answers]
    for _ in range(30):
        last = await bob.delete(user_path(CAROL))
    assert last.status_code == 429
    assert (await bob.delete(user_path(ALICE))).status_code == 200, "who exists is deleted whatever the rate"
