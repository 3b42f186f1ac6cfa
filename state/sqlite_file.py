"""SQLite in one file: its engine, and who may read it."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import BuiltinMethodType
from typing import Any

import aiosqlite
import sqlalchemy as sa
import structlog
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

log = structlog.get_logger(__name__)

WAIT_SECONDS = 10.0
"""For the turn to write, and for the lock of the file. A caller who waits longer gets a 503."""
_PAUSE_SECONDS = 0.02
"""Between two attempts to change the mode of a new file, which run in a thread, so that nobody else waits."""
_BEGIN_READING = "BEGIN"  # takes no lock: the first query does
_ROWS_AT_ONCE = 64  # the driver's own


class Connection(aiosqlite.Connection):
    """A connection whose thread does what may wait: for another process, for the disk, for many rows.

    The driver's own leaves all to the thread. The way there and back takes several times as long as a statement about
    one row, and with its cursor and its rows a statement takes it four times.
    """

    may_write = False
    """Whether its transactions have the lock of the file from their beginning. Their statements are about few rows."""
    _is_behind = False
    """Whether the caller of what the thread is doing was cancelled: what follows waits for it."""

    async def _execute(self, fn: BuiltinMethodType, *args: Any, **kwargs: Any) -> Any:
        """The driver's way to call a method of sqlite3's connection or cursor. Raises sqlite3.Error, ValueError."""
        if not self._is_behind and self._is_quick(fn, *args[:1]):
            return fn(*args, **kwargs)
        try:
            result = await super()._execute(fn, *args, **kwargs)  # type: ignore[no-untyped-call]  # the driver has no types here
        except asyncio.CancelledError:
            self._is_behind = True
            raise
        self._is_behind = False
        return result

    def _is_quick(self, fn: BuiltinMethodType, sql: str = "") -> bool:
        if not isinstance(fn.__self__, sqlite3.Cursor):
            return fn.__name__ in ("cursor", "rollback")
        if fn.__name__ == "close" or sql == _BEGIN_READING:
            return True
        may_be_many_rows = fn.__name__ == "executemany" or sql.startswith("DELETE")
        return self.may_write and self._conn.in_transaction and not may_be_many_rows


def engine(url: URL) -> AsyncEngine:
    """The engine for `url`."""
    made = create_async_engine(
        url,
        connect_args={"async_creator_fn": _connect, "timeout": WAIT_SECONDS},
        pool_timeout=WAIT_SECONDS,
        hide_parameters=True,
    )

    @sa.event.listens_for(made.sync_engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        # The driver would begin a transaction only at the first write, and two of them could then block each other:
        # https://docs.sqlalchemy.org/en/20/dialects/sqlite.html#pysqlite-serializable
        connection.isolation_level = None
        # NORMAL may lose the last commits in a power failure, and with them an intent that LiteLLM acted on:
        # https://www.sqlite.org/pragma.html#pragma_synchronous
        connection.execute("PRAGMA synchronous=FULL").close()

    @sa.event.listens_for(made.sync_engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        may_write = not connection.get_execution_options().get("read_only", False)
        driver = connection.connection.driver_connection
        assert isinstance(driver, Connection)
        driver.may_write = may_write
        cursor = connection.connection.cursor()
        cursor.execute("BEGIN IMMEDIATE" if may_write else _BEGIN_READING)
        cursor.close()

    return made


def _connect(path: str, **options: Any) -> Connection:
    made = Connection(partial(sqlite3.connect, path, **options), _ROWS_AT_ONCE)
    made._thread.daemon = True  # noqa: SLF001  # as SQLAlchemy does: the end of the process does not wait for it
    return made


def create(path: str) -> None:
    """Creates the file for its owner only, and its folder if necessary. Raises OSError or sqlite3.Error."""
    Path(path).parent.mkdir(mode=0o700, exist_ok=True)
    # Never opened again here: closing it would take the locks of other connections of this process away
    # (https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_).
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    # An earlier one may be open to others, by its creator's umask or a copy. SQLite gives new companions its mode.
    for name in (path, f"{path}-wal", f"{path}-shm", f"{path}-journal"):
        with suppress(FileNotFoundError):
            _close_to_others(Path(name))
    _log_ahead(path)


def _log_ahead(path: str) -> None:
    """Has readers not wait for a writer; the file remembers it. Raises sqlite3.Error."""
    connection = sqlite3.connect(path)
    end = time.monotonic() + WAIT_SECONDS
    try:
        while True:
            try:
                connection.execute("PRAGMA journal_mode=WAL").close()
                break
            except sqlite3.OperationalError:
                # Of two that change it at the same moment SQLite refuses one at once, whatever its timeout.
                if time.monotonic() > end:
                    raise
                time.sleep(_PAUSE_SECONDS)
    finally:
        connection.close()


def _close_to_others(file: Path) -> None:
    """Raises FileNotFoundError."""
    if file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        try:
            file.chmod(stat.S_IRUSR | stat.S_IWUSR)
        except PermissionError:
            log.warning("others may use this file, and only its owner can change that", file=str(file))
