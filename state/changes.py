"""The table `change`: one row per change, from the intent to the outcome. The audit log reads the same rows.

A row without an outcome is open. An open row with a holder and an unexpired lease is running: it is the lock of its
user and the claim on its Idempotency-Key (two partial unique indexes). An open row without either was interrupted: its
process died, or LiteLLM did not say what happened. Reconciliation ends those.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.audit import Action, AuditEvent, AuditFilters, Ending, Intent, Outcome
from state.database import Database
from state.tables import change, repetition

LEASE_SECONDS = 30.0
FORGOTTEN_AT_ONCE = 1000
_MAX_OF_KEYS = 10_000
_OF_KEYS = (Action.KEY_CREATE, Action.KEY_UPDATE, Action.KEY_REGENERATE, Action.KEY_DELETE)
_columns = change.c
_is_open = _columns.outcome.is_(None)
_EVENTS = sa.select(change, sa.func.coalesce(repetition.c.times, 0).label("repetitions")).select_from(
    change.outerjoin(repetition, repetition.c.change_id == _columns.id)
)


@dataclass(frozen=True, slots=True)
class IdempotentRequest:
    """A request with an Idempotency-Key: a name that does not reveal the key, and a fingerprint of its content.

    `earlier_name` is the name that earlier versions gave to the same request.
    """

    name: str
    earlier_name: str
    fingerprint: str

    @property
    def names(self) -> tuple[str, str]:
        """Both names."""
        return self.name, self.earlier_name


@dataclass(frozen=True, slots=True)
class OpenChange:
    """A change without an outcome, as another change finds it."""

    id: int
    operation: str
    action: Action
    request_name: str | None
    fingerprint: str | None
    is_running: bool


class ChangeTable:
    """The rows. Methods with a `connection` run in the caller's transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # The statements of every change are built once: SQLAlchemy takes longer to build than to execute them.
        now = database.now()
        is_running = sa.and_(_columns.holder.is_not(None), _columns.lease_until > now)
        found = sa.select(
            _columns.id,
            _columns.operation,
            _columns.action,
            _columns.request_name,
            _columns.fingerprint,
            is_running.label("is_running"),
        ).where(_is_open, _columns.id != sa.bindparam("but"))
        same_lock = _columns.lock == sa.bindparam("of_lock")
        same_request = _columns.request_name.in_(sa.bindparam("names", expanding=True))
        same = {
            (True, False): same_lock,
            (False, True): same_request,
            (True, True): sa.or_(same_lock, same_request),
        }
        self._find_open = {which: found.where(condition) for which, condition in same.items()}
        expired = sa.update(change).where(_is_open, _columns.lease_until <= now)
        self._release = {
            which: expired.where(condition).values(holder=None, lease_until=None) for which, condition in same.items()
        }
        running = database.insert(change).values(started_at=now, lease_until=now + LEASE_SECONDS)
        self._insert_running = running.on_conflict_do_nothing().returning(_columns.id)
        is_held = (_columns.id == sa.bindparam("change_id"), _is_open, _columns.holder == sa.bindparam("held_by"))
        completed = {
            name: sa.func.coalesce(sa.bindparam(f"ended_{name}", type_=sa.Text), _columns[name])
            for name in ("key_id", "target")
        }
        self._end = sa.update(change).where(*is_held).values(ended_at=now, holder=None, lease_until=None, **completed)

    async def find_open(
        self,
        connection: AsyncConnection,
        lock: str | None,
        request: IdempotentRequest | None,
        *,
        but: int | None = None,
    ) -> list[OpenChange]:
        """The open changes with this lock or this Idempotency-Key, except the change `but`. Reads only."""
        which, values = _same(lock, request)
        if which == (False, False):
            return []
        rows = await connection.execute(self._find_open[which], values | {"but": but or 0})
        return [OpenChange(**{**row, "action": Action(row["action"])}) for row in rows.mappings()]

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

    async def interrupt(self, change_id: int, holder: str) -> None:
        """Gives up lock and Idempotency-Key, and leaves the change open for reconciliation."""
        await self._update_held(change_id, holder, {"holder": None, "lease_until": None})

    async def end(self, connection: AsyncConnection, change_id: int, holder: str, ending: Ending) -> bool:
        """Records the outcome. Returns False if the holder lost the lease: then nothing was recorded."""
        row = {
            "change_id": change_id,
            "held_by": holder,
            "outcome": ending.outcome,
            "before": ending.before,
            "after": ending.after,
            "detail": ending.detail,
            "ended_key_id": ending.key_id,
            "ended_target": ending.target,
        }
        return (await connection.execute(self._end, row)).rowcount == 1

    async def resume(self, change_id: int, holder: str) -> bool:
        """Takes an interrupted change over. Returns False if it is running, ended, or its lock is taken."""
        now = self._database.now()
        is_interrupted = sa.or_(_columns.holder.is_(None), _columns.lease_until <= now)
        taken = sa.update(change).where(_columns.id == change_id, _is_open, is_interrupted)
        async with self._database.transaction() as connection:
            try:
                values = {"holder": holder, "lease_until": now + LEASE_SECONDS}
                return (await connection.execute(taken.values(values))).rowcount == 1
            except sa.exc.IntegrityError:
                return False  # another change of the same user is running

    def interrupted(self, *, older_than: float) -> sa.Select[str, str | None]:
        """The ids and targets of open changes that nobody runs and that began more than `older_than` seconds ago."""
        now = self._database.now()
        is_interrupted = sa.or_(_columns.holder.is_(None), _columns.lease_until <= now)
        old = (_is_open, is_interrupted, _columns.started_at < now - older_than)
        return sa.select(sa.cast(_columns.id, sa.Text), _columns.target).where(*old)

    async def open_event(self, change_id: int) -> AuditEvent | None:
        """The change if it has no outcome yet."""
        found = await self._events(_EVENTS.where(_columns.id == change_id, _is_open))
        return found[0] if found else None

    async def page(self, filters: AuditFilters, limit: int) -> list[AuditEvent]:
        """The newest `limit` events that match."""
        if filters.concerning is None:
            return await self._events(_newest(filters, limit))
        # Two index scans, where an OR would read everything. What a user reported has no target for them, or they would
        # learn whose key it was.
        user = filters.concerning
        own_report = sa.and_(_columns.actor == user, _columns.action == Action.KEY_REPORT)
        made = _newest(filters, limit, _columns.actor == user, *([] if filters.target is None else [~own_report]))
        suffered = _newest(filters, limit, _columns.target == user, ~own_report)
        ids = sa.union(*(sa.select(part.subquery().c.id) for part in (made, suffered)))
        return await self._events(_newest(AuditFilters(), limit, _columns.id.in_(ids)))

    async def of_keys(self, user_id: str) -> list[AuditEvent]:
        """The newest 10000 changes that created, changed, rotated or deleted a key of this user, oldest first."""
        concerned = (_columns.target == user_id, _columns.action.in_(_OF_KEYS), _columns.outcome == Outcome.DONE)
        return (await self._events(_newest(AuditFilters(), _MAX_OF_KEYS, *concerned)))[::-1]

    async def forget(self, *, older_than: float) -> int:
        """Deletes ended changes older than `older_than` seconds, at most 1000. Returns how many."""
        async with self._database.transaction() as connection:
            old = sa.select(_columns.id).where(
                _columns.outcome.is_not(None), _columns.started_at < self._database.now() - older_than
            )
            ids = (await connection.execute(old.limit(FORGOTTEN_AT_ONCE))).scalars().all()
            if ids:
                await connection.execute(sa.delete(repetition).where(repetition.c.change_id.in_(ids)))
                await connection.execute(sa.delete(change).where(_columns.id.in_(ids)))
        return len(ids)

    async def _update_held(self, change_id: int, holder: str, values: Mapping[str, Any]) -> bool:
        async with self._database.transaction() as connection:
            return (await connection.execute(_held(change_id, holder).values(values))).rowcount == 1

    async def _events(self, query: sa.Select[Any]) -> list[AuditEvent]:
        async with self._database.reading() as connection:
            return [_event(row) for row in (await connection.execute(query)).mappings()]


