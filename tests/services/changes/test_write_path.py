"""The write path: two transactions for a change, one lock for a user, and a lease that outlives a slow LiteLLM."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from services.changes.queue import ChangeQueue
from settings.model import Timeouts
from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BASE, BOB, Clock, MakeService, keys_path, user_path
from tests.support.upstreams import Gate

NAMED = {"Idempotency-Key": "write-path"}


class Line:
    """The changes that have come to the queue."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._arrived = asyncio.Semaphore(0)
        wait = ChangeQueue._wait

        async def noted(queue: ChangeQueue, *arguments: Any) -> None:
            self._arrived.release()
            await wait(queue, *arguments)

        monkeypatch.setattr(ChangeQueue, "_wait", noted)

    async def has(self, changes: int) -> None:
        """Returns once so many more have come."""
        for _ in range(changes):
            await self._arrived.acquire()


@dataclass
class Traffic:
    """Commits and statements."""

    commits: int = 0
    statements: list[str] = field(default_factory=list)


@contextmanager
def counted() -> Iterator[Traffic]:
    """Counts commits and statements of every engine of this process."""
    traffic = Traffic()

    def on_commit(_: Any) -> None:
        traffic.commits += 1

    def on_statement(_: Any, __: Any, statement: str, *___: Any) -> None:
        traffic.statements.append(statement)

    sa.event.listen(sa.Engine, "commit", on_commit)
    sa.event.listen(sa.Engine, "before_cursor_execute", on_statement)
    try:
        yield traffic
    finally:
        sa.event.remove(sa.Engine, "commit", on_commit)
        sa.event.remove(sa.Engine, "before_cursor_execute", on_statement)


