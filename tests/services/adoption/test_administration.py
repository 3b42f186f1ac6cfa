"""Adoptions for admins: who may, when, and what they can read of it."""

from __future__ import annotations

import asyncio
import io
from contextlib import aclosing
from typing import Any

import httpx
import pytest

from domain.adoption import AdoptionOrder
from settings.model import BackstageSettings
from standalone.backstage import BASE_URL
from standalone.litellm import LiteLLMStandIn
from state.adoption_runs import AdoptionRuns
from state.database import Database
from state.lease import Lease
from tests.conftest import BASE, BOB, Clock, MakeService, Service, stop
from tests.support.adoption import (
    ADOPTIONS,
    OLD,
    add_account,
    adopted,
    alice_was_there,
    finished,
    is_alices,
    owners_of,
    planned,
)
from tests.support.keys import refusal
from tests.support.upstreams import Gate, answering

UNKNOWN = {"by": "email", "dryRun": False, "planHash": "0" * 64}


async def test_from_plan_to_report(bob: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """A dry run by default, by spelling; then a run of the plan with that hash, then its report."""
    secrets = alice_was_there(litellm)
    for body in (None, {}, {"dryRun": True}):
        begun = await (bob.post(ADOPTIONS) if body is None else bob.post(ADOPTIONS, json=body))
        assert begun.status_code == 202
        report = await finished(bob, begun.json()["adoptionId"])
        assert (report["outcome"], report["by"], report["plan"]["entries"]) == ("planned", "spelling", [])
    plan = (await planned(bob))["plan"]
    begun = await bob.post(ADOPTIONS, json={"by": "email", "dryRun": False, "planHash": plan["hash"]})
    assert (begun.status_code, begun.json()) == (202, {"running": True, "adoptionId": 5})
    report = await finished(bob, 5)
    assert (await bob.get(begun.headers["location"])).json() == report
    assert (report["trigger"], report["dryRun"], report["outcome"], report["plan"]) == (BOB, False, "done", plan)
    assert report["startedAt"].endswith("Z")
    assert is_alices(litellm, secrets) == []


@pytest.mark.parametrize(
    "body",
    [{"by": "name"}, {"by": None}, {"limit": 0}, {"limit": 1001}, {"planHash": "x"}, {"dryRun": "no"}, {"all": True}],
)
async def test_bad_requests(bob: httpx.AsyncClient, litellm: LiteLLMStandIn, body: Any) -> None:
    """Nothing runs by mistake."""
    assert (await bob.post(ADOPTIONS, json=body)).status_code == 400
    assert litellm.requests == []


async def test_a_run_without_a_dry_run(bob: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """Neither without a hash nor with one that nobody made."""
    alice_was_there(litellm)
    status, message = await refusal(await bob.post(ADOPTIONS, json={"by": "email", "dryRun": False}))
    assert (status, "planHash is required" in message) == (409, True)
    status, message = await refusal(await bob.post(ADOPTIONS, json=UNKNOWN))
    assert (status, "make a dry run" in message, litellm.requests) == (409, True, [])


async def test_a_plan_can_be_confirmed_for_an_hour(service: Service, litellm: LiteLLMStandIn, clock: Clock) -> None:
    """Not longer, and a run that was refused is no dry run."""
    alice_was_there(litellm)
    plan_hash = (await planned(service.signed_in(BOB)))["plan"]["hash"]
    clock.advance(3601)
    body = {"by": "email", "dryRun": False, "planHash": plan_hash}
    assert (await service.signed_in(BOB).post(ADOPTIONS, json=body)).status_code == 409
    plan_hash = (await planned(service.signed_in(BOB)))["plan"]["hash"]
    clock.advance(3500)
    litellm.rows.add_key({"user_id": OLD})
    report = await adopted(service.signed_in(BOB), plan_hash)
    assert report["outcome"] == "refused"
    clock.advance(200)
    body["planHash"] = report["plan"]["hash"]
    assert (await service.signed_in(BOB).post(ADOPTIONS, json=body)).status_code == 409


async def test_without_a_catalog(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """Nobody can be known: a refusal that says which setting is missing."""
    bob = make_service(backstage=BackstageSettings(BASE_URL)).signed_in(BOB)
    for body in ({}, UNKNOWN):
        status, message = await refusal(await bob.post(ADOPTIONS, json=body))
        assert (status, "litellmOrchestrator.backstage.catalogToken" in message) == (409, True)
    assert (await bob.get(f"{ADOPTIONS}/1")).status_code == 404
    assert litellm.requests == []


async def test_only_an_admin(alice: httpx.AsyncClient, bob: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """A member learns nothing of others, and starts nothing."""
    alice_was_there(litellm)
    await planned(bob)
    litellm.requests.clear()
    for answer in (await alice.post(ADOPTIONS), await alice.get(f"{ADOPTIONS}/1")):
        assert await refusal(answer) == (403, "Only an admin may do this")
    assert litellm.requests == []
    assert (await refusal(await bob.get(f"{ADOPTIONS}/2")))[0] == 404


async def test_an_auditor_may_plan(service: Service, litellm: LiteLLMStandIn, make_service: MakeService) -> None:
    """And reads the report, and executes nothing."""
    secrets = alice_was_there(litellm)
    settings = service.settings.service_tokens[0]
    auditor = make_service(service_tokens=(type(settings)(settings.token, "service:auditor", "auditor"),))
    frank = auditor.client(settings.token)
    plan = (await planned(frank))["plan"]
    assert [row["account"] for row in plan["entries"]] == [OLD]
    body = {"by": "email", "dryRun": False, "planHash": plan["hash"]}
    assert (await frank.post(ADOPTIONS, json=body)).status_code == 403
    assert owners_of(litellm, secrets) == {OLD}


async def test_never_beside_a_cleanup_or_another(
    make_service: MakeService, litellm: LiteLLMStandIn, bob: httpx.AsyncClient
) -> None:
    """While one runs, the other begins not, and nobody is off-boarded by hand either."""
    secrets = alice_was_there(litellm)
    plan_hash = (await planned(bob))["plan"]["hash"]
    gate = Gate(litellm, "/user/new")
    slow = make_service(ports={"litellm": gate}).signed_in(BOB)
    begun = await slow.post(ADOPTIONS, json={"by": "email", "dryRun": False, "planHash": plan_hash})
    await gate.reached.wait()
    so_far = (await bob.get(begun.headers["location"])).json()
    assert (so_far["outcome"], so_far["plan"], so_far["progress"]) == ("running", None, {"checked": 0, "total": 1})
    another = {"by": "email", "dryRun": False, "planHash": plan_hash}
    for path, body in ((ADOPTIONS, another), (f"{BASE}/cleanup", {"dryRun": False})):
        assert (await bob.post(path, json=body)).status_code == 409
    gate.open.set()
    assert (await finished(bob, begun.json()["adoptionId"]))["outcome"] == "done"
    assert is_alices(litellm, secrets) == []


async def begun_at(
    make_service: MakeService, litellm: LiteLLMStandIn, bob: httpx.AsyncClient, path: str
) -> tuple[Service, Gate, int]:
    """An adoption that a service of its own has begun, held at a call of LiteLLM; and its id."""
    plan_hash = (await planned(bob))["plan"]["hash"]
    gate = Gate(litellm, path)
    service = make_service(ports={"litellm": gate})
    begun = await service.signed_in(BOB).post(ADOPTIONS, json={"by": "email", "dryRun": False, "planHash": plan_hash})
    await gate.reached.wait()
    return service, gate, begun.json()["adoptionId"]


async def test_who_lost_the_lease_stops(
    make_service: MakeService, litellm: LiteLLMStandIn, bob: httpx.AsyncClient, clock: Clock
) -> None:
    """It slept; another replica may be at work. What it had begun is repaired."""
    secrets = alice_was_there(litellm)
    slow, gate, adoption = await begun_at(make_service, litellm, bob, "/user/new")
    clock.advance(61)
    async with aclosing(Database(slow.settings.database_url, clock)) as database:
        lease = Lease(database, "cleanup", owner="another replica", life=60)
        held = await lease.acquire()
        gate.open.set()
        report = await finished(bob, adoption)
        assert report["outcome"] == "failed"
        assert owners_of(litellm, secrets) == {OLD}
        await lease.release(held, next_run_in=None)
    clock.advance(301)
    await slow.run_background_jobs()
    assert is_alices(litellm, secrets) == []


async def test_who_lost_the_lease_while_it_read_begins_nothing(
    make_service: MakeService, litellm: LiteLLMStandIn, bob: httpx.AsyncClient, clock: Clock
) -> None:
    """It is not the one that may adopt any more, and nothing is there to repair."""
    alice_was_there(litellm)
    slow, gate, adoption = await begun_at(make_service, litellm, bob, "/user/list")
    clock.advance(61)
    async with aclosing(Database(slow.settings.database_url, clock)) as database:
        await Lease(database, "cleanup", owner="another replica", life=60).acquire()
        gate.open.set()
        report = await finished(bob, adoption)
    assert report["outcome"] == "failed"
    assert [*litellm.rows.users] == [OLD]


async def test_an_adoption_finishes_before_the_service_stops(
    make_service: MakeService, litellm: LiteLLMStandIn, bob: httpx.AsyncClient
) -> None:
    """SIGTERM does not interrupt it."""
    secrets = alice_was_there(litellm)
    plan_hash = (await planned(bob))["plan"]["hash"]
    gate = Gate(litellm, "/user/new")
    slow = make_service(ports={"litellm": gate})
    await slow.signed_in(BOB).post(ADOPTIONS, json={"by": "email", "dryRun": False, "planHash": plan_hash})
    await gate.reached.wait()
    stopping = asyncio.create_task(stop(slow._app))
    assert await asyncio.wait({stopping}, timeout=0.2) == (set(), {stopping})
    gate.open.set()
    await stopping
    assert is_alices(litellm, secrets) == []


async def test_one_whose_process_died_has_failed(service: Service, bob: httpx.AsyncClient, clock: Clock) -> None:
    """Its caller need not poll for ever."""
    async with aclosing(Database(service.settings.database_url, clock)) as database:
        runs = AdoptionRuns(database, owner="another replica")
        begun = await runs.start(trigger=BOB, order=AdoptionOrder(by_email=True), fence=None)
    path = f"{ADOPTIONS}/{begun.adoption_id}"
    assert (await bob.get(path)).json()["outcome"] == "running"
    clock.advance(61)
    report = (await bob.get(path)).json()
    assert (report["outcome"], report["reason"]) == ("failed", "The process that ran it has stopped")


async def test_reports_are_kept_for_thirty_days(service: Service, litellm: LiteLLMStandIn, clock: Clock) -> None:
    """The next adoption after that removes them."""
    add_account(litellm)
    await planned(service.signed_in(BOB))
    clock.advance(30 * 86400 + 1)
    await planned(service.signed_in(BOB))
    answers = [(await service.signed_in(BOB).get(f"{ADOPTIONS}/{number}")).status_code for number in (1, 2)]
    assert answers == [404, 200]


async def test_a_crash_in_the_background_is_logged(make_service: MakeService, log: io.StringIO) -> None:
    """Nobody waits for it, so the log is the only place for a fault of ours."""

    def crash(_: httpx.Request) -> httpx.Response:
        raise ZeroDivisionError("a fault of ours")

    bob = make_service(ports={"litellm": answering(crash)}).signed_in(BOB)
    assert (await bob.post(ADOPTIONS)).status_code == 202
    for _ in range(500):
        if "unexpected error in an adoption" in log.getvalue():
            break
        await bob.get(f"{ADOPTIONS}/1")
    (line,) = (row for row in log.getvalue().splitlines() if "unexpected error in an adoption" in row)
    assert "a fault of ours" in line
