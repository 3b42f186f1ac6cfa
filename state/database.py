"""The database: SQLite in one file, or PostgreSQL when several replicas run. It migrates itself."""

from __future__ import annotations

import asyncio
import math
import os
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import UpstreamUnavailableError
from settings.secrets import without_password
from state import sqlite_file
from state.outage import is_outage

REVISION = "0010"
"""The newest migration."""
_PAUSE_SECONDS = 0.02
"""Between two looks at what is in use."""
_CLOSING_SECONDS = 2.0
"""For what was cancelled and gives its connection back. If the end of the event loop interrupts that, aiosqlite 0.22
waits for ever."""


class DatabaseUnavailableError(UpstreamUnavailableError):
    """The database cannot be reached or used. `where` is its URL without the password, for an operator."""

    def __init__(self, where: str) -> None:
        super().__init__("This service's database is unavailable")
        self.where = where


class NewerSchemaError(Exception):
    """A newer version of this service has migrated the database."""

    def __init__(self, revision: str) -> None:
        super().__init__(f"a newer version has migrated it to {revision}, and this one knows {REVISION}")


@dataclass(frozen=True, slots=True)
class DatabaseState:
    """What was found of a database. `where` is its URL without the password, `revision` None before the first start.

    `free_bytes` is infinite if it cannot be seen from here.
    """

    where: str
    revision: str | None
    newest: str
    may_create: bool
    free_bytes: float


