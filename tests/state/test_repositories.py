"""The repositories behave alike on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from domain.actions import Action, AuditFilters, Ending, Intent, Outcome
from domain.due import Kind
from domain.keys import Revocation
from domain.rates import RateLimit
from state.changes import LEASE_SECONDS, ChangeTable, Found, Opening
from state.database import Database
from state.deletions import Deletions
from state.due import DueQueue
from state.events import Events
from state.kept_answers import IdempotentRequest, KeptAnswer, KeptAnswers
from state.lease import HeldLease, Lease, LeaseLostError
from state.rates import RatePolicy, Rates
from state.revocations import ReportedKeys, Revocations, revocation_of
from state.root import Root
from state.short_keys import ShortKey, ShortKeys
from state.tables import change, cleanup_deletion, due, kept_answer, metadata, rate
from tests.conftest import ALICE, BOB, Clock
from tests.state.conftest import shift

INTENT = Intent("operation-1", ALICE, Action.KEY_CREATE, ALICE, lock=ALICE, requested={"alias": "a"})
REQUEST = IdempotentRequest("request", "fingerprint")
DONE = Ending(Outcome.DONE, key_id="ab" * 32, before={"alias": None}, after={"alias": "a"})
KEPT = KeptAnswer("fingerprint", "key", b"sealed")
Claim = tuple[str | None, IdempotentRequest | None]
"""The lock and the request of a change."""
CREATES = RatePolicy("creates", limit=30, window=60_000)


@pytest.fixture
def changes(database: Database) -> ChangeTable:
    """The table of changes."""
    return ChangeTable(database, KeptAnswers(database), Rates(database))


async def begun(
    database: Database, changes: ChangeTable, operation: str, request: IdempotentRequest | None = None, **other: Any
) -> int | None:
    async with database.transaction() as connection:
        return await changes.insert_running(connection, replace(INTENT, operation=operation, **other), request)


async def ended(database: Database, changes: ChangeTable, change_id: int, holder: str, ending: Ending = DONE) -> bool:
    async with database.transaction() as connection:
        return await changes.end(connection, change_id, holder, ending)


async def test_the_tables_are_those_of_the_migrations(database: Database) -> None:
    """Neither defines a column that the other does not."""
    async with database.transaction() as connection:
        found = await connection.run_sync(
            lambda sync: {
                name: {column["name"] for column in sa.inspect(sync).get_columns(name)}
                for name in sa.inspect(sync).get_table_names()
            }
        )
    found.pop("alembic_version")
    assert found == {name: {column.name for column in table.columns} for name, table in metadata.tables.items()}


async def test_replicas_that_start_together_have_one_root(database: Database) -> None:
    """On an empty database too, and it is random."""
    url = database._engine.url.render_as_string(hide_password=False)
    replicas = [database, *(Database(url) for _ in range(3))]
    roots = await asyncio.gather(*(Root(replica).secret() for replica in replicas))
    for replica in replicas[1:]:
        await replica.aclose()
    assert len(set(roots)) == 1
    assert len(set(roots[0])) > 16


async def test_a_change_becomes_an_event(database: Database, changes: ChangeTable) -> None:
    """A change ends once; the newest events come first; filters narrow them down."""
    first = await begun(database, changes, "one")
    second = await begun(database, changes, "two", actor=BOB, action=Action.USER_UPDATE, lock=None)
    assert first is not None
    assert second is not None
    assert await ended(database, changes, first, "one") is True
    assert await ended(database, changes, first, "one", Ending(Outcome.FAILED)) is False
    log = Events(database)
    events = await log.page(AuditFilters(), 10)
    assert [event.id for event in events] == [second, first]
    done = events[1]
    assert (done.actor, done.target, done.requested, done.outcome) == (ALICE, ALICE, {"alias": "a"}, Outcome.DONE)
    assert (done.key_id, done.before, done.after) == ("ab" * 32, {"alias": None}, {"alias": "a"})
    assert (events[0].outcome, events[0].after) == (None, None)
    for filters in (
        AuditFilters(actor=ALICE),
        AuditFilters(action="key.create"),
        AuditFilters(before=(events[0].started_at, second)),
        AuditFilters(until=events[0].started_at),
    ):
        assert {event.id for event in await log.page(filters, 10)} <= {first}
    assert len(await log.page(AuditFilters(concerning=ALICE, since=0.0), 10)) == 2
    assert await log.page(AuditFilters(concerning="user:default/x"), 10) == []


async def test_a_running_change_is_its_users_lock(database: Database, changes: ChangeTable) -> None:
    """A second change of the user has to wait until the first has ended or its lease has expired."""
    first = await begun(database, changes, "one")
    assert first is not None
    assert await begun(database, changes, "two") is None
    assert await begun(database, changes, "three", lock=BOB) is not None
    async with database.transaction() as connection:
        await changes.release_expired(connection, ALICE, None)
    assert await begun(database, changes, "two") is None, "the lease has not expired"
    await shift(database, change.c.lease_until, 31)
    async with database.transaction() as connection:
        found, _ = await changes.earlier(connection, ALICE, None)
        assert [(row.operation, row.is_running) for row in found] == [("one", False)]
        await changes.release_expired(connection, ALICE, None)
    second = await begun(database, changes, "two")
    assert second is not None
    assert await changes.renew(first, "one") is False
    assert await ended(database, changes, first, "one") is False, "another change took over"
    assert await changes.renew(second, "two") is True
    assert await ended(database, changes, second, "two") is True


async def test_a_running_change_is_the_claim_on_its_idempotency_key(database: Database, changes: ChangeTable) -> None:
    """Whatever user it concerns."""
    first = await begun(database, changes, "one", REQUEST)
    assert first is not None
    assert await begun(database, changes, "two", REQUEST, lock=BOB) is None
    async with database.transaction() as connection:
        ((found,), _) = await changes.earlier(connection, BOB, REQUEST)
    assert (found.operation, found.fingerprint, found.is_running) == ("one", "fingerprint", True)
    await changes.interrupt(first, "one")
    assert await begun(database, changes, "two", REQUEST, lock=BOB) is not None


@pytest.mark.parametrize(
    ("first", "second"),
    [((None, REQUEST), (None, REQUEST)), ((ALICE, None), (ALICE, REQUEST)), ((BOB, REQUEST), (ALICE, REQUEST))],
    ids=["the request only", "the lock only", "the request, of another user"],
)
async def test_what_a_dead_process_has_gives_way(
    database: Database, changes: ChangeTable, first: Claim, second: Claim
) -> None:
    """At once, once its lease has expired; who comes next knows what was interrupted."""
    (held, request), (wanted, asked) = first, second
    assert await begun(database, changes, "one", request, lock=held) is not None
    await shift(database, change.c.lease_until, 31)
    opened = await changes.open(Opening(replace(INTENT, operation="two", lock=wanted), asked))
    assert opened is not None
    found = [(row.operation, row.is_running, row.same_request) for row in opened.interrupted]
    assert found == [("one", False, request is not None)]


async def test_a_short_key_that_is_being_made(database: Database, changes: ChangeTable) -> None:
    """It is its owner's until its change has ended, or its process died."""
    mint: dict[str, Any] = {"action": Action.KEY_MINT, "lock": None}
    assert await begun(database, changes, "zero", lock=None) is not None
    assert await begun(database, changes, "one", target=BOB, **mint) is not None
    assert (await changes.makes_short_keys(ALICE), await changes.makes_short_keys(BOB)) == (False, True)
    await shift(database, change.c.lease_until, 31)
    assert await changes.makes_short_keys(BOB) is False
    second = await begun(database, changes, "two", **mint)
    assert second is not None
    assert await changes.makes_short_keys(ALICE) is True
    assert await ended(database, changes, second, "two") is True
    assert await changes.makes_short_keys(ALICE) is False


