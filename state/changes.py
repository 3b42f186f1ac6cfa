"""The table `change`: one row per change, from the intent to the outcome, written by two transactions.

One opens a change: it claims the user's lock and the Idempotency-Key, takes from the rate limit and records the intent,
all or nothing. One ends it: it records the outcome and keeps the answer. Why two are enough:
`docs/adr/0008-a-change-is-one-row.md`. `state/events.py` reads the same rows as the audit log.

A row without an outcome is open. An open row with a holder and an unexpired lease is running: it is the lock of its
user and the claim on its Idempotency-Key (two partial unique indexes). An open row without either was interrupted: its
process died, or LiteLLM did not say what happened. Reconciliation ends those.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.actions import Action, Ending, Intent
from domain.errors import BusyError, IdempotencyKeyReusedError, RateLimitedError
from domain.rates import RateLimit
from state.database import Database
from state.kept_answers import KEPT_SECONDS, IdempotentRequest, KeptAnswer, KeptAnswers
from state.rates import RatePolicy, Rates
from state.tables import change, kept_answer

Write = Callable[[AsyncConnection], Awaitable[None]]
LEASE_SECONDS = 30.0
_COMPLETED = ("key_id", "key_stable_id", "key_version", "target", "before")
"""What is recorded as soon as it is known: when the change begins, on its way, or when it ends."""
_columns = change.c
_is_open = _columns.outcome.is_(None)


@dataclass(frozen=True, slots=True)
class OpenChange:
    """A change without an outcome, as another change finds it. `same_request`: both had one Idempotency-Key."""

    operation: str
    action: Action
    fingerprint: str | None
    is_running: bool
    same_request: bool


@dataclass(frozen=True, slots=True)
class Opening:
    """What opens a change: the intent, the request that may have been sent before, the rate that it counts against.

    What `also` writes is written together with the intent. Its answer is repeated for `kept_for` seconds.
    """

    intent: Intent
    request: IdempotentRequest | None = None
    rate: RatePolicy | None = None
    also: Write | None = None
    kept_for: float = KEPT_SECONDS


@dataclass(frozen=True, slots=True)
class Opened:
    """A change that runs as the row `id`, held by `holder`; or the kept answer to the same request, and no change.

    `rate` is what is left of the limit. Nobody received what the `interrupted` changes of the same user created.
    """

    id: int
    holder: str
    rate: RateLimit | None = None
    interrupted: Sequence[OpenChange] = ()
    kept_answer: KeptAnswer | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """The key that a change found by its stable id, and its state before: see `Intent`."""

    key_id: str
    key_version: int
    before: Mapping[str, Any]


class ChangeTable:
    """The rows. Methods with a `connection` run in the caller's transaction."""

    def __init__(self, database: Database, kept_answers: KeptAnswers, rates: Rates) -> None:
        self._database = database
        self._kept_answers = kept_answers
        self._rates = rates
        # The statements of every change are built once: SQLAlchemy takes longer to build than to execute them.
        now = database.now()
        is_running = sa.and_(_columns.holder.is_not(None), _columns.lease_until > now)
        found = sa.select(
            _columns.operation,
            _columns.action,
            _columns.request_name,
            _columns.fingerprint,
            is_running.label("is_running"),
            sa.null().label("resource_id"),
            sa.cast(sa.null(), sa.LargeBinary).label("sealed"),
        ).where(_is_open, _columns.id != sa.bindparam("but"))
        same_lock = _columns.lock == sa.bindparam("of_lock")
        same_request = _columns.request_name == sa.bindparam("name")
        same = {
            (True, False): same_lock,
            (False, True): same_request,
            (True, True): sa.or_(same_lock, same_request),
        }
        self._find_earlier: dict[tuple[bool, bool], sa.Select[Any] | sa.CompoundSelect[Any]] = {
            (True, False): found.where(same_lock),
            (False, True): _with_kept(found.where(same_request), kept_answers.is_kept),
            (True, True): _with_kept(found.where(same[True, True]), kept_answers.is_kept),
        }
        expired = sa.update(change).where(_is_open, _columns.lease_until <= now)
        self._release = {
            which: expired.where(condition).values(holder=None, lease_until=None) for which, condition in same.items()
        }
        running = database.insert(change).values(started_at=now, lease_until=now + LEASE_SECONDS)
        self._insert_running = running.on_conflict_do_nothing().returning(_columns.id)
        is_held = (_columns.id == sa.bindparam("change_id"), _is_open, _columns.holder == sa.bindparam("held_by"))
        completed = {
            name: sa.func.coalesce(_columns[name], sa.bindparam(f"ended_{name}", type_=_columns[name].type))
            for name in _COMPLETED
        }
        self._end = sa.update(change).where(*is_held).values(ended_at=now, holder=None, lease_until=None, **completed)

    def transaction(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A transaction for `end` and whatever must be written together with it."""
        return self._database.transaction()

    async def open(self, opening: Opening) -> Opened | None:
        """Transaction 1. Returns None while another change holds the user's lock: try again later.

        Raises BusyError while a request with the same Idempotency-Key is running, IdempotencyKeyReusedError if the
        key belongs to another request, RateLimitedError.
        """
        intent, request, policy, within = opening.intent, opening.request, opening.rate, opening.kept_for
        async with self._database.transaction() as connection:
            change_id = await self._claim(connection, intent, request)
            # After the claim: a change of another replica that ended meanwhile was not interrupted, and must not be
            # undone; a request with the same key that ended meanwhile has committed its answer by now.
            found, kept = await self.earlier(connection, intent.lock, request, but=change_id, within=within)
            _require_unclaimed(found, request)
            if request is not None and kept is not None:
                _require_same(request, kept.fingerprint)
                left = None if policy is None else await self._rates.peek(connection, policy, intent.actor)
                await connection.rollback()  # of the claim: there is nothing to change
                return Opened(0, "", left, kept_answer=kept)
            if change_id is None:
                return None
            left = None if policy is None else await self._rates.take(connection, policy, intent.actor)
            if left is not None and left.retry_after:
                raise RateLimitedError(left)
            if opening.also is not None:
                await opening.also(connection)
            return Opened(change_id, intent.operation, left, found)

    async def _claim(
        self, connection: AsyncConnection, intent: Intent, request: IdempotentRequest | None
    ) -> int | None:
        """The id of the change that now has the user's lock and the Idempotency-Key, None while another one runs."""
        change_id = await self.insert_running(connection, intent, request)
        if change_id is None and await self.release_expired(connection, intent.lock, request):
            change_id = await self.insert_running(connection, intent, request)
        return change_id

    async def earlier(
        self,
        connection: AsyncConnection,
        lock: str | None,
        request: IdempotentRequest | None,
        *,
        but: int | None = None,
        within: float = KEPT_SECONDS,
    ) -> tuple[list[OpenChange], KeptAnswer | None]:
        """The open changes with this lock or this Idempotency-Key, except the change `but`, and the request's answer.

        That is one of the last `within` seconds, at most 24 hours. Reads only, and both at the same moment.
        """
        which, values = _same(lock, request)
        if which == (False, False):
            return [], None
        rows = await connection.execute(self._find_earlier[which], values | {"but": but or 0, "within": within})
        found, kept = [], None
        for row in rows:
            if row.sealed is not None:
                kept = KeptAnswer(row.fingerprint, row.resource_id, row.sealed)
                continue
            same_request = request is not None and row.request_name == request.name
            found.append(OpenChange(row.operation, Action(row.action), row.fingerprint, row.is_running, same_request))
        return found, kept

    async def makes_short_keys(self, owner: str) -> bool:
        """Whether a short key is being made for the owner; not if its process died meanwhile."""
        being_made = sa.exists().where(
            _is_open,
            _columns.action == Action.KEY_MINT,
            _columns.target == owner,
            _columns.lease_until > self._database.now(),  # null without a holder
        )
        async with self._database.reading() as connection:
            return bool((await connection.execute(sa.select(being_made))).scalar_one())

    async def release_expired(
        self, connection: AsyncConnection, lock: str | None, request: IdempotentRequest | None
    ) -> bool:
        """Takes both from changes whose lease has expired. Returns whether any had them."""
        which, values = _same(lock, request)
        return which != (False, False) and (await connection.execute(self._release[which], values)).rowcount > 0

    async def insert_running(
        self, connection: AsyncConnection, intent: Intent, request: IdempotentRequest | None
    ) -> int | None:
        """Inserts a running change, held by its operation. Returns its id, or None if another one has its lock."""
        names = {"request_name": request.name, "fingerprint": request.fingerprint} if request else {}
        row = asdict(intent) | {"holder": intent.operation} | names
        inserted = await connection.execute(self._insert_running, row)
        row_id = inserted.scalar_one_or_none()
        return None if row_id is None else int(row_id)

    async def insert_ended(self, connection: AsyncConnection, intent: Intent, ending: Ending) -> None:
        """Inserts a change that ended before it began: a refusal."""
        now = self._database.now()
        row = asdict(intent) | {"started_at": now, "ended_at": now, "outcome": ending.outcome, "detail": ending.detail}
        await connection.execute(sa.insert(change).values(row))

    async def renew(self, change_id: int, holder: str) -> bool:
        """Extends the lease. Returns False if the holder lost it."""
        return await self._update_held(change_id, holder, {"lease_until": self._database.now() + LEASE_SECONDS})

    async def find(self, change_id: int, holder: str, found: Found) -> bool:
        """Records what a running change found, before it changes anything. Returns False if the holder lost it."""
        return await self._update_held(change_id, holder, asdict(found))

    async def interrupt(self, change_id: int, holder: str) -> None:
        """Gives up lock and Idempotency-Key, and leaves the change open for reconciliation."""
        await self._update_held(change_id, holder, {"holder": None, "lease_until": None})

    async def end(
        self,
        connection: AsyncConnection,
        change_id: int,
        holder: str,
        ending: Ending,
        answer: tuple[IdempotentRequest, KeptAnswer] | None = None,
    ) -> bool:
        """Transaction 2: records the outcome, and keeps the answer to a request.

        Returns False if the holder lost the lease: then nothing was recorded.
        """
        row = {
            "change_id": change_id,
            "held_by": holder,
            "outcome": ending.outcome,
            "after": ending.after,
            "detail": ending.detail,
            **{f"ended_{name}": getattr(ending, name) for name in _COMPLETED},
        }
        is_held = (await connection.execute(self._end, row)).rowcount == 1
        if is_held and answer is not None:
            await self._kept_answers.keep(connection, *answer)
        return is_held

    async def resume(self, change_id: int, holder: str) -> bool:
        """Takes an interrupted change over. Returns False if it is running, ended, or its lock is taken."""
        taken = sa.update(change).where(_columns.id == change_id, self._is_interrupted())
        values = {"holder": holder, "lease_until": self._database.now() + LEASE_SECONDS}
        async with self._database.transaction() as connection:
            try:
                return (await connection.execute(taken.values(values))).rowcount == 1
            except sa.exc.IntegrityError:
                return False  # another change of the same user is running

    def interrupted(self, *, older_than: float) -> sa.Select[str, str | None]:
        """The ids and targets of open changes that nobody runs and that began more than `older_than` seconds ago."""
        old = _columns.started_at < self._database.now() - older_than
        return sa.select(sa.cast(_columns.id, sa.Text), _columns.target).where(self._is_interrupted(), old)

    def _is_interrupted(self) -> sa.ColumnElement[bool]:
        return sa.and_(_is_open, sa.or_(_columns.holder.is_(None), _columns.lease_until <= self._database.now()))

    async def _update_held(self, change_id: int, holder: str, values: Mapping[str, Any]) -> bool:
        async with self._database.transaction() as connection:
            return (await connection.execute(_held(change_id, holder).values(values))).rowcount == 1


def _with_kept(found: sa.Select[Any], is_kept: sa.ColumnElement[bool]) -> sa.CompoundSelect[Any]:
    """Open changes and the kept answer, in one statement: the way to the database takes longer than either."""
    nothing, answer = sa.null(), kept_answer.c
    kept = sa.select(nothing, nothing, nothing, answer.fingerprint, nothing, answer.resource_id, answer.sealed)
    return sa.union_all(found, kept.where(is_kept))


def _same(lock: str | None, request: IdempotentRequest | None) -> tuple[tuple[bool, bool], dict[str, Any]]:
    """Which of both there is, and both as parameters."""
    named = {} if request is None else {"name": request.name}
    return (lock is not None, request is not None), ({} if lock is None else {"of_lock": lock}) | named


def _held(change_id: int, holder: str) -> sa.Update:
    return sa.update(change).where(_columns.id == change_id, _is_open, _columns.holder == holder)


def _require_unclaimed(found: Sequence[OpenChange], request: IdempotentRequest | None) -> None:
    for row in found:
        if request is not None and row.same_request:
            _require_same(request, row.fingerprint)
            if row.is_running:
                raise request_in_progress()


def _require_same(request: IdempotentRequest, fingerprint: str | None) -> None:
    if fingerprint != request.fingerprint:
        raise IdempotencyKeyReusedError("This Idempotency-Key was used for another request; choose a new one")


def request_in_progress() -> BusyError:
    """The error for a request whose Idempotency-Key another request, here or at another replica, is using."""
    return BusyError("A request with this Idempotency-Key is in progress; retry when it has ended")
