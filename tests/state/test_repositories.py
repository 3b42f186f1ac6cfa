"""What this service keeps, the same on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from domain.errors import ConflictError
from state.changes import AuditLog, Conclusion, Filters, Intent
from state.database import Database, DatabaseUnavailableError
from state.kept_answers import IdempotentRequests
from state.locks import Locks
from state.rates import Rates
from state.revocations import ReportedKeys, Revocation, Revocations
from state.tables import audit_intent, audit_outcome, idempotency, key_revocation, metadata
from tests.conformance.conftest import TARGETS
from tests.conftest import ALICE, BOB, Clock

INTENT = Intent(ALICE, "key.create", "operation-1", target=ALICE, wanted={"alias": "a"})
DONE = Conclusion("done", "ab" * 32, {"alias": "a"})


@pytest.fixture(params=TARGETS)
async def database(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> AsyncIterator[Database]:
    """An empty database of its own."""
    if request.param == "real":
        server, _, _ = os.environ["STATE_DATABASE_URL"].rpartition("/")
        name = f"orchestrator_{uuid.uuid4().hex}"
        async with await psycopg.AsyncConnection.connect(f"{server}/postgres", autocommit=True) as connection:
            await connection.execute(f"create database {name}".encode())
            database = Database(f"{server}/{name}".replace("postgresql://", "postgresql+psycopg://"))
            yield database
            await database.aclose()
            await connection.execute(f"drop database {name} with (force)".encode())
    else:
        database = Database(f"sqlite+aiosqlite:///{tmp_path}/state.sqlite3", clock)
        yield database
        await database.aclose()


async def shift(database: Database, column: sa.Column[Any], seconds: float) -> None:
    """Let so many seconds pass for whatever a column says, where the database has a clock of its own."""
    async with database.transaction() as connection:
        await connection.execute(sa.update(column.table).values({column: column - seconds}))


async def test_the_tables_are_those_of_the_migrations(database: Database) -> None:
    """Nothing is in one and not in the other."""
    async with database.transaction() as connection:
        found = await connection.run_sync(
            lambda sync: {
                name: {column["name"] for column in sa.inspect(sync).get_columns(name)}
                for name in sa.inspect(sync).get_table_names()
            }
        )
    found.pop("alembic_version")
    assert found == {name: {column.name for column in table.columns} for name, table in metadata.tables.items()}


async def test_events_of_the_audit_log(database: Database) -> None:
    """An intent is concluded once; the newest come first; filters narrow them down."""
    log = AuditLog(database)
    first = await log.intend(INTENT)
    second = await log.intend(Intent(BOB, "user.update", "operation-2", target=ALICE))
    assert [await log.conclude(first, DONE), await log.conclude(first, Conclusion("failed"))] == [True, False]
    events = await log.page(Filters(), 10)
    assert [event.id for event in events] == [second, first]
    assert (events[1].intent, events[1].conclusion, events[0].conclusion) == (INTENT, DONE, None)
    for filters in (
        Filters(actor=ALICE),
        Filters(action="key.create"),
        Filters(before_id=second),
        Filters(until=events[0].at),
    ):
        assert {event.id for event in await log.page(filters, 10)} <= {first}
    assert len(await log.page(Filters(concerning=ALICE, since=0.0), 10)) == 2
    assert await log.page(Filters(concerning="user:default/x"), 10) == []
    assert [event.id for event in await log.unconcluded(older_than=-1, limit=5)] == [second]
    assert await log.unconcluded(older_than=300, limit=5) == []


async def test_what_is_forgotten(database: Database) -> None:
    """What is old enough and has an outcome."""
    log = AuditLog(database)
    ids = [await log.intend(INTENT) for _ in range(2)]
    await log.conclude(ids[0], DONE)
    await log.forget(older_than=100)
    assert len(await log.page(Filters(), 10)) == 2
    await log.forget(older_than=-1)
    assert [event.id for event in await log.page(Filters(), 10)] == [ids[1]]


@pytest.mark.parametrize("table", [audit_intent, audit_outcome])
async def test_the_audit_log_refuses_to_be_changed(database: Database, table: sa.Table) -> None:
    """Whoever asks."""
    log = AuditLog(database)
    await log.conclude(await log.intend(INTENT), DONE)

    async def change() -> None:
        async with database.transaction() as connection:
            await connection.execute(sa.update(table).values(at=0))

    with pytest.raises(DatabaseUnavailableError) as raised:
        await change()
    assert "append-only" in str(raised.value.__cause__)


async def test_a_transaction_within_another_is_part_of_it(database: Database) -> None:
    """All of it is written, or nothing."""
    log = AuditLog(database)

    async def fail() -> None:
        async with database.transaction():
            await log.conclude(await log.intend(INTENT), DONE)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await log.page(Filters(), 10) == []


async def test_a_request_is_claimed_once(database: Database) -> None:
    """Until it is silent for too long; then the next is told what to look for, and the first cannot finish any more."""
    requests = IdempotentRequests(database)

    async def claim(operation: str, fingerprint: str = "f") -> Any:
        return await requests.claim("r", fingerprint, operation, running_for=30, kept_for=1000)

    first = await claim("one")
    assert (first.is_ours, first.cut_short) == (True, None)
    assert (await claim("two")).is_ours is False
    await shift(database, idempotency.c.running_until, 31)
    assert (await claim("other", "g")).is_ours is False
    second = await claim("three")
    assert (second.is_ours, second.cut_short, second.attempt) == (True, "one", 2)
    assert await requests.finish(first, "key", b"sealed") is False
    assert await requests.finish(second, "key", b"sealed") is True
    answered = await claim("four")
    assert (answered.is_ours, answered.made, answered.sealed_answer) == (False, "key", b"sealed")
    await shift(database, idempotency.c.created_at, 1001)
    assert (await claim("five")).is_ours is True


async def test_a_request_that_is_given_up(database: Database) -> None:
    """Released, it is as if it had never been; abandoned, the next may take over at once."""
    requests = IdempotentRequests(database)
    for give_up, cut_short in ((requests.release, None), (requests.abandon, "one")):
        claimed = await requests.claim("r", "f", "one", running_for=30, kept_for=1000)
        await give_up(claimed)
        again = await requests.claim("r", "f", "two", running_for=30, kept_for=1000)
        assert (again.is_ours, again.cut_short) == (True, cut_short)
        await requests.release(again)


async def test_twenty_claims_at_once_are_one(database: Database) -> None:
    """Whoever is first."""
    requests = IdempotentRequests(database)
    claims = await asyncio.gather(
        *(requests.claim("r", "f", f"o{number}", running_for=30, kept_for=1000) for number in range(20))
    )
    assert [claim.is_ours for claim in claims].count(True) == 1


async def test_a_rate_is_counted_exactly(database: Database) -> None:
    """Of forty at once thirty are allowed, and each name has its own."""
    rates = Rates(database)
    taken = await asyncio.gather(*(rates.take("creates", ALICE, limit=30, window=60_000) for _ in range(40)))
    assert [row.retry_after == 0 for row in taken].count(True) == 30
    assert (await rates.take("creates", BOB, limit=30, window=60_000)).remaining == 29
    assert (await rates.take("creates", BOB, limit=30, window=60_000, cost=0)).remaining == 29
    await rates.forget()
    assert (await rates.take("creates", ALICE, limit=30, window=60_000)).retry_after > 0


async def test_a_lock_is_held_by_one(database: Database) -> None:
    """Of two processes; who comes too late is told, and who dies with it loses it."""
    polls: list[float] = []

    async def sleep(seconds: float) -> None:
        polls.append(seconds)

    ids = iter("abcdefgh")
    one, other = (Locks(database, sleep, lambda: next(ids)) for _ in range(2))
    async with one.hold("keys"), other.hold("other keys"):
        with pytest.raises(ConflictError):
            async with other.hold("keys"):
                pytest.fail("two hold it")
    assert sum(polls) > 30
    async with other.hold("keys"):
        await shift(database, metadata.tables["lock"].c.expires_at, 31)
        async with one.hold("keys"):
            pass


async def test_revocations_come_due(database: Database) -> None:
    """Each is handed out when its time has come, and again after a while until it is done."""
    revocations = Revocations(database)
    planned = await revocations.plan("old", ALICE, "new", revoke_in=60)
    assert await revocations.of_user(ALICE) == [Revocation("old", ALICE, "new", planned.revoke_at)]
    assert await revocations.take_due() == []
    await shift(database, key_revocation.c.next_attempt_at, 61)
    assert await revocations.take_due() == [planned]
    assert await revocations.take_due() == []
    await shift(database, key_revocation.c.next_attempt_at, 6)
    assert await revocations.take_due() == [planned]
    await revocations.done("old")
    assert await revocations.of_user(ALICE) == []


async def test_reported_keys(database: Database) -> None:
    """Reported twice is reported."""
    reported = ReportedKeys(database)
    for _ in range(2):
        await reported.add("a")
    assert await reported.among(["a", "b"]) == {"a"}
    assert await reported.among([]) == set()
