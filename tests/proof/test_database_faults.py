"""What can happen to the service's database: nothing is lost, nothing is done twice, and a 503 says so in time."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import httpx
import psycopg
import pytest
import sqlalchemy as sa

from standalone.litellm import LiteLLMStandIn
from state import database
from tests.conftest import ALICE, BASE, BOB, Clock, MakeService, Service, keys_path
from tests.proof.conftest import Cells
from tests.support.contract import operations
from tests.support.postgresql import empty_database
from tests.support.requests import API, NO_KEY, REQUESTS

CHANGES = {name for name in API if operations()[name][0] != "GET"} - {"runCleanup"}
WORKS = {200, 202, 204}
Fault = Callable[[Service], AbstractContextManager[Any]]


def file_of(service: Service) -> str:
    return service.settings.database_url.partition(":///")[2]


def _execute(connection: Any, statement: str) -> None:
    cursor = connection.cursor()
    cursor.execute(statement)
    cursor.close()


@contextmanager
def pragma(statement: str, otherwise: str) -> Iterator[None]:
    """While within, each connection to SQLite has this pragma."""

    def configure(connection: Any, *_: Any) -> None:
        _execute(connection, f"PRAGMA {statement}")

    def reset(connection: Any, *_: Any) -> None:
        _execute(connection, f"PRAGMA {otherwise}")

    sa.event.listen(sa.pool.Pool, "checkout", configure)
    sa.event.listen(sa.pool.Pool, "checkin", reset)
    try:
        yield
    finally:
        sa.event.remove(sa.pool.Pool, "checkout", configure)
        sa.event.remove(sa.pool.Pool, "checkin", reset)


@contextmanager
def locked(service: Service) -> Iterator[None]:
    """Another process writes, and does not end."""
    other = sqlite3.connect(file_of(service), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.close()


FAULTS: dict[str, Fault] = {
    "read-only file": lambda _: pragma("query_only=ON", "query_only=OFF"),
    "a lock that is held": locked,
}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock is not waited for. In production it is, for ten seconds."""
    monkeypatch.setattr(database, "_WAIT_SECONDS", 0.05)


async def a_key(client: httpx.AsyncClient) -> str:
    response = await client.post(keys_path(ALICE), json={})
    assert response.status_code == 201, response.text
    return str(response.json()["keyId"])


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fault", FAULTS)
async def test_sqlite(make_service: MakeService, litellm: LiteLLMStandIn, fault: str, cells: Cells) -> None:
    """Reads work; every change is a 503 with `Retry-After`, and reaches nothing in LiteLLM; afterwards it works."""
    service = make_service(creates_per_minute=100_000)
    alice, bob = service.signed_in(ALICE), service.signed_in(BOB)
    key_id = await a_key(alice)
    # The first list of all fills the directory.
    assert (await bob.get(f"{BASE}/users")).status_code == 200
    for operation in API:
        method, path, options = REQUESTS[operation]
        before = (dict(litellm.rows.users), dict(litellm.rows.keys))
        with FAULTS[fault](service):
            response = await bob.request(method, path.replace(NO_KEY, key_id), **options)
        wrong = []
        if operation in CHANGES and (response.status_code, response.headers.get("retry-after")) != (503, "5"):
            wrong.append(f"{response.status_code}: {response.text[:200]}")
        if operation in CHANGES and (litellm.rows.users, litellm.rows.keys) != before:
            wrong.append("LiteLLM was changed")
        if method == "GET" and response.status_code not in WORKS | {404}:
            wrong.append(f"{response.status_code}: {response.text[:200]}")
        cells.record(operation, wrong)
    await a_key(alice)
    assert cells.failed == {}


