"""A running change keeps its lease whatever happens to a renewal, and waits for the times that a lease needs."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from app import Ports, foundation
from services.changes import changes, reconciliation
from settings.model import CircuitSettings, Timeouts
from standalone.litellm import LiteLLMStandIn
from state import due, postgresql, sqlite_file
from state.changes import LEASE_SECONDS
from tests.conftest import ALICE, BOB, Clock, MakeService, keys_path, user_path
from tests.support.upstreams import Gate


class Heart:
    """A heartbeat that the test triggers. `asked` are the seconds that it was asked to wait for."""

    def __init__(self, clock: Clock) -> None:
        self.asked: list[float] = []
        self._clock = clock
        self._beats = asyncio.Semaphore(0)

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)
        await self._beats.acquire()
        self._clock.advance(seconds)

    def release(self) -> None:
        """Lets the time pass that it was asked to wait for."""
        self._beats.release()

    async def beat(self) -> None:
        """Lets that time pass, and returns when it is asked again."""
        count = len(self.asked)
        self.release()
        async with asyncio.timeout(60):
            while len(self.asked) == count:  # noqa: ASYNC110  # a port has no event for it
                await asyncio.sleep(0)


@contextmanager
def a_held_lock(file: Path) -> Iterator[None]:
    """Another process writes, and does not end."""
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


@contextmanager
def a_missing_table(file: Path) -> Iterator[None]:
    """Nobody thought of it."""
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("ALTER TABLE change RENAME TO moved")
        yield
        other.execute("ALTER TABLE moved RENAME TO change")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock is not waited for for long, but for as long as a busy machine may need."""
    monkeypatch.setattr(sqlite_file, "WAIT_SECONDS", 0.5)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fault", [a_held_lock, a_missing_table])
async def test_a_failed_renewal_does_not_cost_the_lease(
    make_service: MakeService,
    litellm: LiteLLMStandIn,
    clock: Clock,
    tmp_path: Path,
    fault: Callable[[Path], AbstractContextManager[None]],
) -> None:
    """Later ones succeed, and nobody else changes the user while LiteLLM is slow, nor undoes what it then did."""
    gate, heart = Gate(litellm, "/key/generate", after=True), Heart(clock)
    other = make_service().signed_in(ALICE)
    await other.get(keys_path(ALICE))
    slow = make_service(ports={"litellm": gate, "pause": heart}).signed_in(ALICE)
    creating = asyncio.create_task(slow.post(keys_path(ALICE)))
    await gate.reached.wait()
    with fault(tmp_path / "state.sqlite3"):
        for _ in range(3):
            await heart.beat()
    for _ in range(4):
        await heart.beat()
        assert (await other.post(keys_path(ALICE))).status_code == 503
    assert sum(heart.asked) > LEASE_SECONDS
    gate.open.set()
    created = await creating
    assert (created.status_code, list(litellm.rows.keys)) == (201, [created.json()["keyId"]])


@pytest.mark.usefixtures("impatient")
async def test_a_lease_is_renewed_in_good_time(
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock, tmp_path: Path
) -> None:
    """Twice before it ends; after a failure every second, as long as it takes; and then as before."""
    gate, heart = Gate(litellm, "/key/generate"), Heart(clock)
    await make_service().signed_in(ALICE).get(keys_path(ALICE))
    slow = make_service(ports={"litellm": gate, "pause": heart}).signed_in(ALICE)
    creating = asyncio.create_task(slow.post(keys_path(ALICE)))
    await gate.reached.wait()
    await heart.beat()
    with a_held_lock(tmp_path / "state.sqlite3"):
        for _ in range(2):
            await heart.beat()
    await heart.beat()
    assert heart.asked == [LEASE_SECONDS / 3, LEASE_SECONDS / 3, 1, 1, LEASE_SECONDS / 3]
    gate.open.set()
    assert (await creating).status_code == 201