@pytest.mark.parametrize("is_postgresql", [False])  # the clock of PostgreSQL cannot be stopped
async def test_a_lease_ends_at_its_end(database: Database, changes: ChangeTable, clock: Clock) -> None:
    """For everybody in the same moment."""
    assert await begun(database, changes, "one", action=Action.KEY_MINT) is not None
    clock.advance(LEASE_SECONDS)
    async with database.reading() as connection:
        ((found,), _) = await changes.earlier(connection, ALICE, None)
    assert (found.is_running, await changes.makes_short_keys(ALICE)) == (False, False)
    assert len(await interrupted(database, changes, older_than=0)) == 1
    assert await interrupted(database, changes, older_than=LEASE_SECONDS) == []


async def test_twenty_changes_at_once_are_one(database: Database, changes: ChangeTable) -> None:
    """The database decides which one is first."""
    begun_changes = await asyncio.gather(*(begun(database, changes, f"o{n}", REQUEST) for n in range(20)))
    assert [change_id is not None for change_id in begun_changes].count(True) == 1


async def interrupted(database: Database, changes: ChangeTable, *, older_than: float) -> list[Any]:
    async with database.reading() as connection:
        rows = await connection.execute(changes.interrupted(older_than=older_than))
        return list(map(tuple, rows))


