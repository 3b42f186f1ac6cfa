"""A database of its own for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from state.database import Database
from tests.conftest import Clock
from tests.support.postgresql import empty_database


@pytest.fixture
async def database(tmp_path: Path, clock: Clock, *, is_postgresql: bool) -> AsyncIterator[Database]:
    """An empty database of its own."""
    if is_postgresql:
        async with empty_database() as url, aclosing(Database(url)) as database:
            yield database
    else:
        async with aclosing(Database(f"sqlite+aiosqlite:///{tmp_path}/state.sqlite3", clock)) as database:
            yield database


async def shift(database: Database, column: sa.Column[Any], seconds: float) -> None:
    """Lets so many seconds pass for what a column says, where the database has a clock of its own."""
    async with database.transaction() as connection:
        await connection.execute(sa.update(column.table).values({column: column - seconds}))