def _same(lock: str | None, request: IdempotentRequest | None) -> tuple[tuple[bool, bool], dict[str, Any]]:
    """Which of both there is, and both as parameters."""
    names = {} if request is None else {"names": request.names}
    return (lock is not None, request is not None), ({} if lock is None else {"of_lock": lock}) | names


def _held(change_id: int, holder: str) -> sa.Update:
    return sa.update(change).where(_columns.id == change_id, _is_open, _columns.holder == holder)


def _newest(filters: AuditFilters, limit: int, *more: sa.ColumnElement[bool]) -> sa.Select[Any]:
    newest_first = (_columns.started_at.desc(), _columns.id.desc())
    return _EVENTS.where(*_conditions(filters), *more).order_by(*newest_first).limit(limit)


def _conditions(filters: AuditFilters) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool] | None] = [
        None if filters.actor is None else _columns.actor == filters.actor,
        None if filters.target is None else _columns.target == filters.target,
        None if filters.action is None else _columns.action == filters.action,
        None if filters.since is None else _columns.started_at >= filters.since,
        None if filters.until is None else _columns.started_at < filters.until,
        None if filters.before is None else sa.tuple_(_columns.started_at, _columns.id) < sa.tuple_(*filters.before),
    ]
    return [condition for condition in conditions if condition is not None]


def _event(row: Mapping[str, Any]) -> AuditEvent:
    fields = {name: row[name] for name in AuditEvent.__dataclass_fields__}
    outcome = None if row["outcome"] is None else Outcome(row["outcome"])
    return AuditEvent(**fields | {"action": Action(row["action"]), "outcome": outcome})