async def test_an_interrupted_change_can_be_resumed_once(database: Database, changes: ChangeTable) -> None:
    """By one process, and only while no other change of the user is running."""
    first = await begun(database, changes, "one")
    assert first is not None
    assert await changes.resume(first, "reconciler") is False, "it is running"
    assert await interrupted(database, changes, older_than=-1) == []
    await changes.interrupt(first, "one")
    assert await interrupted(database, changes, older_than=-1) == [(str(first), ALICE)]
    assert await interrupted(database, changes, older_than=300) == []
    second = await begun(database, changes, "two")
    assert second is not None
    assert await changes.resume(first, "reconciler") is False, "another change has the lock"
    await ended(database, changes, second, "two")
    assert [await changes.resume(first, name) for name in ("reconciler", "other")] == [True, False]
    assert await ended(database, changes, first, "one") is False
    assert await Events(database).open_event(first) is not None
    assert await ended(database, changes, first, "reconciler", Ending(Outcome.RECONCILED)) is True
    assert await Events(database).open_event(first) is None


async def test_what_is_left_to_reconciliation(database: Database, changes: ChangeTable) -> None:
    """What its process gave up, or did not live to end."""
    ids = [await begun(database, changes, name, lock=name) for name in ("given up", "dead", "ended")]
    assert None not in ids
    given_up, dead, done = (int(number or 0) for number in ids)
    await shift(database, change.c.lease_until, 31)
    await changes.interrupt(given_up, "given up")
    assert await ended(database, changes, done, "ended") is True
    assert await begun(database, changes, "running") is not None
    left = await interrupted(database, changes, older_than=-1)
    assert sorted(number for number, _ in left) == [str(given_up), str(dead)]


async def test_retention_deletes_what_has_ended(database: Database, changes: ChangeTable) -> None:
    """An open change stays, however old."""
    first, second = await begun(database, changes, "one"), await begun(database, changes, "two", lock=BOB)
    assert first is not None
    await ended(database, changes, first, "one")
    events = Events(database)
    assert await events.forget(older_than=100) == 0
    assert len(await events.page(AuditFilters(), 10)) == 2
    assert await events.forget(older_than=-1) == 1
    assert [event.id for event in await events.page(AuditFilters(), 10)] == [second]


OTHER = {
    **dict.fromkeys(change.c.keys(), "x"),
    **{column: {"alias": "x"} for column in ("requested", "before", "after")},
    **dict.fromkeys(("id", "started_at", "lease_until", "ended_at", "key_version"), 7),
}
"""Another value for each column."""
ON_ITS_WAY = {"holder", "lease_until"}
FOUND_ON_ITS_WAY = {"key_id", "key_stable_id", "key_version", "before"}
AT_ITS_END = {"outcome", "after", "detail", "ended_at"}
FOUND_AT_ITS_END = {"target"}


