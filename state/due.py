"""The table `due`: what has to be done at a time. Why one queue: `docs/adr/0025-one-due-queue.md`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.due import Kind, NewTask, Task
from state.database import Database
from state.tables import due

_LEASE_SECONDS = 120.0
"""Longer than a task takes: it may wait for a lock, and it calls LiteLLM a few times."""
_FIRST_RETRY_SECONDS, _LAST_RETRY_SECONDS = 5.0, 300.0
_MOST_DOUBLINGS = 10
_columns = due.c


class DueQueue:
    """The tasks, one for each kind and subject. Methods with a `connection` run in the caller's transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # Built once: SQLAlchemy takes longer to build these than to execute them.
        due_at = database.now() + sa.bindparam("due_in", type_=sa.Float)
        insert = database.insert(due).values(due_at=due_at, next_attempt_at=due_at, attempts=0)
        replaced = {
            name: insert.excluded[name] for name in ("owner", "payload", "due_at", "next_attempt_at", "attempts")
        }
        keys = [_columns.kind, _columns.subject]
        self._schedule = insert.on_conflict_do_update(index_elements=keys, set_=replaced)
        self._schedule_and_return = self._schedule.returning(*_columns)

    async def schedule(
        self,
        connection: AsyncConnection,
        kind: Kind,
        subject: str,
        *,
        due_in: float,
        owner: str | None = None,
        payload: Mapping[str, Any] | None = None,
    ) -> Task:
        """Makes it due in `due_in` seconds, also if it was scheduled already."""
        row = {"kind": kind, "subject": subject, "owner": owner, "payload": payload, "due_in": due_in}
        return _task((await connection.execute(self._schedule_and_return, row)).one())

    async def schedule_all(self, connection: AsyncConnection, *tasks: NewTask) -> None:
        """Makes each due, like `schedule`, in one trip to the database."""
        await connection.execute(self._schedule, [asdict(task) for task in tasks])

    async def schedule_found(self, kind: Kind, found: sa.Select[str, str | None]) -> None:
        """Makes what the query finds (subjects and owners) due now, unless it is scheduled already."""
        rows = found.subquery()
        subject, owner = rows.c
        is_scheduled = sa.exists().where(_columns.kind == kind, _columns.subject == subject)
        new = sa.select(subject, owner).where(~is_scheduled)
        async with self._database.reading() as connection:
            if (await connection.execute(new.limit(1))).first() is None:
                return
        now = self._database.now()
        values = sa.select(sa.literal(kind), new.selected_columns[0], new.selected_columns[1], now, now, sa.literal(0))
        names = [_columns.kind, _columns.subject, _columns.owner, _columns.due_at, _columns.next_attempt_at]
        insert = self._database.insert(due).from_select([*names, _columns.attempts], values.where(~is_scheduled))
        async with self._database.transaction() as connection:
            await connection.execute(insert.on_conflict_do_nothing())

    async def of_owner(self, kind: Kind, owner: str) -> list[Task]:
        """All tasks of this kind that concern the user, due or not."""
        async with self._database.reading() as connection:
            rows = await connection.execute(sa.select(due).where(_columns.owner == owner, _columns.kind == kind))
            return [_task(row) for row in rows]

    async def of_subjects(self, kind: Kind, *subjects: str) -> list[Task]:
        """The tasks of this kind that have these subjects, due or not."""
        async with self._database.reading() as connection:
            found = sa.select(due).where(_columns.kind == kind, _columns.subject.in_(subjects))
            return [_task(row) for row in await connection.execute(found)]

    async def owners(self, kind: Kind) -> frozenset[str]:
        """The users whom the tasks of this kind concern."""
        async with self._database.reading() as connection:
            found = await connection.execute(sa.select(_columns.owner).distinct().where(_columns.kind == kind))
            return frozenset(found.scalars())

    async def claim(self, kind: Kind) -> Task | None:
        """One due task of this kind, for two minutes: meanwhile no replica gets it, and afterwards it is due again."""
        return next(iter(await self.claim_batch(kind, 1)), None)

    async def claim_batch(self, kind: Kind, size: int) -> list[Task]:
        """At most `size` due tasks of this kind, each for two minutes.

        Those that failed less often come first, so that a new one does not wait for those that fail again and again.
        """
        now = self._database.now()
        is_due = (_columns.kind == kind, _columns.next_attempt_at <= now)
        async with self._database.reading() as connection:
            if (await connection.execute(sa.select(_columns.subject).where(*is_due).limit(1))).first() is None:
                return []
        first = sa.select(_columns.subject).where(*is_due).order_by(_columns.attempts, _columns.next_attempt_at)
        claimed = {"attempts": _columns.attempts + 1, "next_attempt_at": now + _LEASE_SECONDS}
        async with self._database.transaction() as connection:
            subjects = (await connection.execute(first.limit(size).with_for_update(skip_locked=True))).scalars().all()
            update = self._update(kind, subjects).values(claimed).returning(*_columns)
            return [_task(row) for row in await connection.execute(update)] if subjects else []

    async def postpone(self, task: Task) -> None:
        """Makes a claimed task due again after a while that doubles with each attempt, up to five minutes."""
        doublings = min(task.attempts - 1, _MOST_DOUBLINGS)
        wait = min(_FIRST_RETRY_SECONDS * 2**doublings, _LAST_RETRY_SECONDS)
        # Not if it was claimed again or scheduled anew since.
        update = self._update(task.kind, [task.subject]).where(_columns.attempts == task.attempts)
        async with self._database.transaction() as connection:
            await connection.execute(update.values(next_attempt_at=self._database.now() + wait))

    async def remove(self, connection: AsyncConnection, kind: Kind, *subjects: str) -> None:
        """Removes the tasks: they are done, or need not be done any more."""
        await connection.execute(sa.delete(due).where(_columns.kind == kind, _columns.subject.in_(subjects)))

    async def drop(self, *tasks: Task) -> None:
        """Removes the tasks, all of one kind, in a transaction of its own."""
        async with self._database.transaction() as connection:
            await self.remove(connection, tasks[0].kind, *(task.subject for task in tasks))

    @staticmethod
    def _update(kind: Kind, subjects: Sequence[str]) -> sa.Update:
        return sa.update(due).where(_columns.kind == kind, _columns.subject.in_(subjects))


def _task(row: sa.Row[Any]) -> Task:
    return Task(Kind(row.kind), row.subject, row.owner, row.payload, row.due_at, row.attempts)
