"""What can happen to the service's database: nothing is lost, nothing is done twice, and a 503 says so in time."""

from __future__ import annotations

import asyncio
import copy
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from app import Ports
from standalone.litellm import LiteLLMStandIn
from state import database, postgresql, sqlite_file
from state.changes import LEASE_SECONDS
from tests.conftest import ALICE, BASE, BOB, Clock, MakeService, Service, keys_path, user_path
from tests.proof.conftest import Cells, at_step
from tests.support.audit import nothing_is_open
from tests.support.contract import operations
from tests.support.faults import Line
from tests.support.postgresql import empty_database
from tests.support.processes import output
from tests.support.requests import API, NO_KEY, REQUESTS

CHANGES = {name for name in API if operations()[name][0] != "GET"} - {"runCleanup", "startAdoption", "testWorkload"}
CHANGES |= {"getDeviceCode"}  # who looks at a code may have guessed it, and is counted before the answer
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
    monkeypatch.setattr(sqlite_file, "WAIT_SECONDS", 0.05)


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
        if method == "GET" and operation not in CHANGES and response.status_code not in WORKS | {404}:
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
async def url() -> AsyncIterator[str]:
    """A database of its own."""
    async with empty_database() as url:
        yield url


def end_connections(url: str) -> None:
    """What a restart of PostgreSQL does to those who are connected."""
    server, _, name = url.replace("+psycopg", "").rpartition("/")
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,))


@pytest.mark.postgresql
@pytest.mark.parametrize("at", range(8))
async def test_postgresql_restarts(
    make_service: MakeService, later: Callable[[float], None], url: str, at: int
) -> None:
    """Before each transaction begins, and before each commits: the same request again makes one key."""
    service = make_service(database_url=url)
    alice = service.signed_in(ALICE)
    received = {await a_key(alice)}
    with at_step(at, lambda: end_connections(url)):
        first = await alice.post(keys_path(ALICE), json={}, headers={"Idempotency-Key": "laptop"})
    later(400)
    await is_one_key(service, alice, first, received)
    await nothing_is_open(service)


async def is_one_key(service: Service, alice: httpx.AsyncClient, first: httpx.Response, received: set[str]) -> None:
    """The request of `first`, sent again later, makes no second key beside those that alice has received."""
    assert first.status_code in (201, 503), first.text
    await service.run_background_jobs()
    again = await alice.post(keys_path(ALICE), json={}, headers={"Idempotency-Key": "laptop"})
    assert again.status_code == 201, again.text
    assert first.status_code == 503 or first.json() == again.json()
    assert set(service.litellm.rows.keys) == received | {again.json()["keyId"]}


@pytest.mark.postgresql
async def test_serialization_failures(
    make_service: MakeService, litellm: LiteLLMStandIn, later: Callable[[float], None], url: str
) -> None:
    """Where PostgreSQL refuses concurrent transactions, a 503 says so; the same request again makes one key."""
    name = url.rpartition("/")[2]
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f"alter database {name} set default_transaction_isolation = 'serializable'".encode())
    service = make_service(database_url=url, creates_per_minute=100_000)
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