async def accepted(database: Database, others: dict[str, Any], **also: Any) -> set[str]:
    """The columns that accept the other value, together with `also`. Nothing stays changed."""
    columns = set()
    for column, value in others.items():
        try:
            async with database.transaction() as connection:
                await connection.execute(sa.update(change).values(also | {column: value}))
                columns.add(column)
                raise ZeroDivisionError
        except ZeroDivisionError:
            continue
        except sa.exc.DBAPIError as error:
            if "append-only" not in str(error):
                raise
    return columns


async def test_an_ended_change_refuses_to_be_changed(database: Database, changes: ChangeTable) -> None:
    """Whatever is written to it, or taken from it."""
    first = await begun(database, changes, "one", REQUEST)
    assert first is not None
    await ended(database, changes, first, "one")
    nothing = {column.name: None for column in change.c if column.nullable}
    assert await accepted(database, OTHER) == await accepted(database, nothing) == set()


async def test_an_open_change_keeps_its_intent(database: Database, changes: ChangeTable) -> None:
    """On its way only its lease may change, at its end only that and what its end says; no other column, ever.

    What it found on its way stays too.
    """
    named = {"key_id": "a", "key_stable_id": "b", "key_version": 1}
    first = await begun(database, changes, "one", REQUEST, via="plugin:x", request_id="r", **named)
    assert first is not None
    assert await changes.find(first, "one", Found("a", 1, {"alias": "a"})) is True
    intended = [*INTENT.__dataclass_fields__, "request_name", "fingerprint"]
    nothing = {column: None for column in intended if change.c[column].nullable}
    assert await accepted(database, OTHER) == ON_ITS_WAY | {"outcome"}
    assert await accepted(database, OTHER, outcome="done") == ON_ITS_WAY | AT_ITS_END
    assert await accepted(database, nothing) == await accepted(database, nothing, outcome="done") == set()


async def test_an_end_adds_what_the_change_created(database: Database, changes: ChangeTable) -> None:
    """Its key and its user, where the intent could not name them; it adds nothing else to an intent."""
    assert await begun(database, changes, "one", target=None, lock=None, requested=None) is not None
    assert await accepted(database, OTHER) == ON_ITS_WAY | FOUND_ON_ITS_WAY | {"outcome"}
    assert (
        await accepted(database, OTHER, outcome="done") == ON_ITS_WAY | FOUND_ON_ITS_WAY | AT_ITS_END | FOUND_AT_ITS_END
    )


async def test_what_a_change_found_on_its_way_stays(database: Database, changes: ChangeTable) -> None:
    """Nobody else finds anything for it, and its end says nothing else of it."""
    first = await begun(database, changes, "one", requested=None)
    assert first is not None
    assert await changes.find(first, "another", Found("b" * 64, 3, {"alias": "b"})) is False
    assert await changes.find(first, "one", Found("a" * 64, 2, {"alias": "a"})) is True
    end = Ending(Outcome.DONE, key_id="c" * 64, key_stable_id="key_c", key_version=4, before={"alias": "c"})
    assert await ended(database, changes, first, "one", end) is True
    (event,) = await Events(database).page(AuditFilters(), 1)
    assert (event.key_id, event.key_version, event.before) == ("a" * 64, 2, {"alias": "a"})
    assert event.key_stable_id == "key_c"


async def test_the_history_of_a_key(database: Database, changes: ChangeTable) -> None:
    """Its events with those that name none, of its owner only; its last rotation says which version is the last."""
    names = {"key_id": "a" * 64, "key_stable_id": "key_a", "key_version": 1}
    rotation = {"action": Action.KEY_REGENERATE, **names}
    told: list[tuple[dict[str, Any], Ending]] = [
        ({}, DONE),
        (rotation, Ending(Outcome.DONE, after={"replacedBy": "b" * 64, "version": 2})),
        (rotation, Ending(Outcome.DONE, after={"replacedBy": "c" * 64, "version": 10})),
        (rotation, Ending(Outcome.FAILED, after={"version": 11})),
        (rotation | {"key_stable_id": "key_b"}, Ending(Outcome.DONE, after={"version": 12})),
        (rotation | {"target": BOB}, Ending(Outcome.DONE, after={"version": 13})),
        ({"action": Action.KEY_REVOKE, **names}, Ending(Outcome.RECONCILED, after={"exists": False})),
        ({"action": Action.KEY_UPDATE, **names}, Ending(Outcome.RECONCILED, after={"exists": False})),
    ]
    for number, (intent, ending) in enumerate(told):
        change_id = await begun(database, changes, str(number), lock=None, **intent)
        assert change_id is not None
        assert await ended(database, changes, change_id, str(number), ending) is True
    log = Events(database)
    assert [event.operation for event in await log.history(ALICE, "key_a")] == ["0", "1", "2", "6"]
    assert [event.operation for event in await log.history(ALICE, None)] == ["0", "1", "2", "4", "6"]
    assert [await log.last_version(ALICE, stable_id) for stable_id in ("key_a", "key_x")] == [10, None]


