"""Connections to PostgreSQL that are given up when nothing answers: the server, a proxy before it, or the network.

A server that stopped can be told from a slow one by time only, and each step has its own. All together, a caller whose
database hangs has an answer in about ten seconds.
"""

from __future__ import annotations

import asyncio
import select
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import psycopg
import sqlalchemy as sa
from psycopg import waiting
from psycopg.abc import PQGen
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

TRANSACTION_SECONDS = 8.0
"""For a transaction, with the wait for a connection."""
STATEMENT_SECONDS = 6.0
"""After which the server ends a statement, or the wait for a lock; and for a free connection."""
ANSWER_SECONDS = 7.0
"""For the server's answer to a statement: longer than it gives itself, so that it says what it waited for."""
CONNECT_SECONDS = 3
PING_SECONDS = 1.5
"""For the sign of life of a connection that was idle: shorter than a probe waits."""
_TRUSTED_SECONDS = 1.0
"""For which a connection needs no sign of life after its last use."""
CONNECTIONS = 20
_LIMITS = {
    "lock_timeout": STATEMENT_SECONDS,
    "statement_timeout": STATEMENT_SECONDS,
    # We have left, and the server does not know: it ends the transaction, and with it the locks.
    "idle_in_transaction_session_timeout": 10.0,
}
_MIGRATION_LOCK = 0x6C6C6F  # any number that all replicas agree on
_SOCKET = {
    # The kernel finds out that a peer is gone: 6 s after what it did not acknowledge, 19 s after it fell silent.
    "tcp_user_timeout": 6000,
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
}
RV = TypeVar("RV")


class Connection(psycopg.AsyncConnection[Any]):
    """A connection that is closed when nothing answers in time, or nobody waits for the answer any more.

    The driver's own waits for ever. When it is cancelled it asks the server to stop, for ten seconds if that does not
    answer: https://github.com/psycopg/psycopg/blob/3.3.9/psycopg/psycopg/connection_async.py#L531
    """

    is_patient = False
    idle_since = 0.0
    """When it was opened or used last, in seconds of the monotonic clock."""

    def may_be_dead(self) -> bool:
        """Whether it was idle for long, or the server has sent something, as it does when it closes a connection."""
        if self.closed or time.monotonic() - self.idle_since > _TRUSTED_SECONDS:
            return True
        poll = select.poll()
        poll.register(self.pgconn.socket, select.POLLIN)
        return bool(poll.poll(0))

    async def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:  # noqa: ASYNC109  # the driver's
        """The driver's way to wait for the server. Raises OperationalError."""
        # Nothing of ours runs outside of a transaction, but for the pool's ping.
        patience = PING_SECONDS if self.autocommit else ANSWER_SECONDS
        limit = timeout if self.is_patient else patience
        try:
            return await waiting.wait_async(gen, self.pgconn.socket, interval=interval, timeout=limit)
        except psycopg.errors._WaitTimeout as error:  # noqa: SLF001  # the driver has no public name for it
            self.pgconn.finish()
            raise psycopg.OperationalError(f"the server did not answer within {patience} s") from error
        except asyncio.CancelledError:
            self.pgconn.finish()
            raise


def engine(url: URL) -> AsyncEngine:
    """The engine for `url`, whose own `options` come last and win."""
    options = " ".join(f"-c {name}={seconds * 1000:.0f}" for name, seconds in _LIMITS.items())
    made = create_async_engine(
        url.difference_update_query(["options"]),
        pool_size=CONNECTIONS,
        # No overflow: its connections are closed after each use, and opening one takes longer than a change.
        max_overflow=0,
        # The connection that was used last has its statements prepared, and needs no sign of life.
        pool_use_lifo=True,
        pool_timeout=STATEMENT_SECONDS,
        hide_parameters=True,
        connect_args={
            "async_creator_fn": Connection.connect,
            "connect_timeout": CONNECT_SECONDS,
            "options": f"{options} {url.query.get('options', '')}",
            **_SOCKET,
        },
    )

    # The pool's own way asks the server before each transaction, which costs as much as two statements.
    @sa.event.listens_for(made.sync_engine, "connect")
    @sa.event.listens_for(made.sync_engine, "checkin")
    def _note_time(adapted: Any, _record: Any) -> None:
        if adapted is not None:  # else it was invalidated
            adapted.driver_connection.idle_since = time.monotonic()

    @sa.event.listens_for(made.sync_engine, "checkout")
    def _require_alive(adapted: Any, _record: Any, _proxy: Any) -> None:
        if adapted.driver_connection.may_be_dead():
            try:
                made.sync_engine.dialect.do_ping(adapted)
            except psycopg.Error as error:
                raise sa.exc.InvalidatePoolError from error

    return made


@asynccontextmanager
async def migration_lock(connection: AsyncConnection) -> AsyncIterator[None]:
    """While within, no other replica migrates, and nothing is given up: a migration takes the time that it takes."""
    driver = (await connection.get_raw_connection()).driver_connection
    assert isinstance(driver, Connection)
    driver.is_patient = True
    try:
        for name in _LIMITS:
            await connection.execute(sa.text(f"set local {name} = 0"))
        await connection.execute(sa.text(f"select pg_advisory_xact_lock({_MIGRATION_LOCK})"))
        yield
    finally:
        driver.is_patient = False
