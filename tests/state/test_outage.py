"""Which errors of a database are an outage, a 503, and which are a fault of ours, a 500."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import errors
from sqlalchemy.ext.asyncio import AsyncConnection

from state.database import Database, DatabaseUnavailableError
from state.outage import is_outage
from state.tables import cleanup_run, reported_key
from tests.conftest import ALICE, MakeService, keys_path

OUTAGES = {
    "the connection was lost": psycopg.OperationalError("the connection is closed"),
    "nothing listens": psycopg.OperationalError("connection refused"),
    "the driver gave it up": psycopg.InterfaceError("lost"),
    "a pool that was exhausted": sa.exc.TimeoutError(),
    "a deadline": TimeoutError(),
    "a network": ConnectionResetError(),
    "a server that shuts down": errors.AdminShutdown(),
    "a server that crashed": errors.CrashShutdown(),
    "a server that starts": errors.CannotConnectNow(),
    "a failover: the old one": errors.ReadOnlySqlTransaction(),
    "a statement that took too long": errors.QueryCanceled(),
    "a lock that took too long": errors.LockNotAvailable(),
    "we took too long": errors.IdleInTransactionSessionTimeout(),
    "two that wait for each other": errors.DeadlockDetected(),
    "two that cannot both commit": errors.SerializationFailure(),
    "a full disk": errors.DiskFull(),
    "too many connections": errors.TooManyConnections(),
    "a broken disk": errors.IoError(),
    "an interrupted connection": errors.ConnectionFailure(),
}
OURS = {
    "a row that exists": errors.UniqueViolation(),
    "a column that must be set": errors.NotNullViolation(),
    "a text with a NUL": psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes"),
    "a number that is too large": errors.NumericValueOutOfRange(),
    "a table that does not exist": errors.UndefinedTable(),
    "a statement that is none": errors.SyntaxError(),
    "a right that is missing": errors.InsufficientPrivilege(),
    "the trigger of the audit log": errors.RaiseException(),
    "a transaction that failed before": errors.InFailedSqlTransaction(),
    "a statement that is too large": errors.StatementTooComplex(),
    "a damaged index": errors.IndexCorrupted(),
    "a value that has no form": psycopg.ProgrammingError("cannot adapt type"),
    "anything else": ZeroDivisionError(),
}


def wrapped(error: BaseException) -> Exception:
    """As SQLAlchemy raises it."""
    kind = psycopg.Error if isinstance(error, psycopg.Error) else sqlite3.Error
    if not isinstance(error, kind):
        assert isinstance(error, Exception)
        return error
    raised = sa.exc.DBAPIError.instance("select", {}, error, kind)
    assert isinstance(raised, sa.exc.DBAPIError)
    return raised


@pytest.mark.parametrize("error", OUTAGES.values(), ids=OUTAGES)
def test_outages(error: Exception) -> None:
    """By the server's code where there is one, and otherwise because there was nobody to send one."""
    assert is_outage(wrapped(error)) is True


@pytest.mark.parametrize("error", OURS.values(), ids=OURS)
def test_faults_of_ours(error: Exception) -> None:
    """The same request again would fail again."""
    assert is_outage(wrapped(error)) is False


SQLITE = {
    "a lock": (sqlite3.SQLITE_BUSY, True),
    "a snapshot that is too old": (sqlite3.SQLITE_BUSY_SNAPSHOT, True),
    "a table's lock": (sqlite3.SQLITE_LOCKED, True),
    "a read-only file": (sqlite3.SQLITE_READONLY, True),
    "a broken disk": (sqlite3.SQLITE_IOERR, True),
    "a disk that fails to write": (sqlite3.SQLITE_IOERR_WRITE, True),
    "a full disk": (sqlite3.SQLITE_FULL, True),
    "a file that cannot be opened": (sqlite3.SQLITE_CANTOPEN, True),
    "no such table": (sqlite3.SQLITE_ERROR, False),
    "a malformed file": (sqlite3.SQLITE_CORRUPT, False),
    "not a database": (sqlite3.SQLITE_NOTADB, False),
    "a row that exists": (sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, False),
    "the trigger of the audit log": (sqlite3.SQLITE_CONSTRAINT_TRIGGER, False),
    "a wrong type": (sqlite3.SQLITE_MISMATCH, False),
}


@pytest.mark.parametrize(("code", "expected"), SQLITE.values(), ids=SQLITE)
@pytest.mark.parametrize("form", [wrapped, lambda error: error], ids=["wrapped", "bare"])
def test_sqlite(code: int, expected: bool, form: Callable[[Exception], Exception]) -> None:
    """By its code, since a missing table and a lock are the same class."""
    error = sqlite3.OperationalError("…")
    error.sqlite_errorcode = code
    assert is_outage(form(error)) is expected


async def twice(connection: AsyncConnection) -> None:
    for _ in range(2):
        await connection.execute(sa.insert(reported_key).values(key_id="a", at=0.0))


async def incomplete(connection: AsyncConnection) -> None:
    await connection.execute(sa.insert(reported_key).values(key_id="a"))


async def mistyped(connection: AsyncConnection) -> None:
    await connection.execute(sa.text("selec"))


async def elsewhere(connection: AsyncConnection) -> None:
    await connection.execute(sa.text("select * from nowhere"))


async def too_large(connection: AsyncConnection) -> None:
    await connection.execute(sa.insert(cleanup_run).values(trigger="a", owner="b", started_at=0, outcome="c", id=2**70))


@pytest.mark.parametrize("mistake", [twice, incomplete, mistyped, elsewhere, too_large])
async def test_a_mistake_is_not_an_outage(
    database: Database, mistake: Callable[[AsyncConnection], Awaitable[None]]
) -> None:
    """It is raised as it is, and the database is used as before."""
    with pytest.raises(Exception) as raised:  # noqa: PT011  # what is raised is the driver's
        async with database.transaction() as connection:
            await mistake(connection)
    assert not isinstance(raised.value, DatabaseUnavailableError)
    assert await database.is_ready()


async def test_a_fault_of_ours_is_a_500(make_service: MakeService, tmp_path: Path, log: io.StringIO) -> None:
    """Its traceback is logged, without the values of the statement; the caller is not told to retry."""
    alice = make_service().signed_in(ALICE)
    await alice.get(keys_path(ALICE))
    with closing(sqlite3.connect(tmp_path / "state.sqlite3")) as other:
        other.execute("ALTER TABLE change RENAME COLUMN requested TO moved")
    answer = await alice.post(keys_path(ALICE), json={"alias": "the-alias"})
    assert (answer.status_code, "retry-after" in answer.headers) == (500, False)
    assert "no column named requested" in log.getvalue()
    assert "the-alias" not in log.getvalue()


async def test_an_unusable_schema_stops_the_start(tmp_path: Path) -> None:
    """Whatever is wrong when it migrates, an operator reads one sentence."""
    (tmp_path / "state.sqlite3").write_bytes(b"this is no database " * 100)
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/state.sqlite3")
    with pytest.raises(DatabaseUnavailableError):
        await database.migrate()
    await database.aclose()