async def test_an_answer_is_kept_for_a_day(database: Database, changes: ChangeTable) -> None:
    """Then it is forgotten, and a new one may be kept under the same name."""
    answers = KeptAnswers(database)
    async with database.transaction() as connection:
        assert await changes.earlier(connection, ALICE, REQUEST) == ([], None)
        await answers.keep(connection, REQUEST, KEPT)
        assert await changes.earlier(connection, ALICE, REQUEST) == ([], KEPT)
    await shift(database, kept_answer.c.kept_at, 86_401)
    async with database.transaction() as connection:
        assert await changes.earlier(connection, ALICE, REQUEST) == ([], None)
        await answers.keep(connection, REQUEST, replace(KEPT, resource_id="other"))
        assert await changes.earlier(connection, None, REQUEST) == ([], replace(KEPT, resource_id="other"))
    await answers.forget()
    await shift(database, kept_answer.c.kept_at, 86_401)
    await answers.forget()
    async with database.transaction() as connection:
        assert (await connection.execute(sa.select(sa.func.count()).select_from(kept_answer))).scalar_one() == 0


async def test_a_rate_is_counted_exactly(database: Database) -> None:
    """Of forty requests at once thirty are allowed, and each subject has a limit of its own."""
    rates = Rates(database)

    async def take(subject: str) -> RateLimit:
        async with database.transaction() as connection:
            return await rates.take(connection, CREATES, subject)

    taken = await asyncio.gather(*(take(ALICE) for _ in range(40)))
    assert [row.retry_after == 0 for row in taken].count(True) == 30
    assert (await take(BOB)).remaining == 29
    async with database.reading() as connection:
        assert (await rates.peek(connection, CREATES, BOB)).remaining == 29
        assert (await rates.peek(connection, CREATES, "user:default/x")).remaining == 30
    await rates.forget()
    assert (await take(ALICE)).retry_after > 0


async def test_a_rate_after_the_clock_was_set_back(database: Database) -> None:
    """What was taken in the future by that counts no more: nobody waits for a day."""
    rates = Rates(database)
    async with database.transaction() as connection:
        for _ in range(31):
            await rates.take(connection, CREATES, ALICE)
    await shift(database, rate.c.full_again_at, -86_400)
    async with database.transaction() as connection:
        assert (await rates.peek(connection, CREATES, ALICE)).remaining == 30
        taken = await rates.take(connection, CREATES, ALICE)
        assert (taken.remaining, taken.reset, taken.retry_after) == (29, 2_000, 0)

    async def take_all() -> list[int]:
        async with database.transaction() as connection:
            return [(await rates.take(connection, CREATES, ALICE)).retry_after for _ in range(30)]

    assert [wait == 0 for wait in await take_all()] == [True] * 29 + [False]


async def test_a_rolled_back_request_takes_nothing(database: Database) -> None:
    """What is in one transaction is written together or not at all."""
    rates = Rates(database)

    async def take_and_fail() -> None:
        async with database.transaction() as connection:
            await rates.take(connection, CREATES, ALICE)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await take_and_fail()
    async with database.reading() as connection:
        assert (await rates.peek(connection, CREATES, ALICE)).remaining == 30


