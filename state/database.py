"""A database that brings itself up to date: SQLite in one file, or PostgreSQL when several replicas run."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from domain.errors import UpstreamUnavailableError

_MIGRATIONS = Path(__file__).parent / "migrations"
_MIGRATION_LOCK = 0x6C6C6F  # any number that our replicas agree on


class DatabaseUnavailableError(UpstreamUnavailableError):
    """The database cannot be reached or used. `where` names it without its password, for an operator."""

    def __init__(self, where: str) -> None:
        super().__init__("The database of this service cannot be used")
        self.where = where


class Database:
    """One database. `wall_clock` tells the time where the database has no clock of its own."""

    def __init__(self, url: str, wall_clock: Callable[[], float] = time.time) -> None:
        self._engine = _engine(url)
        self._wall_clock = wall_clock
        self._migrating = asyncio.Lock()
        self._migrated = False
        self._current: ContextVar[AsyncConnection | None] = ContextVar("transaction", default=None)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._engine.dispose()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that commits at the end, on a schema that is up to date. Raises DatabaseUnavailableError.

        Within another one of the same task it is part of that: all of it is written, or nothing.
        """
        if (current := self._current.get()) is not None:
            yield current
            return
        await self.migrate()
        with self._explained():
            async with self._engine.begin() as connection:
                token = self._current.set(connection)
                try:
                    yield connection
                finally:
                    self._current.reset(token)

    async def insert_new(self, connection: AsyncConnection, table: sa.Table, row: Mapping[str, Any]) -> bool:
        """Insert `row` unless one with its primary key is there; whether it was inserted."""
        insert = postgresql.insert if self._engine.dialect.name == "postgresql" else sqlite.insert
        statement = insert(table).values(row).on_conflict_do_nothing().returning(sa.literal(1))
        return (await connection.execute(statement)).first() is not None

    async def now(self, connection: AsyncConnection) -> float:
        """The time that all replicas agree on: PostgreSQL's, or this machine's for a file on it."""
        if self._engine.dialect.name != "postgresql":
            return self._wall_clock()
        return float((await connection.execute(sa.text("select extract(epoch from clock_timestamp())"))).scalar_one())

    async def migrate(self) -> None:
        """Bring the schema up to date, once; replicas that start together wait for each other.

        Raises DatabaseUnavailableError.
        """
        async with self._migrating:
            if not self._migrated:
                with self._explained():
                    await self._migrate()
                self._migrated = True

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sa.exc.DBAPIError, sqlite3.Error) as error:
            raise DatabaseUnavailableError(self._engine.url.render_as_string(hide_password=True)) from error

    async def _migrate(self) -> None:
        if self._engine.dialect.name == "sqlite":
            # aiosqlite leaves a thread behind where it cannot open a file, which complains once its loop is closed.
            await asyncio.to_thread(_open_once, self._engine.url.database or "")
        async with self._engine.begin() as connection:
            if self._engine.dialect.name == "postgresql":
                await connection.execute(sa.text(f"select pg_advisory_xact_lock({_MIGRATION_LOCK})"))
            await connection.run_sync(_upgrade)


def _engine(url: str) -> AsyncEngine:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_async_engine(parsed, pool_pre_ping=True)
    engine = create_async_engine(parsed, connect_args={"timeout": 30})

    # The driver would begin a transaction at the first write only, and two of them could then wait for each other:
    # https://docs.sqlalchemy.org/en/20/dialects/sqlite.html#pysqlite-serializable
    @sa.event.listens_for(engine.sync_engine, "connect")
    def _leave_transactions_to_us(connection: Any, _record: Any) -> None:
        connection.isolation_level = None

    @sa.event.listens_for(engine.sync_engine, "begin")
    def _begin_with_the_lock(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _open_once(path: str) -> None:
    sqlite3.connect(path).close()


def _upgrade(connection: sa.Connection) -> None:
    # Its own lines say nothing that an operator could use at every start.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(_MIGRATIONS))
    command.upgrade(config, "head")
