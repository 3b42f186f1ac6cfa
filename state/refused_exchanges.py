"""The table `refused_exchange`: how often, in a minute, a verified token was refused a key, and why."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.due import Kind, Task
from state.database import Database
from state.due import DueQueue
from state.rates import RatePolicy, Rates
from state.tables import refused_exchange

_MINUTE = 60
_columns = refused_exchange.c


class RefusedExchanges:
    """The counts of the minute that runs. At its end they are due for the audit log."""

    def __init__(self, database: Database, due: DueQueue, rates: Rates) -> None:
        self._database = database
        self._due = due
        self._rates = rates

    async def count(self, source: str, reason: str, *, issuer: str, rate: RatePolicy) -> None:
        """Counts a refusal, unless the `issuer` is above its `rate`."""
        async with self._database.transaction() as connection:
            if (await self._rates.take(connection, rate, issuer)).retry_after:
                return
            number = sa.cast(self._database.now() / _MINUTE - 0.5, sa.BigInteger)
            minute = int((await connection.execute(sa.select(number))).scalar_one())
            insert = self._database.insert(refused_exchange).values(
                source=source, minute=minute, reason=reason, times=1
            )
            keys = [_columns.source, _columns.minute, _columns.reason]
            more = insert.on_conflict_do_update(index_elements=keys, set_={"times": _columns.times + 1})
            if (await connection.execute(more.returning(_columns.times))).scalar_one() == 1:
                subject = f"{source} {minute}"
                await self._due.schedule(connection, Kind.REFUSED_EXCHANGES, subject, due_in=_MINUTE)

    async def reasons(self, task: Task) -> dict[str, int]:
        """How often it was refused for which reason in the minute of a task, the most frequent first."""
        source, _, minute = task.subject.rpartition(" ")
        query = sa.select(_columns.reason, _columns.times).where(
            _columns.source == source, _columns.minute == int(minute)
        )
        async with self._database.reading() as connection:
            rows = await connection.execute(query.order_by(_columns.times.desc(), _columns.reason))
            return {row.reason: row.times for row in rows}

    async def remove(self, connection: AsyncConnection, task: Task) -> None:
        """Removes what is in the audit log, in the caller's transaction."""
        source, _, minute = task.subject.rpartition(" ")
        counted = (_columns.source == source, _columns.minute == int(minute))
        await connection.execute(sa.delete(refused_exchange).where(*counted))
        await self._due.remove(connection, task.kind, task.subject)
