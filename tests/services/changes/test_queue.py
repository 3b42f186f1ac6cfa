"""The queue of one user's changes: it has an end and ends in time, but access is taken away whatever waits."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import httpx
import pytest

from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BOB, Clock, MakeService, Service, keys_path, user_path
from tests.support.keys import made
from tests.support.upstreams import Gate

FEW = {"changes_per_minute": 10, "creates_per_minute": 200}


class Slow(httpx.AsyncBaseTransport):
    """A LiteLLM that takes so many seconds for each request."""

    def __init__(self, litellm: LiteLLMStandIn, seconds: float) -> None:
        self._inner = httpx.ASGITransport(litellm.app)
        self._seconds = seconds

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(self._seconds)
        return await self._inner.handle_async_request(request)


async def settle() -> None:
    for _ in range(500):
        await asyncio.sleep(0)


async def held_up(make_service: MakeService, litellm: LiteLLMStandIn, **ports: object) -> tuple[Gate, Service, str]:
    """A service where one change of alice is under way for as long as the gate is closed."""
    gate = Gate(litellm, "/key/update")
    service = make_service(ports={"litellm": gate, **ports})
    return gate, service, await made(service.signed_in(ALICE))


async def test_the_queue_has_an_end(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """Of a hundred changes at once fifty wait behind the first; the rest is a 503 at once that says when to retry."""
    gate, service, key_id = await held_up(make_service, litellm)
    alice = service.signed_in(ALICE)
    sent = [asyncio.create_task(alice.patch(keys_path(ALICE, key_id), json={"alias": f"a{n}"})) for n in range(100)]
    await gate.reached.wait()
    await settle()
    refused = [task.result() for task in sent if task.done()]
    assert [answer.status_code for answer in refused] == [503] * 49
    assert {answer.headers["retry-after"] for answer in refused} == {"5"}
    assert f"Too many changes to {ALICE}" in refused[0].json()["error"]["message"]
    gate.open.set()
    assert Counter([(await task).status_code for task in sent]) == {200: 51, 503: 49}


async def test_nobody_waits_longer_than_promised(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """A change that has not had its turn by then is a 503, and nothing was changed."""
    gate, service, key_id = await held_up(make_service, litellm, change_patience=0.05)
    alice = service.signed_in(ALICE)
    first = asyncio.create_task(alice.patch(keys_path(ALICE, key_id), json={"alias": "first"}))
    await gate.reached.wait()
    for body in ({"alias": "second"}, {"maxBudget": 1}):
        refused = await alice.patch(keys_path(ALICE, key_id), json=body)
        assert (refused.status_code, ALICE in refused.json()["error"]["message"]) == (503, True)
    assert (await service.signed_in(BOB).patch(user_path(ALICE), json={"maxBudget": 1})).status_code == 503
    gate.open.set()
    assert (await first).status_code == 200
    shown = (await alice.get(keys_path(ALICE, key_id))).json()
    assert (shown["key_alias"], shown["max_budget"]) == ("first", None)
    assert (await alice.patch(keys_path(ALICE, key_id), json={"alias": "third"})).status_code == 200


async def test_the_promise_holds_over_two_replicas(
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """Waiting here and asking for another replica's lock are ten seconds together."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    gate, service, key_id = await held_up(make_service, litellm)
    first = asyncio.create_task(service.signed_in(ALICE).patch(keys_path(ALICE, key_id), json={"alias": "first"}))
    await gate.reached.wait()
    other = make_service(ports={"sleep": sleep}).signed_in(ALICE)
    refused = await other.patch(keys_path(ALICE, key_id), json={"alias": "second"})
    assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
    assert ALICE in refused.json()["error"]["message"]
    assert 9 <= sum(slept) <= 10
    gate.open.set()
    assert (await first).status_code == 200


