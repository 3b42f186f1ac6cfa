"""Connections to PostgreSQL: which are tried before they are used."""

from __future__ import annotations

from contextlib import aclosing

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from state import postgresql
from state.database import Database, DatabaseUnavailableError
from tests.support.faults import Line
from tests.support.postgresql import empty_database

pytestmark = pytest.mark.postgresql


async def connection_of(database: Database) -> postgresql.Connection:
    """The one that the pool has, after a use."""
    async with database.transaction() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
    assert isinstance(driver, postgresql.Connection)
    return driver


async def test_a_connection_that_the_server_closed_is_replaced() -> None:
    """Also if it was used a moment ago: a restart of PostgreSQL between two changes is no error for a caller."""
    async with empty_database() as url, aclosing(Database(url)) as database:
        process = (await connection_of(database)).info.backend_pid
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as other:
            other.execute("select pg_terminate_backend(%s, 5000)", (process,))
        assert (await connection_of(database)).info.backend_pid != process


async def test_the_connection_that_was_used_last_is_used_next() -> None:
    """It has its statements prepared, and needs no sign of life."""
    async with empty_database() as url, aclosing(Database(url)) as database:
        async with database.transaction():
            await connection_of(database)
        last = await connection_of(database)
        assert [await connection_of(database) for _ in range(3)] == [last] * 3


@pytest.mark.parametrize(
    ("idle_seconds", "told"),
    [(0.0, "the server did not answer within 0.5 s"), (1.1, "connection timeout expired")],
    ids=["used a moment ago", "idle"],
)
async def test_a_connection_that_was_idle_is_tried_first(
    monkeypatch: pytest.MonkeyPatch, idle_seconds: float, told: str
) -> None:
    """What lies between may have dropped it: that takes a moment to find, and then another one is opened."""
    for name, seconds in {"PING_SECONDS": 0.1, "ANSWER_SECONDS": 0.5, "CONNECT_SECONDS": 2}.items():
        monkeypatch.setattr(postgresql, name, seconds)
    async with empty_database() as url:
        server = make_url(url)
        line = Line(server.host or "", server.port or 5432)
        await line.mend()
        through = server.set(host="127.0.0.1", port=line.local_port).render_as_string(hide_password=False)
        async with aclosing(Database(through)) as database:
            (await connection_of(database)).idle_since -= idle_seconds
            line.stall()
            with pytest.raises(DatabaseUnavailableError) as raised:
                async with database.transaction() as connection:
                    await connection.execute(sa.select(sa.literal(1)))
        line.cut()
    assert told in str(raised.value.__cause__)
