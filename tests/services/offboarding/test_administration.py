"""The cleanup over the API, for admins."""

from __future__ import annotations

import asyncio
import gc
import io
import sqlite3
from contextlib import aclosing
from datetime import datetime
from typing import Any

import httpx
import pytest

from domain.errors import UpstreamFaultError
from domain.offboarding import CleanupReport
from services.offboarding.cleanup import Cleanup
from services.offboarding.schedule import cleanup_job
from services.repetition import repeat
from settings.model import BackstageSettings, CleanupSettings
from standalone.backstage import BASE_URL, BackstageStandIn
from standalone.litellm import LiteLLMStandIn
from state.cleanup_runs import CleanupRuns
from state.database import Database
from tests.conftest import ALICE, BASE, BOB, Clock, MakeService, Service, keys_path, stop, user_path
from tests.support.keys import refusal
from tests.support.organisation import BOSS, Organisation
from tests.support.requests import ended
from tests.support.upstreams import Holding, answering

CLEANUP = f"{BASE}/cleanup"


async def test_from_plan_to_report(bob: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """A dry run by default, then a run, then its report."""
    gone = "user:default/gone"
    litellm.rows.add_user({"user_id": gone})
    litellm.rows.add_key({"user_id": gone})
    assert (await bob.get(CLEANUP)).json()["lastReport"] is None
    for body in (None, {}, {"dryRun": True}):
        planned = (await bob.post(CLEANUP, json=body)) if body is not None else (await bob.post(CLEANUP))
        assert planned.json()["outcome"] == "planned"
        assert [(row["userId"], row["keys"]) for row in planned.json()["plan"]["entries"]] == [(gone, 1)]
    begun = await bob.post(CLEANUP, json={"dryRun": False, "planHash": planned.json()["plan"]["hash"]})
    assert (begun.status_code, begun.json()) == (202, {"running": True, "runId": 4})
    report = (await ended(bob))["lastReport"]
    assert (await bob.get(begun.headers["location"])).json() == report
    assert (report["outcome"], report["trigger"], report["done"]["blocked"]) == ("done", BOB, [gone])
    assert report["startedAt"].endswith("Z")
    second = await bob.post(CLEANUP, json={"dryRun": True})
    assert second.json()["plan"]["entries"][0]["since"].endswith("Z")


async def test_the_state_before_and_after_the_first_runs(bob: httpx.AsyncClient) -> None:
    """A dry run is a report too; there is no next run to announce before the first has ended."""
    status = (await bob.get(CLEANUP)).json()
    assert (status["nextRunAt"], status["gracePeriod"], status["lastReport"]) == (
        None,
        7 * 86400,
        None,
    )
    planned = (await bob.post(CLEANUP)).json()
    assert (await bob.get(CLEANUP)).json()["lastReport"] == planned


async def test_the_next_run_is_announced_after_the_first(make_service: MakeService) -> None:
    """An interval after it, where the cleanup is scheduled."""
    bob = make_service(cleanup=CleanupSettings(interval=300)).signed_in(BOB)
    assert (await bob.get(CLEANUP)).json()["nextRunAt"] is None
    await bob.post(CLEANUP, json={"dryRun": False})
    status = await ended(bob)
    earliest, latest = (datetime.fromisoformat(f"2027-01-15T08:0{minute}:30Z") for minute in (4, 5))
    assert earliest <= datetime.fromisoformat(status["nextRunAt"]) <= latest


async def test_without_a_schedule_no_next_run_is_announced(make_service: MakeService) -> None:
    """An admin's run sets the time of the next one, and nobody will begin it."""
    bob = make_service(cleanup=CleanupSettings(enabled=False)).signed_in(BOB)
    await bob.post(CLEANUP, json={"dryRun": False})
    status = await ended(bob)
    assert (status["enabled"], status["nextRunAt"], status["lastReport"]["outcome"]) == (False, None, "done")


async def test_without_a_catalog(make_service: MakeService) -> None:
    """Nobody can be seen to leave: nothing runs or is announced, and who asks for a run hears what is missing."""
    bob = make_service(backstage=BackstageSettings(BASE_URL)).signed_in(BOB)
    status = (await bob.get(CLEANUP)).json()
    assert (status.pop("enabled"), status.pop("running"), set(status.values())) == (False, False, {None})
    for body in ({"dryRun": True}, {"dryRun": False}):
        code, message = await refusal(await bob.post(CLEANUP, json=body))
        assert (code, "backstage.catalogToken" in message) == (409, True)
    assert (await bob.get(f"{CLEANUP}/runs/1")).status_code == 404


async def test_a_plan_that_nobody_made_cannot_be_confirmed(bob: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """409 at once, with what to do instead; no run begins."""
    status, message = await refusal(await bob.post(CLEANUP, json={"dryRun": False, "planHash": "0" * 64}))
    assert (status, "make a dry run and confirm its hash" in message, litellm.requests) == (409, True, [])
    assert (await bob.get(CLEANUP)).json()["lastReport"] is None


async def test_one_at_a_time(make_service: MakeService, backstage: BackstageStandIn, litellm: LiteLLMStandIn) -> None:
    """409 while one runs, and when to ask again."""
    gate = asyncio.Event()

    class Gated(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await gate.wait()
            return await httpx.ASGITransport(litellm.app).handle_async_request(request)

    bob = make_service(ports={"litellm": Gated()}).signed_in(BOB)
    assert (await bob.post(CLEANUP, json={"dryRun": False})).status_code == 202
    second = await bob.post(CLEANUP, json={"dryRun": False})
    assert (second.status_code, second.headers["retry-after"]) == (409, "1")
    assert (await bob.get(CLEANUP)).json()["running"] is True
    gate.set()
    assert (await ended(bob))["lastReport"]["outcome"] == "done"


async def test_members_are_refused(alice: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """Reading as well as running."""
    assert (await alice.get(CLEANUP)).status_code == 403
    assert (await alice.post(CLEANUP, json={"dryRun": False})).status_code == 403
    assert litellm.requests == []


@pytest.mark.parametrize(
    "body", [{"dryRun": "no"}, {"planHash": "x"}, {"planHash": "0" * 64 + "\n"}, {"force": True}, []]
)
async def test_bad_requests(bob: httpx.AsyncClient, litellm: LiteLLMStandIn, body: Any) -> None:
    """Nothing runs by mistake."""
    assert (await bob.post(CLEANUP, json=body)).status_code == 400
    assert litellm.requests == []


async def test_a_running_cleanup_finishes_before_the_service_stops(
    make_service: MakeService, litellm: LiteLLMStandIn
) -> None:
    """SIGTERM does not interrupt it."""
    litellm.rows.add_user({"user_id": "user:default/gone"})
    key, _ = litellm.rows.add_key({"user_id": "user:default/gone"})
    slow = Holding(httpx.ASGITransport(litellm.app))
    slow.held = {"/user/list"}
    service = make_service(ports={"litellm": slow})
    await service.signed_in(BOB).post(CLEANUP, json={"dryRun": False})
    await slow.arrived.wait()
    stopping = asyncio.create_task(stop(service._app))
    assert await asyncio.wait({stopping}, timeout=0.2) == (set(), {stopping})
    slow.released.set()
    await stopping
    assert litellm.rows.keys[key["token"]]["blocked"] is True


async def test_a_dry_run_that_fails_does_not_disturb_the_stop(make_service: MakeService) -> None:
    """The service waits for it and closes what is open; the failure stands in the report."""
    service = make_service(ports={"litellm": answering(httpx.Response(500)), "patience": 0})
    assert (await service.signed_in(BOB).post(CLEANUP)).status_code == 202
    await stop(service._app)


async def test_an_unavailable_database(make_service: MakeService) -> None:
    """503 for the cleanup, for changes, and for keys, which may be about to end; the rest can still be read."""
    service = make_service(database_url="postgresql+psycopg://user:canary@127.0.0.1:9/state")
    service.litellm.rows.add_user({"user_id": BOB})
    bob = service.signed_in(BOB)
    for answer in (await bob.get(CLEANUP), await bob.post(CLEANUP), await bob.post(CLEANUP, json={"dryRun": False})):
        assert (answer.status_code, "canary" in answer.text) == (503, False)
    assert (await bob.get(user_path(BOB))).status_code == 200
    assert (await bob.get(keys_path(BOB))).json() == {"keys": []}
    assert (await bob.post(keys_path(BOB))).status_code == 503
    assert service.litellm.rows.keys == {}
    row, _ = service.litellm.rows.add_key({"user_id": BOB})
    for path in (keys_path(BOB), keys_path(BOB, row["token"])):
        assert (await bob.get(path)).status_code == 503
    service._app = None


async def test_the_schedule(organisation: Organisation) -> None:
    """The cleanup runs when it is due and not otherwise, and its report says that the schedule began it."""
    rounds: list[float] = []
    cleanup: Cleanup = organisation.cleanup

    async def next_round(seconds: float) -> None:
        rounds.append(seconds)
        organisation.clock.advance(seconds)
        if len(rounds) == 25:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await repeat(cleanup_job(cleanup, 300.0), next_round)
    assert 9 <= rounds[0] <= 11
    assert all(27 <= seconds <= 33 for seconds in rounds[1:])
    assert organisation.to_litellm.requests.count("/user/list") in (2, 3)
    last = await cleanup.last_report()
    assert last is not None
    assert (last.trigger, last.dry_run, last.outcome) == ("schedule", False, "done")


async def test_the_schedule_survives_unexpected_errors(organisation: Organisation, log: io.StringIO) -> None:
    """It logs them and continues."""
    await organisation.orchestrator.foundation.database.migrate()
    with sqlite3.connect(organisation.folder / "state.sqlite3") as database:
        database.execute("drop table lease")
    database.close()
    rounds: list[float] = []

    async def next_round(seconds: float) -> None:
        rounds.append(seconds)
        if len(rounds) == 4:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await repeat(cleanup_job(organisation.cleanup, 300.0), next_round)
    assert len(rounds) == 4
    assert log.getvalue().count('"job": "cleanup"') == 3


async def test_members_are_served_while_the_cleanup_runs(service: Service) -> None:
    """The cleanup does not delay requests."""
    await service.signed_in(BOB).post(CLEANUP, json={"dryRun": False})
    response = await service.signed_in(ALICE).get(f"{BASE}/users/user%3Adefault%2Falice")
    assert response.status_code == 200
    await ended(service.signed_in(BOB))


async def test_a_dry_run_that_takes_long_is_answered_later(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """202 with the address of its progress and, once it has ended, of its report. It can be confirmed as usual."""
    for number in range(101):
        litellm.rows.add_user({"user_id": f"user:default/gone{number:03}"})
    reading, go_on = asyncio.Event(), asyncio.Event()

    class Slow(httpx.ASGITransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if "gone100" in request.url.params.get("user_ids", ""):
                reading.set()
                await go_on.wait()
            return await super().handle_async_request(request)

    service = make_service(ports={"litellm": Slow(litellm.app), "patience": 0})
    bob = service.signed_in(BOB)
    begun = await bob.post(CLEANUP)
    assert (begun.status_code, begun.json()) == (202, {"running": True, "runId": 1})
    await reading.wait()
    so_far = (await bob.get(begun.headers["location"])).json()
    assert (so_far["outcome"], so_far["plan"], so_far["progress"]) == ("running", None, {"checked": 100, "total": 101})
    go_on.set()
    while (report := (await bob.get(begun.headers["location"])).json())["outcome"] == "running":
        pass
    assert (report["outcome"], len(report["plan"]["entries"]), report["progress"]) == ("planned", 101, None)
    key, _ = litellm.rows.add_key({"user_id": report["plan"]["entries"][0]["userId"]})
    confirmed = await bob.post(CLEANUP, json={"dryRun": False, "planHash": report["plan"]["hash"]})
    assert confirmed.status_code == 202
    await stop(service._app)
    assert litellm.rows.keys[key["token"]]["blocked"] is True


async def test_a_dry_run_asks_litellm_once_for_a_hundred_leavers(
    bob: httpx.AsyncClient, litellm: LiteLLMStandIn
) -> None:
    """Three calls to sweep, one for the newest keys, three to look the leavers up with the number of their keys."""
    for number in range(250):
        litellm.rows.add_user({"user_id": f"user:default/gone{number:03}"})
    await bob.get(f"{BASE}/users")
    litellm.requests.clear()
    assert len((await bob.post(CLEANUP)).json()["plan"]["entries"]) == 250
    assert litellm.requests == [*["GET /user/list"] * 3, "GET /key/list", *["GET /user/list"] * 3]


async def test_a_run_whose_process_died_has_failed(service: Service, bob: httpx.AsyncClient, clock: Clock) -> None:
    """Its caller need not poll for ever."""
    async with aclosing(Database(service.settings.database_url, clock)) as database:
        begun = await CleanupRuns(database, owner="another replica").start(trigger=BOB, fence=None)
    run = f"{CLEANUP}/runs/{begun.run_id}"
    assert (await bob.get(run)).json()["outcome"] == "running"
    clock.advance(61)
    report = (await bob.get(run)).json()
    assert (report["outcome"], report["reason"]) == ("failed", "The process that ran it has stopped")


async def test_only_an_admin_sees_runs(alice: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    """A member learns nothing, and a run that does not exist is a 404."""
    await bob.post(CLEANUP)
    assert await refusal(await alice.get(f"{CLEANUP}/runs/1")) == (403, "Only an admin may do this")
    assert (await refusal(await bob.get(f"{CLEANUP}/runs/2")))[0] == 404
    assert (await refusal(await bob.get(f"{CLEANUP}/runs/99999999999")))[0] == 400


async def test_a_report_is_not_kept_in_memory(organisation: Organisation) -> None:
    """Its plan may name very many users; it stays in the database only."""

    def reports() -> int:
        gc.collect()
        return sum(isinstance(kept, CleanupReport) for kept in gc.get_objects())

    before = reports()
    await organisation.orchestrator.cleanup_administration.plan(BOSS)
    await asyncio.sleep(0)
    assert reports() == before


async def test_a_dry_run_that_crashes_in_the_background_is_logged(make_service: MakeService, log: io.StringIO) -> None:
    """Nobody waits for it any more, so the log is the only place for a fault of ours."""

    def crash(_: httpx.Request) -> httpx.Response:
        raise ZeroDivisionError("a fault of ours")

    bob = make_service(ports={"litellm": answering(crash), "patience": 0}).signed_in(BOB)
    assert (await bob.post(CLEANUP)).status_code == 202
    for _ in range(500):
        if "unexpected error in a run of the cleanup" in log.getvalue():
            break
        await bob.get(CLEANUP)
    (line,) = (row for row in log.getvalue().splitlines() if "unexpected error in a run of the cleanup" in row)
    assert "a fault of ours" in line


async def test_a_dry_run_that_ends_as_it_may_is_no_fault(organisation: Organisation, log: io.StringIO) -> None:
    """Neither one that succeeds nor one that LiteLLM fails is logged as unexpected."""
    administration = organisation.orchestrator.cleanup_administration
    await administration.plan(BOSS)
    organisation.to_litellm.answers["/user/list"] = lambda _: httpx.Response(500)
    with pytest.raises(UpstreamFaultError):
        await administration.plan(BOSS)
    await asyncio.sleep(0)
    assert "unexpected" not in log.getvalue()