class Database:
    """One database. `wall_clock` tells the time for SQLite: seconds since the epoch."""

    def __init__(self, url: str, wall_clock: Callable[[], float] = time.time) -> None:
        parsed = make_url(url)
        self._is_postgresql = parsed.get_backend_name() == "postgresql"
        # Each of SQLite's waits has an end of its own, and what its thread does cannot be given up.
        self._seconds: float | None = None
        self._migration_lock: Callable[[AsyncConnection], AbstractAsyncContextManager[None]] = _no_lock
        if self._is_postgresql:
            from state import postgresql  # noqa: PLC0415  # its driver takes memory that SQLite does not need

            self._seconds, self._migration_lock = postgresql.TRANSACTION_SECONDS, postgresql.migration_lock
        self._engine = postgresql.engine(parsed) if self._is_postgresql else sqlite_file.engine(parsed)
        self._wall_clock = wall_clock
        self._migrating = asyncio.Lock()
        self._migrated = False
        # SQLite's writers poll for the file's lock, in no order: within this process they queue instead.
        self._writers = None if self._is_postgresql else asyncio.Lock()

    @property
    def connections_in_use(self) -> int:
        """The number of connections of the pool in use."""
        pool = self._engine.pool
        return pool.checkedout() if isinstance(pool, sa.QueuePool) else 0

    async def aclose(self) -> None:
        """Closes every connection, once nobody uses one: for that it waits two seconds at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSING_SECONDS):
                while self.connections_in_use:  # noqa: ASYNC110  # the pool has no event for it
                    await asyncio.sleep(_PAUSE_SECONDS)
        await self._engine.dispose()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that commits at the end. Migrates first.

        Raises DatabaseUnavailableError, also if PostgreSQL does not answer in time; whether it committed is unknown
        then. An error that is no outage is a fault of ours, and raised as it is.
        """
        await self.migrate()
        with self._outages():
            async with asyncio.timeout(self._seconds), self._turn_to_write(), self._engine.begin() as connection:
                yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A read-only transaction, which never waits for a writer. Raises as `transaction` does."""
        await self.migrate()
        with self._outages():
            async with asyncio.timeout(self._seconds), self._engine.connect() as connection:
                yield await connection.execution_options(read_only=True)

    def now(self) -> sa.ColumnElement[float]:
        """The time of execution as an SQL expression: PostgreSQL's own, so that replicas agree, or this machine's."""
        if self._is_postgresql:
            return sa.cast(sa.extract("epoch", sa.func.statement_timestamp()), sa.Float)
        return sa.bindparam(None, callable_=self._wall_clock, type_=sa.Float, unique=True)

    def most_have(self, condition: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
        """`condition`, by which SQLite chooses no index then: it has no statistics that would tell it the same."""
        # The chance must be a literal: https://www.sqlite.org/lang_corefunc.html#likelihood
        return condition if self._is_postgresql else sa.func.likelihood(condition, sa.literal_column("0.99"))

    def insert(self, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
        """An INSERT statement that supports ON CONFLICT."""
        return postgresql.insert(table) if self._is_postgresql else sqlite.insert(table)

    async def insert_new(self, connection: AsyncConnection, table: sa.Table, row: Mapping[str, Any]) -> bool:
        """Inserts `row` unless a row with its primary key exists. Returns whether it inserted."""
        statement = self.insert(table).values(row).on_conflict_do_nothing().returning(sa.literal(1))
        return (await connection.execute(statement)).first() is not None

    async def migrate(self) -> None:
        """Brings the schema up to date, once per process. Replicas that start together wait for each other.

        Raises DatabaseUnavailableError, whatever is wrong: an operator has to look at it.
        """
        if self._migrated:
            return
        async with self._migrating:
            if not self._migrated:
                with self._unusable():
                    await self._migrate()
                self._migrated = True

    async def is_ready(self) -> bool:
        """Whether the database answers."""
        try:
            async with self.reading() as connection:
                await connection.execute(sa.select(sa.literal(1)))
        except (DatabaseUnavailableError, sa.exc.DBAPIError):
            return False
        return True

    async def inspect(self) -> DatabaseState:
        """Its state, without migrating or creating it. Raises DatabaseUnavailableError."""
        with self._unusable():
            if not self._is_postgresql:
                return await asyncio.to_thread(_inspect_file, self._engine.url.database or "")
            async with self._engine.connect() as connection:
                right = sa.text("select has_schema_privilege(current_user, current_schema(), 'create')")
                may_create = (await connection.execute(right)).scalar_one()
                revision = await connection.run_sync(_revision)
        where = without_password(self._engine.url)
        return DatabaseState(where, revision, REVISION, bool(may_create), math.inf)

    @asynccontextmanager
    async def _turn_to_write(self) -> AsyncIterator[None]:
        if self._writers is None:
            yield
            return
        async with asyncio.timeout(sqlite_file.WAIT_SECONDS):
            await self._writers.acquire()
        try:
            yield
        finally:
            self._writers.release()

    @contextmanager
    def _outages(self) -> Iterator[None]:
        try:
            yield
        except (sa.exc.DBAPIError, sa.exc.TimeoutError, sqlite3.Error, OSError) as error:
            if is_outage(error):
                raise self._unavailable() from error
            raise

    @contextmanager
    def _unusable(self) -> Iterator[None]:
        try:
            yield
        except (sa.exc.DBAPIError, sa.exc.TimeoutError, sqlite3.Error, OSError, NewerSchemaError) as error:
            raise self._unavailable() from error

    def _unavailable(self) -> DatabaseUnavailableError:
        return DatabaseUnavailableError(without_password(self._engine.url))

    async def _migrate(self) -> None:
        if not self._is_postgresql:
            # aiosqlite leaks a thread if it cannot open the file.
            await asyncio.to_thread(sqlite_file.create, self._engine.url.database or "")
        async with self._engine.connect() as connection:
            await connection.execution_options(read_only=True)
            if await _is_migrated(connection):
                return
        async with self._engine.begin() as connection, self._migration_lock(connection):
            if not await _is_migrated(connection):
                from state.migrate import upgrade  # noqa: PLC0415  # see there

                await connection.run_sync(upgrade)


async def _is_migrated(connection: AsyncConnection) -> bool:
    """Raises NewerSchemaError."""
    revision = await connection.run_sync(_revision)
    if revision is not None and revision > REVISION:
        raise NewerSchemaError(revision)
    return revision == REVISION


def _no_lock(_: AsyncConnection) -> AbstractAsyncContextManager[None]:
    """What writes to SQLite is alone."""
    return nullcontext()


def _inspect_file(path: str) -> DatabaseState:
    """Raises OSError or sqlite3.Error."""
    file, revision = Path(path), None
    folder = file.parent if file.parent.exists() else file.parent.parent
    if file.exists():
        engine = sa.create_engine(f"sqlite:///file:{file}?mode=ro&uri=true")
        try:
            with engine.connect() as connection:
                revision = _revision(connection)
        finally:
            engine.dispose()
    may_create = os.access(file if file.exists() else folder, os.W_OK)
    return DatabaseState(path, revision, REVISION, may_create, shutil.disk_usage(folder).free)


def _revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(sa.text("select version_num from alembic_version")).scalar_one_or_none()
    return revision