async def test_who_waited_here_waits_less_for_another_replica(
    make_service: MakeService, litellm: LiteLLMStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two changes that find the lock taken elsewhere, the second has spent 0.6 of its second behind the first."""
    loop, ahead, slept = asyncio.get_running_loop(), [0.0], list[float]()
    monkeypatch.setattr(loop, "time", lambda time=loop.time: time() + ahead[0])

    async def sleep(seconds: float) -> None:
        await settle()
        slept.append(seconds)
        ahead[0] = 0.6

    gate, service, key_id = await held_up(make_service, litellm)
    first = asyncio.create_task(service.signed_in(ALICE).patch(keys_path(ALICE, key_id), json={"alias": "first"}))
    await gate.reached.wait()
    other = make_service(ports={"sleep": sleep, "change_patience": 1}).signed_in(ALICE)
    answers = await asyncio.gather(*(other.patch(keys_path(ALICE, key_id), json={"alias": name}) for name in "ab"))
    assert [answer.status_code for answer in answers] == [503, 503]
    assert 0.6 <= sum(slept) <= 1.4
    gate.open.set()
    assert (await first).status_code == 200


async def test_a_page_that_deletes_a_hundred_keys_at_once(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """All are deleted, though the caller looks at no answer, more changes wait than may, and the rate is spent."""
    service = make_service(ports={"litellm": Slow(litellm, 0.002), "change_patience": 0.05}, **FEW)
    alice = service.signed_in(ALICE)
    keys = [await made(alice) for _ in range(100)]
    busy = [asyncio.create_task(alice.patch(keys_path(ALICE, keys[0]), json={"alias": f"a{n}"})) for n in range(60)]
    await settle()
    began = time.monotonic()
    answers = await asyncio.gather(*(alice.delete(keys_path(ALICE, key_id)) for key_id in keys))
    took = time.monotonic() - began
    assert Counter(answer.status_code for answer in answers) == {204: 100}
    assert took > 0.05, "they waited longer than others may"
    assert litellm.rows.keys == {}
    await asyncio.gather(*busy)


async def test_such_a_page_over_two_replicas(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """They take turns with one lock, and the one that asks for it in vain for long gets it in the end."""

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(seconds / 100)

    ports = {"litellm": Slow(litellm, 0.01), "change_patience": 0.05, "sleep": sleep}
    replicas = [make_service(ports=ports).signed_in(ALICE) for _ in range(2)]
    keys = [await made(replicas[0]) for _ in range(30)]
    answers = await asyncio.gather(*(replicas[n % 2].delete(keys_path(ALICE, key_id)) for n, key_id in enumerate(keys)))
    assert Counter(answer.status_code for answer in answers) == {204: 30}
    assert litellm.rows.keys == {}


async def test_a_hundred_blocks_at_once(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """A leaver's keys are blocked by an admin, however many changes wait."""
    service = make_service(ports={"litellm": Slow(litellm, 0.002), "change_patience": 0.05}, **FEW)
    alice, bob = service.signed_in(ALICE), service.signed_in(BOB)
    keys = [await made(alice) for _ in range(70)]
    answers = await asyncio.gather(*(bob.patch(keys_path(ALICE, key_id), json={"blocked": True}) for key_id in keys))
    assert Counter(answer.status_code for answer in answers) == {200: 70}
    assert {row["blocked"] for row in litellm.rows.keys.values()} == {True}


async def test_patches_have_a_rate(service: Service, clock: Clock) -> None:
    """120 in a minute for each caller, of users and keys together; then a 429 that says how long to wait."""
    bob = service.signed_in(BOB)
    key_id = await made(bob, BOB)
    await service.signed_in(ALICE).get(keys_path(ALICE))
    for number in range(60):
        assert (await bob.patch(keys_path(BOB, key_id), json={"maxBudget": number})).status_code == 200
        assert (await bob.patch(user_path(ALICE), json={"maxBudget": number})).status_code == 200
    refused = await bob.patch(user_path(ALICE), json={"maxBudget": 1})
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert refused.headers["ratelimit-policy"] == '"changes";q=120;w=60'
    clock.advance(1)
    assert (await bob.patch(user_path(ALICE), json={"maxBudget": 1})).status_code == 200