async def test_revocations_are_tasks_of_the_queue(database: Database) -> None:
    """Each is known until it is removed, and due when its time has come."""
    queue = DueQueue(database)
    revocations = Revocations(queue, Clock())
    async with database.transaction() as connection:
        planned = await revocations.schedule(connection, "old", ALICE, "new", revoke_in=60)
    assert await revocations.of_user(ALICE) == [Revocation("old", ALICE, "new", planned.revoke_at)]
    assert await queue.claim(Kind.REVOCATION) is None
    await shift(database, due.c.next_attempt_at, 61)
    task = await queue.claim(Kind.REVOCATION)
    assert task is not None
    assert revocation_of(task) == planned
    async with database.transaction() as connection:
        await revocations.remove(connection, "old")
    assert await revocations.of_user(ALICE) == []


async def test_the_revocations_of_users_who_usually_have_none(database: Database, clock: Clock) -> None:
    """This process knows at once what it scheduled, and within ten seconds what another one did."""
    own, other = (Revocations(DueQueue(database), clock) for _ in range(2))
    assert await own.usually_none(ALICE) == await other.usually_none(ALICE) == []
    async with database.transaction() as connection:
        planned = await own.schedule(connection, "old", ALICE, "new", revoke_in=60)
    assert await own.usually_none(ALICE) == [planned]
    assert await own.usually_none(BOB) == []
    assert await other.usually_none(ALICE) == []
    clock.advance(10)
    assert await other.usually_none(ALICE) == [planned]
    async with database.transaction() as connection:
        await own.remove(connection, "old")
    assert await own.usually_none(ALICE) == []


async def test_reported_keys(database: Database) -> None:
    """A key that is reported twice is reported, until its mark is forgotten."""
    reported = ReportedKeys(database, DueQueue(database))
    for _ in range(2):
        await reported.keep("a")
    assert await reported.among(["a", "b"]) == {"a"}
    assert await reported.among([]) == set()
    await reported.forget("a")
    assert await reported.among(["a"]) == set()


async def held_lease(database: Database) -> tuple[Lease, HeldLease]:
    """The lease of the cleanup, for a minute."""
    lease = Lease(database, "cleanup", owner="this replica", life=60)
    held = await lease.acquire()
    return lease, held


async def test_deletions_count_for_a_day(database: Database, clock: Clock, *, is_postgresql: bool) -> None:
    """Once for each off-boarding, however often it is tried; after a day they are forgotten."""
    lease, held = await held_lease(database)
    deletions = Deletions(database, lease)
    for _ in range(2):
        await deletions.reserve(held, ALICE, since=0)
    await deletions.reserve(held, BOB, since=0)
    assert sorted(row.user_id for row in await deletions.recent()) == [ALICE, BOB]
    later = (await deletions.recent())[0].at + 1
    await deletions.reserve(held, ALICE, since=later)
    assert len(await deletions.recent()) == 3
    if is_postgresql:
        await shift(database, cleanup_deletion.c.at, 86401)
    else:
        clock.advance(86401)
    assert await deletions.recent() == []
    await deletions.forget()
    async with database.reading() as connection:
        assert (await connection.execute(sa.select(cleanup_deletion))).all() == []


async def test_only_the_holder_of_the_lease_counts_deletions(database: Database) -> None:
    """So two replicas never exceed the limit together."""
    lease, held = await held_lease(database)
    await lease.release(held, next_run_in=None)
    await held_lease(database)
    with pytest.raises(LeaseLostError):
        await Deletions(database, lease).reserve(held, ALICE, since=0)
    assert await Deletions(database, lease).recent() == []


async def test_a_change_that_ended_while_another_waited_for_it_was_not_interrupted(
    database: Database, changes: ChangeTable, *, is_postgresql: bool
) -> None:
    """The next change would undo it, and delete a key that its owner has received."""
    opening = Opening(replace(INTENT, operation="two"))
    first = await begun(database, changes, "one")
    assert first is not None
    async with database.transaction() as ending:
        assert await changes.end(ending, first, "one", DONE)
        following = asyncio.create_task(changes.open(opening))
        if is_postgresql:
            async with asyncio.timeout(60), database.reading() as connection:
                waiting = sa.text("select count(*) from pg_locks where not granted and locktype = 'transactionid'")
                while not (await connection.execute(waiting)).scalar_one():  # noqa: ASYNC110  # PostgreSQL has no event
                    await asyncio.sleep(0)
    opened = await following
    assert opened is not None
    assert opened.interrupted == []