async def test_a_full_disk(make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock) -> None:
    """Keys are created until it is full; none of those that somebody received is lost, and no other is left."""
    service = make_service(creates_per_minute=100_000)
    alice = service.signed_in(ALICE)
    received = {await a_key(alice)}
    statuses = set()
    with pragma("max_page_count=1", "max_page_count=1073741823"):
        for number in range(300):
            response = await alice.post(keys_path(ALICE), json={}, headers={"Idempotency-Key": str(number)})
            statuses.add(response.status_code)
            if response.status_code == 201:
                received.add(response.json()["keyId"])
            elif number > 20:
                break
    assert statuses == {201, 503}
    assert (await alice.get(keys_path(ALICE))).status_code == 200
    received.add(await a_key(alice))
    clock.advance(400)
    await service.run_background_jobs()
    assert set(litellm.rows.keys) == received


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the clock of PostgreSQL, as this service reads it, by some seconds."""
    offset, own = [0.0], database.Database.now

    def now(self: database.Database) -> sa.ColumnElement[float]:
        moved = sa.bindparam(None, callable_=lambda: offset[0], type_=sa.Float, unique=True)
        return own(self) + moved

    monkeypatch.setattr(database.Database, "now", now)
    return lambda seconds: offset.__setitem__(0, offset[0] + seconds)


@pytest.fixture
async def postgresql() -> AsyncIterator[str]:
    async with empty_database() as url:
        yield url


def end_connections(url: str) -> None:
    """What a restart of PostgreSQL does to those who are connected."""
    server, _, name = url.replace("+psycopg", "").rpartition("/")
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,))


@pytest.mark.live
@pytest.mark.parametrize("at", range(8))
async def test_postgresql_restarts(
    make_service: MakeService, litellm: LiteLLMStandIn, later: Callable[[float], None], postgresql: str, at: int
) -> None:
    """Before each transaction begins, and before each commits: the same request again makes one key."""
    service = make_service(database_url=postgresql)
    alice = service.signed_in(ALICE)
    received = {await a_key(alice)}
    steps = 0

    def step(_: Any) -> None:
        nonlocal steps
        if steps == at:
            end_connections(postgresql)
        steps += 1

    for event in ("begin", "commit"):
        sa.event.listen(sa.Engine, event, step)
    try:
        first = await alice.post(keys_path(ALICE), json={}, headers={"Idempotency-Key": "laptop"})
    finally:
        for event in ("begin", "commit"):
            sa.event.remove(sa.Engine, event, step)
    assert first.status_code in (201, 503), first.text
    later(400)
    await service.run_background_jobs()
    again = await alice.post(keys_path(ALICE), json={}, headers={"Idempotency-Key": "laptop"})
    assert again.status_code == 201, again.text
    assert first.status_code == 503 or first.json() == again.json()
    received.add(again.json()["keyId"])
    assert set(litellm.rows.keys) == received
    events = (await service.signed_in(BOB).get(f"{BASE}/audit")).json()["events"]
    assert [event for event in events if event["outcome"] is None] == []


@pytest.mark.live
async def test_serialization_failures(
    make_service: MakeService, litellm: LiteLLMStandIn, later: Callable[[float], None], postgresql: str
) -> None:
    """Where PostgreSQL refuses concurrent transactions, a 503 says so; the same request again makes one key."""
    name = postgresql.rpartition("/")[2]
    with psycopg.connect(postgresql.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f"alter database {name} set default_transaction_isolation = 'serializable'".encode())
    service = make_service(database_url=postgresql, creates_per_minute=100_000)
    bob = service.signed_in(BOB)
    owners = [f"user:default/member-{number}" for number in range(8)]
    for owner in owners:
        litellm.rows.add_user({"user_id": owner})
    asked = [(owner, f"{owner}-{number}") for owner in owners for number in range(4)]

    async def create(owner: str, name: str) -> httpx.Response:
        return await bob.post(keys_path(owner), json={}, headers={"Idempotency-Key": name})

    first = await asyncio.gather(*(create(*each) for each in asked))
    assert {response.status_code for response in first} <= {201, 503}
    later(400)
    await service.run_background_jobs()
    again = [await create(*each) for each in asked]
    assert {response.status_code for response in again} == {201}
    assert all(one.status_code == 503 or one.json() == two.json() for one, two in zip(first, again, strict=True))
    assert set(litellm.rows.keys) == {response.json()["keyId"] for response in again}
    print(f"serialization failures: {sum(response.status_code == 503 for response in first)} of {len(first)}")


@pytest.mark.live
async def test_a_lock_in_postgresql(
    make_service: MakeService, postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change waits for it, or for the only connection, as long as it may, and is a 503; then it works again."""
    monkeypatch.setattr(database, "_WAIT_SECONDS", 0.2)
    monkeypatch.setattr(database, "_CONNECTIONS", 1)
    service = make_service(database_url=postgresql)
    alice = service.signed_in(ALICE)
    await a_key(alice)
    other = psycopg.connect(postgresql.replace("+psycopg", ""), autocommit=False)
    other.execute("lock table change in access exclusive mode")
    bob = service.signed_in(BOB)
    for refused in await asyncio.gather(alice.post(keys_path(ALICE), json={}), bob.post(keys_path(BOB), json={})):
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    other.close()
    await a_key(alice)