async def test_a_lease_that_is_lost_is_not_renewed(
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """Once another change took over, the heartbeat ends."""
    gate, heart = Gate(litellm, "/key/generate", after=True), Heart(clock)
    other = make_service().signed_in(ALICE)
    await other.get(keys_path(ALICE))
    stuck = make_service(ports={"litellm": gate, "pause": heart}).signed_in(ALICE)
    creating = asyncio.create_task(stuck.post(keys_path(ALICE)))
    await gate.reached.wait()
    clock.advance(LEASE_SECONDS + 1)
    assert (await other.post(keys_path(ALICE))).status_code == 201
    heart.release()
    gate.open.set()
    assert (await creating).status_code == 504
    assert len(heart.asked) == 1


class SleepOnTheClock:
    """Moves the clock instead of waiting. `asked` are the seconds that it was asked to wait for."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.asked: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)
        self._clock.advance(seconds)


def test_intervals_fit_into_what_they_serve() -> None:
    """A lease outlives two renewals that fail slowly; who waits asks often; who takes over comes after the lease."""
    assert 2 * changes._RENEWAL_SECONDS + postgresql.TRANSACTION_SECONDS < LEASE_SECONDS
    assert 5 * changes._RETRY_SECONDS <= changes._RENEWAL_SECONDS
    assert Ports().change_patience >= 10 * changes._POLL_SECONDS
    assert changes.OFFBOARDING_SECONDS > LEASE_SECONDS
    assert LEASE_SECONDS + Timeouts().deadline < reconciliation._AFTER_SECONDS
    # A task of the queue waits for a lock and calls LiteLLM a few times; a run of the cleanup renews after each call.
    assert Ports().change_patience + 5 * Timeouts().deadline < due._LEASE_SECONDS
    assert 3 * Timeouts().deadline < foundation._LONGEST_LEASE_SECONDS
    # Callers who are told to come back find out whether LiteLLM is back, and those who wait do not sit out the pause.
    assert CircuitSettings().seconds < Timeouts().deadline


async def test_a_change_waits_for_another_replica_as_long_as_promised(
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """By asking again and again, never for long; what takes access away waits until a dead one has lost its lease."""
    sleep = SleepOnTheClock(clock)
    gate = Gate(litellm, "/key/generate")
    other = make_service(ports={"sleep": sleep}).signed_in(ALICE)
    key_id = (await other.post(keys_path(ALICE))).json()["keyId"]
    dead = make_service(ports={"litellm": gate}).signed_in(ALICE)
    creating = asyncio.create_task(dead.post(keys_path(ALICE)))
    await gate.reached.wait()
    assert (await other.post(keys_path(ALICE))).status_code == 503
    assert (max(sleep.asked) <= 1, 9 <= sum(sleep.asked) <= 10) == (True, True)
    assert (await other.delete(keys_path(ALICE, key_id))).status_code == 204
    assert LEASE_SECONDS - 1 <= sum(sleep.asked) <= LEASE_SECONDS + 1
    gate.open.set()
    assert (await creating).status_code == 504


async def test_an_off_boarding_outlasts_a_dead_replica(
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """A user whom a replica was changing when it died is deleted at the admin's first request, not at a later one."""
    sleep = SleepOnTheClock(clock)
    gate = Gate(litellm, "/key/generate")
    await make_service().signed_in(ALICE).get(keys_path(ALICE))
    creating = asyncio.create_task(
        make_service(ports={"litellm": gate}).signed_in(ALICE).post(keys_path(ALICE), json={"alias": "a"})
    )
    await gate.reached.wait()
    deleted = await make_service(ports={"sleep": sleep}).signed_in(BOB).delete(user_path(ALICE))
    assert (deleted.status_code, litellm.rows.users) == (200, {})
    assert LEASE_SECONDS - 1 <= sum(sleep.asked) <= LEASE_SECONDS + 2
    creating.cancel()
    await asyncio.gather(creating, return_exceptions=True)