@pytest.mark.parametrize(
    ("leaves", "is_recorded"), [(None, True), ("before", True), ("meanwhile", False), ("on", False)]
)
async def test_a_short_key_is_recorded_unless_its_owner_left_meanwhile(
    database: Database, changes: ChangeTable, clock: Clock, leaves: str | None, *, is_recorded: bool
) -> None:
    """A deletion that ended before the key was begun does not count; one that began or is running since does."""
    short_keys = ShortKeys(database, DueQueue(database), KeptAnswers(database))

    async def delete(*, to_its_end: bool) -> None:
        deletion = await begun(database, changes, "deletion", action=Action.USER_DELETE, lock=None)
        assert deletion is not None
        if to_its_end:
            assert await ended(database, changes, deletion, "deletion")

    if leaves == "before":
        await delete(to_its_end=True)
        clock.advance(1)
    await begun(database, changes, "mint", action=Action.KEY_MINT, lock=None)
    if leaves in ("meanwhile", "on"):
        await delete(to_its_end=leaves == "meanwhile")
    async with database.transaction() as connection:
        row = ShortKey("key", "workload:ci", "token")
        assert await short_keys.add(connection, row, owner=ALICE, life=60, operation="mint") is is_recorded
    assert await short_keys.counts() == ({"workload:ci": 1} if is_recorded else {})


async def test_short_keys_are_counted_without_reading_history(
    database: Database, changes: ChangeTable, *, is_postgresql: bool
) -> None:
    """A pipeline makes a hundred thousand a year: what is asked before each of them meets only those of the moment."""
    short_keys = ShortKeys(database, DueQueue(database), KeptAnswers(database))
    row = {"actor": "workload:ci", "target": ALICE, "action": Action.KEY_MINT, "started_at": 1, "outcome": "done"}
    history = [row | {"operation": f"mint {number}", "key_id": f"key {number}"} for number in range(300)]
    async with database.transaction() as connection:
        await connection.execute(sa.insert(change), history)
    plans: dict[str, str] = {}

    def explain(connection: sa.Connection, _: Any, statement: str, parameters: Any, *__: Any) -> None:
        asked = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
        if statement.startswith("SELECT"):
            rows = connection.exec_driver_sql(f"{asked} {statement}", parameters).all()
            plans[statement] = "\n".join(str(row) for row in rows)

    sa.event.listen(database._engine.sync_engine, "before_cursor_execute", explain)
    async with database.transaction() as connection:
        await short_keys.room(connection, "workload:ci", ALICE, token="token", most_of_token=2)
    assert not await changes.makes_short_keys(ALICE)
    # For more, PostgreSQL needs the statistics that it makes by itself; SQLite never has any.
    some = [f"key {number}" for number in range(1 if is_postgresql else 200)]
    assert await Events(database).sources_of(some) == dict.fromkeys(some, "workload:ci")
    counting, waiting, of_usage = plans.values()
    assert "ix_change_open_" in counting
    assert "ix_change_open_" in waiting
    assert "ix_change_minted" in of_usage


async def test_the_oldest_key_of_a_token_gives_way_to_a_third(database: Database, clock: Clock) -> None:
    """With one there is room for one more; with two the older one is named, and no longer counted, if it lives."""
    short_keys = ShortKeys(database, DueQueue(database), KeptAnswers(database))
    oldest = []
    for number in range(4):
        async with database.transaction() as connection:
            room = await short_keys.room(connection, "workload:ci", ALICE, token="token", most_of_token=2)
            oldest.append((room.living, room.oldest))
            row = ShortKey(f"key {number}", "workload:ci", "token")
            life = -1 if number == 1 else 60
            assert await short_keys.add(connection, row, owner=ALICE, life=life, operation="mint")
        clock.advance(1)
    assert oldest == [(0, None), (1, None), (0, "key 0"), (2, "key 1")]