@pytest.mark.postgresql
async def test_a_lock_in_postgresql(make_service: MakeService, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change waits for it, or for the only connection, as long as it may, and is a 503; then it works again."""
    monkeypatch.setattr(postgresql, "STATEMENT_SECONDS", 0.2)
    monkeypatch.setitem(postgresql._LIMITS, "lock_timeout", 0.2)
    monkeypatch.setattr(postgresql, "CONNECTIONS", 1)
    service = make_service(database_url=url)
    alice = service.signed_in(ALICE)
    await a_key(alice)
    other = psycopg.connect(url.replace("+psycopg", ""), autocommit=False)
    other.execute("lock table change in access exclusive mode")
    bob = service.signed_in(BOB)
    for refused in await asyncio.gather(alice.post(keys_path(ALICE), json={}), bob.post(keys_path(BOB), json={})):
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    other.close()
    await a_key(alice)


Way = tuple[Line, str]


@pytest.fixture
async def way(url: str) -> AsyncIterator[Way]:
    """A line to PostgreSQL, and the URL of the database at its other end."""
    server = make_url(url)
    line = Line(server.host or "", server.port or 5432)
    await line.mend()
    yield line, server.set(host="127.0.0.1", port=line.local_port).render_as_string(hide_password=False)
    line.cut()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is given up after seconds is given up sooner; less than two for a connection, the driver does not know."""
    limits = {"TRANSACTION_SECONDS": 3.0, "ANSWER_SECONDS": 0.6, "CONNECT_SECONDS": 2, "PING_SECONDS": 0.3}
    for name, seconds in limits.items():
        monkeypatch.setattr(postgresql, name, seconds)


@pytest.mark.postgresql
async def test_postgresql_hangs(make_service: MakeService, way: Way) -> None:
    """All who wait have a 503 with `Retry-After` in about ten seconds, and health says so; then it works at once."""
    line, url = way
    service = make_service(database_url=url, creates_per_minute=100_000)
    alice, bob = service.signed_in(ALICE), service.signed_in(BOB)
    await asyncio.gather(*(a_key(alice) for _ in range(5)))
    line.stall()
    began = time.monotonic()
    waiting = [bob.patch(user_path(ALICE), json={"maxBudget": 5}), *(bob.get(f"{BASE}/audit") for _ in range(40))]
    answers = await asyncio.gather(*waiting)
    took = time.monotonic() - began
    assert {(answer.status_code, answer.headers.get("retry-after")) for answer in answers} == {(503, "5")}
    assert took < 11
    health = (await service.client().get("/.backstage/health/v1/readiness")).json()
    assert health["dependencies"]["database"] == "down"
    line.flow()
    began = time.monotonic()
    await a_key(alice)
    print(f"answered after {took:.1f} s, worked again after {time.monotonic() - began:.1f} s")


@pytest.mark.postgresql
@pytest.mark.usefixtures("hasty")
async def test_postgresql_hangs_at_each_operation(
    make_service: MakeService, litellm: LiteLLMStandIn, way: Way, cells: Cells
) -> None:
    """Each ends in time, a change as a 503 that reached nothing; probes and background jobs go on; then it works."""
    line, url = way
    service = make_service(database_url=url, creates_per_minute=100_000)
    bob, key_id = service.signed_in(BOB), await a_key(service.signed_in(ALICE))
    assert (await bob.get(f"{BASE}/users")).status_code == 200
    await service.run_background_jobs()
    before = copy.deepcopy((litellm.rows.users, litellm.rows.keys))

    async def ask(operation: str) -> httpx.Response:
        method, path, options = REQUESTS[operation]
        return await bob.request(method, path.replace(NO_KEY, key_id), **options)

    line.stall()
    async with asyncio.timeout(15):
        answers = await asyncio.gather(*map(ask, API))
    for operation, answer in zip(API, answers, strict=True):
        told = (answer.status_code, answer.headers.get("retry-after"))
        may_work = operation not in CHANGES and answer.status_code in WORKS
        cells.record(operation, [] if told == (503, "5") or may_work else [f"{told}: {answer.text[:200]}"])
    async with asyncio.timeout(15):
        for probe in ("getLiveness", "getReadiness", "getMetrics"):
            cells.record(probe, [] if (await ask(probe)).status_code == 200 else ["it failed"])
        await service.run_background_jobs()
    assert (litellm.rows.users, litellm.rows.keys) == before
    line.flow()
    for operation in (*sorted(API, key=lambda name: name in CHANGES and name.startswith("delete")), "getMetrics"):
        status = (await ask(operation)).status_code
        cells.record(f"{operation} afterwards", [] if status in WORKS | {201, 404} else [f"{status}"])
    assert cells.failed == {}


@pytest.mark.postgresql
async def test_a_start_at_a_postgresql_that_hangs(way: Way, tmp_path: Path) -> None:
    """It is one plain sentence and exit 1, after seconds and not for ever."""
    line, url = way
    line.stall()
    config = tmp_path / "app-config.yaml"
    config.write_text(
        f"""
        liteLLM: {{baseUrl: 'http://127.0.0.1:9', masterKey: sk-x, adminGroup: a, allowedGroup: b}}
        backend: {{baseUrl: 'http://127.0.0.1:9'}}
        litellmOrchestrator: {{database: {{url: '{url.replace("+psycopg", "")}'}}}}
        """
    )
    async with asyncio.timeout(60):
        code, printed = await output("serve", "--config", str(config))
    assert (code, "cannot be used" in printed, "Traceback" in printed) == (1, True, False), printed


@dataclass
class Hanging:
    """A PostgreSQL that hangs until it goes on; or one that fails over, to a server without the open transactions."""

    line: Line
    url: str
    direct_url: str
    fails_over: bool

    def begin(self) -> None:
        if self.fails_over:
            self.line.fail_over()
            end_connections(self.direct_url)
        else:
            self.line.stall()

    def end(self) -> None:
        self.line.flow()


@pytest.fixture(params=[False, True], ids=["goes on", "fails over"])
def hanging(way: Way, url: str, request: pytest.FixtureRequest) -> Hanging:
    """Both kinds."""
    return Hanging(*way, url, request.param)


@pytest.mark.postgresql
@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("at", range(8))
async def test_postgresql_hangs_in_the_middle(
    make_service: MakeService, later: Callable[[float], None], hanging: Hanging, at: int
) -> None:
    """Before each transaction begins, and before each commits: an answer in time, and one key in the end."""
    service = make_service(database_url=hanging.url)
    alice = service.signed_in(ALICE)
    received = {await a_key(alice)}
    with at_step(at, hanging.begin):
        async with asyncio.timeout(10):
            first = await alice.post(keys_path(ALICE), json={}, headers={"Idempotency-Key": "laptop"})
    hanging.end()
    later(400)
    await is_one_key(service, alice, first, received)


@pytest.mark.postgresql
@pytest.mark.usefixtures("hasty")
async def test_a_transaction_that_the_server_does_not_know_to_be_over(
    make_service: MakeService, monkeypatch: pytest.MonkeyPatch, way: Way
) -> None:
    """A network that forgot the connection: the locks of the transaction do not outlive it for long."""
    monkeypatch.setitem(postgresql._LIMITS, "idle_in_transaction_session_timeout", 1.0)
    line, url = way
    alice = make_service(database_url=url).signed_in(ALICE)
    await a_key(alice)
    with at_step(2, line.fail_over):
        statuses = [(await alice.post(keys_path(ALICE), headers={"Idempotency-Key": "a"})).status_code]
    while statuses[-1] == 503 and len(statuses) < 6:
        statuses.append((await alice.post(keys_path(ALICE), headers={"Idempotency-Key": "a"})).status_code)
    assert (statuses[0], statuses[-1]) == (503, 201)


@pytest.mark.postgresql
@pytest.mark.usefixtures("hasty")
async def test_what_nobody_waits_for_any_more(make_service: MakeService, way: Way) -> None:
    """A caller or a probe that is given up itself ends at once, and does not ask a server that hangs to cancel."""
    line, url = way
    service = make_service(database_url=url)
    await a_key(service.signed_in(ALICE))
    own = database.Database(service.settings.database_url)
    async with own.reading() as connection:
        await connection.execute(sa.text("select 1"))
    began = time.monotonic()
    for fault in (line.stall, line.flow, line.stall):
        fault()
        with suppress(TimeoutError):
            async with asyncio.timeout(0.2), own.reading() as connection:
                await connection.execute(sa.text("select pg_sleep(10)"))
    assert time.monotonic() - began < 3
    line.flow()
    assert await own.is_ready()
    await own.aclose()


@pytest.mark.postgresql
@pytest.mark.usefixtures("hasty")
async def test_a_migration_takes_the_time_that_it_takes(url: str) -> None:
    """Another replica's too: it is waited for, for longer than for anything else."""
    with psycopg.connect(url.replace("+psycopg", "")) as other:
        other.execute("select pg_advisory_xact_lock(%s)", (postgresql._MIGRATION_LOCK,))
        own = database.Database(url)
        migrating = asyncio.create_task(own.migrate())
        await asyncio.sleep(postgresql.TRANSACTION_SECONDS + 0.5)
        assert not migrating.done()
    await migrating
    assert await own.is_ready()
    await own.aclose()


def test_the_patience_with_postgresql() -> None:
    """Each limit lets the one below it speak first, and what a caller can meet in a row is about ten seconds."""
    assert Ports().dependency_patience > postgresql.PING_SECONDS
    assert postgresql.STATEMENT_SECONDS < postgresql.ANSWER_SECONDS < postgresql.TRANSACTION_SECONDS
    assert postgresql._LIMITS["idle_in_transaction_session_timeout"] > postgresql.TRANSACTION_SECONDS
    # Its answer does not come, and that it is interrupted cannot be said on a new connection either.
    assert postgresql.ANSWER_SECONDS + postgresql.CONNECT_SECONDS <= 10
    assert postgresql.TRANSACTION_SECONDS < LEASE_SECONDS / 3
