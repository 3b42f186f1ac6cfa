"""The due queue behaves alike on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections import Counter

import sqlalchemy as sa

from domain.due import Kind, Task
from state.database import Database
from state.due import DueQueue
from state.tables import due
from tests.conftest import ALICE, BOB, Clock
from tests.state.conftest import shift


async def scheduled(database: Database, *subjects: str, kind: Kind = Kind.REVOCATION, due_in: float = 0) -> None:
    async with database.transaction() as connection:
        for subject in subjects:
            await DueQueue(database).schedule(connection, kind, subject, owner=ALICE, due_in=due_in)


async def claimed(database: Database, kind: Kind = Kind.REVOCATION) -> list[Task]:
    """All that is due now, as one replica takes it."""
    tasks = []
    while (task := await DueQueue(database).claim(kind)) is not None:
        tasks.append(task)
    return tasks


async def test_replicas_never_take_up_the_same_task(database: Database) -> None:
    """Ten that look at once share a hundred tasks among them."""
    await scheduled(database, *(f"{number}" for number in range(100)))
    shares = await asyncio.gather(*(claimed(database) for _ in range(10)))
    assert Counter(task.subject for share in shares for task in share) == {f"{number}": 1 for number in range(100)}


async def test_a_task_whose_process_died_is_due_again(database: Database) -> None:
    """After two minutes: no handler takes as long."""
    await scheduled(database, "a")
    assert [task.attempts for task in await claimed(database)] == [1]
    await shift(database, due.c.next_attempt_at, 118)
    assert await claimed(database) == []
    await shift(database, due.c.next_attempt_at, 3)
    assert [task.attempts for task in await claimed(database)] == [2]


async def test_what_fails_waits_longer_each_time(database: Database) -> None:
    """5 seconds, then twice as long, up to five minutes; it is never given up."""
    queue = DueQueue(database)
    await scheduled(database, "a")
    for wait in (5, 10, 20, 40, 80, 160, 300, 300, 300, 300, 300, 300, 300):
        (task,) = await claimed(database)
        await queue.postpone(task)
        await shift(database, due.c.next_attempt_at, wait - 2)
        assert await claimed(database) == []
        await shift(database, due.c.next_attempt_at, 3)


async def test_a_late_failure_does_not_move_what_another_has_taken_up(database: Database) -> None:
    """The claim of a process that was too slow means nothing any more."""
    queue = DueQueue(database)
    await scheduled(database, "a")
    (slow,) = await claimed(database)
    await shift(database, due.c.next_attempt_at, 121)
    (_,) = await claimed(database)
    await queue.postpone(slow)
    await shift(database, due.c.next_attempt_at, 30)
    assert await claimed(database) == []


async def test_new_tasks_do_not_wait_for_those_that_fail(database: Database) -> None:
    """One that was never tried comes first, though others have been due for longer."""
    queue = DueQueue(database)
    await scheduled(database, "failing")
    (failing,) = await claimed(database)
    await queue.postpone(failing)
    await scheduled(database, "new", due_in=100)
    await shift(database, due.c.next_attempt_at, 101)
    assert [task.subject for task in await claimed(database)] == ["new", "failing"]


async def test_kinds_are_apart(database: Database) -> None:
    """The same subject may be due for two reasons, and each is taken up and removed alone."""
    await scheduled(database, "a")
    await scheduled(database, "a", kind=Kind.MARK_REVIEW)
    assert [task.kind for task in await claimed(database)] == [Kind.REVOCATION]
    async with database.transaction() as connection:
        await DueQueue(database).remove(connection, Kind.REVOCATION, "a")
    assert [task.kind for task in await claimed(database, Kind.MARK_REVIEW)] == [Kind.MARK_REVIEW]
    assert await DueQueue(database).of_owner(Kind.REVOCATION, ALICE) == []
    assert await DueQueue(database).of_owner(Kind.MARK_REVIEW, BOB) == []


async def test_what_is_scheduled_anew_is_due_then(database: Database) -> None:
    """Once, at the later time, with no attempt counted."""
    await scheduled(database, "a")
    await claimed(database)
    await scheduled(database, "a", due_in=1000)
    (task,) = await DueQueue(database).of_owner(Kind.REVOCATION, ALICE)
    assert task.attempts == 0
    await shift(database, due.c.next_attempt_at, 998)
    assert await claimed(database) == []


async def test_what_a_query_finds_is_scheduled_once(database: Database, clock: Clock) -> None:
    """What is known already keeps its attempts; two replicas that look at once add nothing twice."""
    queue = DueQueue(database)
    found = sa.union_all(*(sa.select(sa.literal(name), sa.literal(ALICE)) for name in ("a", "b"))).subquery()
    query = sa.select(*found.c)
    await asyncio.gather(*(queue.schedule_found(Kind.RECONCILIATION, query) for _ in range(5)))
    assert [task.subject for task in await claimed(database, Kind.RECONCILIATION)] == ["a", "b"]
    await queue.schedule_found(Kind.RECONCILIATION, query)
    assert [task.attempts for task in await queue.of_owner(Kind.RECONCILIATION, ALICE)] == [1, 1]