async def test_what_each_change_costs(
    database_settings: dict[str, Any], make_service: MakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two commits per change, and at most seven statements for a new key."""
    service = make_service(**database_settings)
    alice, bob = service.signed_in(ALICE), service.signed_in(BOB)
    # The first request with an Idempotency-Key reads the root.
    key_id = (await alice.post(keys_path(ALICE), headers={"Idempotency-Key": "first"})).json()["keyId"]
    costs: dict[str, tuple[int, int]] = {}

    async def send(name: str, client: httpx.AsyncClient, method: str, path: str, **options: Any) -> Any:
        with counted() as traffic:
            response = await client.request(method, path, **options)
        assert response.is_success, response.text
        costs[name] = (traffic.commits, len(traffic.statements))
        return response.json() if response.content else None

    await send("createUserKey", alice, "POST", keys_path(ALICE))
    once = await send("createUserKey once", alice, "POST", keys_path(ALICE), json={"alias": "a"}, headers=NAMED)
    again = await send("createUserKey again", alice, "POST", keys_path(ALICE), json={"alias": "a"}, headers=NAMED)
    assert once == again
    await send("updateUserKey", alice, "PATCH", keys_path(ALICE, key_id), json={"alias": "b"})
    overlapping = {"json": {"overlap": 60}, "headers": {"Idempotency-Key": "rotate"}}
    await send("regenerateUserKey", alice, "POST", f"{keys_path(ALICE, key_id)}/regenerate", **overlapping)
    await send("deleteUserKey", alice, "DELETE", keys_path(ALICE, once["keyId"]))
    await send("updateUser", bob, "PATCH", user_path(ALICE), json={"maxBudget": 5})
    await send("createUser", bob, "POST", f"{BASE}/users", json={"userId": "user:default/dave"})
    await send("reportKey", alice, "POST", f"{BASE}/keys/report", json={"key": once["keySecret"]})
    await send("getUserKeys", alice, "GET", keys_path(ALICE))
    await send("deleteUser", bob, "DELETE", user_path(ALICE))
    await service.aclose()
    with capsys.disabled():
        print("\n" + "; ".join(f"{name}: {commits} commits, {n} statements" for name, (commits, n) in costs.items()))
    assert costs["createUserKey"][0] == costs["createUserKey once"][0] == 2
    assert costs["createUserKey"][1] <= 5
    assert costs["createUserKey once"][1] <= 7
    assert costs["createUserKey again"][0] == costs["getUserKeys"][0] == 0
    for name in ("updateUserKey", "regenerateUserKey", "deleteUserKey", "updateUser", "createUser"):
        assert costs[name][0] == 2, (name, costs[name])
        assert costs[name][1] <= 10, (name, costs[name])


class Heart:
    """A heartbeat that the test triggers."""

    def __init__(self) -> None:
        self._beats = asyncio.Semaphore(0)

    async def __call__(self, _: float) -> None:
        await self._beats.acquire()

    async def beat(self) -> None:
        """Renews the lease once."""
        with counted() as traffic:
            self._beats.release()
            while not traffic.commits:  # noqa: ASYNC110  # the database has no event for it
                await asyncio.sleep(0)


async def test_a_slow_litellm_does_not_outlive_the_lock(
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """The lease is renewed while its holder works: nobody else changes the user meanwhile."""
    gate, heart = Gate(litellm, "/key/generate"), Heart()
    slow = make_service(ports={"litellm": gate, "pause": heart}).signed_in(ALICE)
    other = make_service().signed_in(ALICE)
    await slow.get(keys_path(ALICE))
    creating = asyncio.create_task(slow.post(keys_path(ALICE)))
    await gate.reached.wait()
    for _ in range(3):
        clock.advance(25)
        await heart.beat()
        refused = await other.post(keys_path(ALICE))
        assert (refused.status_code, "in progress" in refused.json()["error"]["message"]) == (503, True)
        assert refused.headers["retry-after"] == "5"
    gate.open.set()
    assert (await creating).status_code == 201
    assert len(litellm.rows.keys) == 1


async def test_a_change_that_lost_its_lease_is_rolled_back(
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """Another replica takes over and deletes what the first one created; the first caller gets a 504: retry."""
    gate = Gate(litellm, "/key/generate", after=True)
    stuck = make_service(ports={"litellm": gate}).signed_in(ALICE)
    other = make_service().signed_in(ALICE)
    await stuck.get(keys_path(ALICE))
    creating = asyncio.create_task(stuck.post(keys_path(ALICE), json={"alias": "laptop"}, headers=NAMED))
    await gate.reached.wait()
    assert len(litellm.rows.keys) == 1
    clock.advance(31)
    taken_over = await other.post(keys_path(ALICE), json={"alias": "laptop"}, headers=NAMED)
    assert taken_over.status_code == 201
    gate.open.set()
    late = await creating
    assert (late.status_code, late.json()["error"]["message"]) == (
        504,
        "The operation timed out and was rolled back; retry",
    )
    assert list(litellm.rows.keys) == [taken_over.json()["keyId"]]


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_if_match_is_checked_under_the_lock(
    make_service: MakeService, litellm: LiteLLMStandIn, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """A change to a version that another change replaced is refused."""
    gate = Gate(litellm, "/key/update")
    service = make_service(ports={"litellm": gate})
    alice = service.signed_in(ALICE)
    path = keys_path(ALICE, (await alice.post(keys_path(ALICE))).json()["keyId"])
    version = {"If-Match": (await alice.get(path)).headers["etag"]}
    first = asyncio.create_task(alice.patch(path, json={"alias": "first"}, headers=version))
    await gate.reached.wait()
    line = Line(monkeypatch)
    body = {"alias": "second"} if method == "PATCH" else None
    second = asyncio.create_task(alice.request(method, path, headers=version, json=body))
    await line.has(1)
    gate.open.set()
    assert ((await first).status_code, (await second).status_code) == (200, 412)
    assert (await alice.get(path)).json()["key_alias"] == "first"


async def test_a_failed_change_is_recorded(make_service: MakeService) -> None:
    """With the reason that the caller was given."""
    service = make_service()
    alice = service.signed_in(ALICE)
    answer = await alice.delete(keys_path(ALICE, "0" * 64))
    assert answer.status_code == 404
    (event,) = (await alice.get(f"{BASE}/audit", params={"action": "key.delete"})).json()["events"]
    assert (event["outcome"], event["detail"]) == ("failed", answer.json()["error"]["message"])


async def test_a_replica_that_died_is_taken_over(
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """The next change deletes the key that nobody received, also without an Idempotency-Key."""
    gate = Gate(litellm, "/key/generate", after=True)
    dying = make_service(ports={"litellm": gate}).signed_in(ALICE)
    await dying.get(keys_path(ALICE))
    creating = asyncio.create_task(dying.post(keys_path(ALICE), json={"alias": "laptop"}))
    await gate.reached.wait()
    clock.advance(31)
    answer = await make_service().signed_in(ALICE).post(keys_path(ALICE), json={"alias": "laptop"})
    assert answer.status_code == 201, "the alias is free again"
    assert list(litellm.rows.keys) == [answer.json()["keyId"]]
    gate.open.set()
    await creating


async def test_changes_of_one_user_queue_up(
    make_service: MakeService, litellm: LiteLLMStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First come, first served within a process, without polling the database."""
    polls: list[float] = []

    async def sleep(seconds: float) -> None:
        polls.append(seconds)

    gate = Gate(litellm, "/key/generate")
    alice = make_service(ports={"litellm": gate, "sleep": sleep}).signed_in(ALICE)
    await alice.get(keys_path(ALICE))
    first = asyncio.create_task(alice.post(keys_path(ALICE), json={"alias": "first"}))
    await gate.reached.wait()
    line = Line(monkeypatch)
    others = [asyncio.create_task(alice.post(keys_path(ALICE), json={"alias": f"other-{n}"})) for n in range(3)]
    await line.has(3)
    gate.open.set()
    created = [(await task).json()["keyId"] for task in (first, *others)]
    assert list(litellm.rows.keys) == created
    assert polls == []


async def test_the_same_idempotency_key_at_another_replica(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """A 409 at once while the first request is running, and its answer afterwards."""
    polls: list[float] = []

    async def sleep(seconds: float) -> None:
        polls.append(seconds)

    gate = Gate(litellm, "/key/generate")
    one = make_service(ports={"litellm": gate}).signed_in(ALICE)
    other = make_service(ports={"sleep": sleep}).signed_in(ALICE)
    await one.get(keys_path(ALICE))
    running = asyncio.create_task(one.post(keys_path(ALICE), headers=NAMED))
    await gate.reached.wait()
    refused = await other.post(keys_path(ALICE), headers=NAMED)
    assert (refused.status_code, "Idempotency-Key" in refused.json()["error"]["message"]) == (409, True)
    assert polls == []
    gate.open.set()
    created = await running
    assert (await other.post(keys_path(ALICE), headers=NAMED)).json() == created.json()


async def test_who_takes_over_holds_the_idempotency_key_too(
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """A repetition goes on where a process died; a third request with the same key is a 409 at once."""
    died, slow = Gate(litellm, "/key/generate", after=True), Gate(litellm, "/key/generate")
    dying = make_service(ports={"litellm": died}).signed_in(ALICE)
    await dying.get(keys_path(ALICE))
    lost = asyncio.create_task(dying.post(keys_path(ALICE), headers=NAMED))
    await died.reached.wait()
    clock.advance(31)
    taking = asyncio.create_task(
        make_service(ports={"litellm": slow}).signed_in(ALICE).post(keys_path(ALICE), headers=NAMED)
    )
    await slow.reached.wait()
    third = await make_service().signed_in(ALICE).post(keys_path(ALICE), headers=NAMED)
    assert (third.status_code, "Idempotency-Key" in third.json()["error"]["message"]) == (409, True)
    slow.open.set()
    died.open.set()
    created = await taking
    assert (created.status_code, (await lost).status_code) == (201, 504)
    assert list(litellm.rows.keys) == [created.json()["keyId"]]


async def test_each_idempotency_key_that_is_in_use_here_is_refused_at_once(
    make_service: MakeService, litellm: LiteLLMStandIn
) -> None:
    """Whether its request runs or waits, and however many others there are: a repetition does not get in line."""
    gate = Gate(litellm, "/key/generate")
    patient = {"ports": {"litellm": gate, "change_patience": 600}, "timeouts": Timeouts(deadline=600)}
    alice = make_service(**patient).signed_in(ALICE)
    await alice.get(keys_path(ALICE))
    twice = [{"Idempotency-Key": name} for name in ("one", "two", "three") for _ in range(2)]
    sent = [asyncio.create_task(alice.post(keys_path(ALICE), headers=name)) for name in twice]
    # Whichever of two comes first: LiteLLM answers nobody, so only a refusal ends.
    refused = [await next(asyncio.as_completed(sent[pair : pair + 2])) for pair in (0, 2, 4)]
    assert [answer.status_code for answer in refused] == [409] * 3
    gate.open.set()
    assert sorted([answer.status_code for answer in await asyncio.gather(*sent)]) == [201] * 3 + [409] * 3
