"""The connection to SQLite: what may take long leaves the event loop free, and everything happens in order."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from state.database import Database
from state.tables import rate

Calls = list[tuple[str, str]]


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """A migrated one."""
    async with aclosing(Database(f"sqlite+aiosqlite:///{tmp_path}/state.sqlite3")) as database:
        await database.migrate()
        yield database


async def test_a_thread_does_what_may_wait(database: Database) -> None:
    """A change waits for the lock and for the disk, and what reads or deletes may visit many rows."""
    statements: Calls = []
    loop_thread = threading.get_ident()

    def note(statement: str) -> None:
        word, *_ = statement.split()
        statements.append((word, "loop" if threading.get_ident() == loop_thread else "thread"))

    async def change_and_read() -> None:
        async with database.transaction() as connection:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            await driver.set_trace_callback(note)
            await connection.execute(sa.text("update lease set fence = 7"))
            await connection.execute(sa.delete(rate))
        async with database.reading() as connection:
            await connection.execute(sa.text("select fence from lease"))

    await change_and_read()
    statements.clear()
    await change_and_read()
    assert statements == [
        ("BEGIN", "thread"),
        ("update", "loop"),
        ("DELETE", "thread"),
        ("COMMIT", "thread"),
        ("BEGIN", "loop"),
        ("select", "thread"),
        ("ROLLBACK", "loop"),
    ]


async def test_what_follows_a_cancelled_call_waits_for_it(database: Database) -> None:
    """The thread is still at it."""
    began, go_on, order = asyncio.Event(), threading.Event(), []
    loop = asyncio.get_running_loop()

    def take_long() -> int:
        loop.call_soon_threadsafe(began.set)
        go_on.wait(60)
        order.append("query")
        return 1

    async with database.reading() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        await driver.create_function("take_long", 0, take_long)
        query = asyncio.create_task(driver.execute("select take_long()"))
        await began.wait()
        query.cancel()
        with pytest.raises(asyncio.CancelledError):
            await query
        next_one = asyncio.create_task(driver.rollback())
        await asyncio.sleep(0)
        go_on.set()
        await next_one
        order.append("rollback")
    assert order == ["query", "rollback"]
