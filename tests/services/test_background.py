"""What is due is done: what cannot be done yet is tried again later, and never stands in the way of the rest."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import sqlalchemy as sa

from domain.due import Kind
from services.background import _guarded
from standalone.litellm import LiteLLMStandIn
from state.database import Database
from state.due import DueQueue
from state.tables import due
from tests.conftest import ALICE, BOB, Clock, Hasty, MakeService, Service, keys_path
from tests.support.audit import events

LOST = [f"user:default/lost{number}" for number in range(25)]


class Ailing(httpx.AsyncBaseTransport):
    """A LiteLLM that creates keys and loses the answer, and that fails whatever is asked about the `ill` users."""

    def __init__(self, litellm: LiteLLMStandIn) -> None:
        self._litellm = litellm
        self._inner = httpx.ASGITransport(litellm.app)
        self.ill: set[str] = set()
        self.loses_answers = False
        self.asked: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        user_id = request.url.params.get("user_id", "")
        self.asked.append(user_id)
        if self.loses_answers and request.url.path == "/key/generate":
            self._litellm.rows.add_key(json.loads(await request.aread()))
            raise httpx.ReadTimeout("lost", request=request)
        if user_id in self.ill:
            return httpx.Response(500, json={})
        return await self._inner.handle_async_request(request)


async def open_targets(service: Service) -> set[str]:
    bob = service.signed_in(BOB)
    return {row["target"] for row in await events(bob, limit=100) if row["outcome"] is None}


async def test_what_cannot_be_reconciled_stops_nothing_else(
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """25 changes that cannot be reconciled wait longer each time, none is forgotten, the 26th is repaired at once."""
    ailing = Ailing(litellm)
    service = make_service(ports={"litellm": ailing})
    bob = service.signed_in(BOB)
    for user_id in [*LOST, ALICE]:
        litellm.rows.add_user({"user_id": user_id})
    ailing.loses_answers = True
    for user_id in [*LOST, ALICE]:
        assert (await bob.post(keys_path(user_id))).status_code == 504
    ailing.loses_answers, ailing.ill = False, set(LOST)
    clock.advance(301)
    await service.run_background_jobs()
    assert [row["user_id"] for row in litellm.rows.keys.values()] == LOST
    assert await open_targets(service) == set(LOST)
    tried = []
    for _ in range(60):
        ailing.asked.clear()
        clock.advance(10)
        await service.run_background_jobs()
        tried.append(len(set(LOST) & set(ailing.asked)))
    assert set(tried) == {0, 25}, "all of them, again and again"
    assert 4 <= tried.count(25) <= 8, "in ten minutes, less and less often"
    ailing.ill = set()
    clock.advance(300)
    await service.run_background_jobs()
    assert (litellm.rows.keys, await open_targets(service)) == ({}, set())


async def test_revocations_that_fail_do_not_stop_reconciliation(
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """A thousand replaced keys that cannot be deleted are one kind of work; interrupted changes are another."""
    ailing = Ailing(litellm)
    service = make_service(ports={"litellm": ailing})
    litellm.rows.add_user({"user_id": ALICE})
    ailing.loses_answers = True
    assert (await service.signed_in(BOB).post(keys_path(ALICE))).status_code == 504
    ailing.loses_answers = False
    database = Database(service.settings.database_url, clock)
    async with database.transaction() as connection:
        for number in range(1000):
            await DueQueue(database).schedule(
                connection, Kind.REVOCATION, f"{number:064}", owner=BOB, payload={"replacedBy": "0"}, due_in=0
            )
    cut = Cut(litellm, "/key/delete")
    clock.advance(301)
    await make_service(ports={"litellm": cut, "clock": Hasty()}).run_background_jobs()
    assert await open_targets(service) == set()
    async with database.reading() as connection:
        left = (await connection.execute(sa.select(sa.func.count()).select_from(due))).scalar_one()
    assert left == 1000, "none of them is forgotten"
    await database.aclose()


class Cut(httpx.AsyncBaseTransport):
    """A LiteLLM on which the deletion of a key of `NUMBERED` fails: those are numbers in 64 digits."""

    def __init__(self, litellm: LiteLLMStandIn, path: str) -> None:
        self._inner = httpx.ASGITransport(litellm.app)
        self._path = path

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == self._path and json.loads(await request.aread())["keys"][0].isdigit():
            return httpx.Response(500, json={})
        return await self._inner.handle_async_request(request)


def side_by_side() -> list[asyncio.Task[Any]]:
    """The parts of a run that go on now."""
    return [task for task in asyncio.all_tasks() if getattr(task.get_coro(), "cr_code", None) is _guarded.__code__]


async def test_a_run_that_is_cancelled_leaves_nothing_running(make_service: MakeService) -> None:
    """At whatever moment the process ends: what went on could use a database that is closed meanwhile."""
    service = make_service()
    await service.run_background_jobs()
    for steps in range(60):
        run = asyncio.create_task(service.run_background_jobs())
        while len(side_by_side()) < 2:  # noqa: ASYNC110  # they tell nobody that they begin
            await asyncio.sleep(0)
        for _ in range(steps):
            await asyncio.sleep(0)
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
        assert side_by_side() == [], steps
