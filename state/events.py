"""The table `change` as the audit log: its rows are events, also of changes that were interrupted."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from domain.actions import Action, AuditEvent, AuditFilters, Outcome
from domain.owners import ReceivedSecret, Transfer
from state.database import Database
from state.tables import change, repetition, written_out

FORGOTTEN_AT_ONCE = 1000
_MAX_OF_KEYS = 10_000
_IDS_AT_ONCE = 500
_OF_KEYS = (Action.KEY_CREATE, Action.KEY_UPDATE, Action.KEY_REGENERATE, Action.KEY_DELETE)
_ENDS_KEYS = (Action.KEY_DELETE, Action.KEY_REVOKE)
_columns = change.c
_GIVES_SECRETS = (
    (Action.KEY_CREATE, _columns.key_id),
    (Action.KEY_REGENERATE, _columns.after["replacedBy"].as_string()),
)
"""To a person, since who exchanges a token is software: what does, and where it says of which key."""
_TRANSFERRED = (
    _columns.action == Action.KEY_TRANSFER,
    _columns.outcome.in_((Outcome.DONE, Outcome.RECONCILED)),
)
_EVENTS = sa.select(change, sa.func.coalesce(repetition.c.times, 0).label("repetitions")).select_from(
    change.outerjoin(repetition, repetition.c.change_id == _columns.id)
)


class Events:
    """Reads the rows, and deletes old ones. `state/changes.py` writes them."""

    def __init__(self, database: Database) -> None:
        self._database = database

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

    async def received_by(self, people: Collection[str]) -> list[ReceivedSecret]:
        """The secrets that these people received with a key that was created or rotated, the newest first."""
        return await self._received([_columns.actor.in_(people)] * len(_GIVES_SECRETS))

    async def received_of(self, key_ids: Collection[str]) -> list[ReceivedSecret]:
        """Who received the secrets of these keys."""
        received: list[ReceivedSecret] = []
        for some in _parts(key_ids):
            received += await self._received([key_id.in_(some) for _, key_id in _GIVES_SECRETS])
        return received

    async def owners_since(self, owners: Mapping[str, str]) -> dict[str, str]:
        """The owner of each key today, given the one that it was created for: after its transfers."""
        latest: dict[str | None, Any] = {}
        for some in _parts(owners):
            moved = _EVENTS.where(*_TRANSFERRED, _columns.key_id.in_(some)).order_by(_columns.id)
            latest |= {event.key_id: (event.after or {}).get("owner") for event in await self._events(moved)}
        return {key_id: latest.get(key_id) or owner for key_id, owner in owners.items()}

    async def _received(self, conditions: Sequence[sa.ColumnElement[bool]]) -> list[ReceivedSecret]:
        received: list[ReceivedSecret] = []
        async with self._database.reading() as connection:
            for (action, key_id), condition in zip(_GIVES_SECRETS, conditions, strict=True):
                given = (_columns.action == action, _columns.outcome == Outcome.DONE, condition)
                known = (_columns.target.is_not(None), key_id.is_not(None))
                shown = sa.select(_columns.actor, _columns.target, key_id, _columns.started_at)
                received += [ReceivedSecret(*row) for row in await connection.execute(shown.where(*given, *known))]
        return sorted(received, key=lambda secret: secret.at, reverse=True)

    async def transfers(self, owner: str, stable_id: str) -> list[Transfer]:
        """Those of a key from or to this owner that came about, the newest first."""
        of_key = (_columns.target == owner, _columns.key_stable_id == stable_id)
        events = await self._events(_EVENTS.where(*of_key, *_TRANSFERRED).order_by(_columns.id.desc()))
        ends = [((event.requested or {}).get("from"), (event.after or {}).get("owner")) for event in events]
        return [Transfer(giver, to) for giver, to in ends if giver is not None and to is not None]

    async def history(
        self, user_id: str, stable_id: str | None, earlier_owners: Collection[str] = ()
    ) -> list[AuditEvent]:
        """As `of_keys`, with the ends of keys, also those that a repair found.

        Of one key only, as far as the events say which: those of earlier releases do not.
        """
        ends = sa.and_(_columns.action.in_(_ENDS_KEYS), _columns.outcome.in_((Outcome.DONE, Outcome.RECONCILED)))
        known = sa.and_(_columns.action.in_(_OF_KEYS), _columns.outcome == Outcome.DONE)
        is_key = _columns.key_stable_id == stable_id
        whose: list[sa.ColumnElement[bool]] = [_columns.target.in_((user_id, *earlier_owners))]
        if stable_id is not None:
            whose.append(sa.or_(is_key, _columns.key_stable_id.is_(None)))
        # Of one key only: there may be many short ones.
        mints = sa.and_(_columns.action == Action.KEY_MINT, _columns.outcome == Outcome.DONE, is_key)
        actions = {*_OF_KEYS, *_ENDS_KEYS, Action.KEY_MINT}
        which = [*whose, _columns.action.in_(actions), sa.or_(known, ends, mints)]
        return (await self._events(_newest(AuditFilters(), _MAX_OF_KEYS, *which)))[::-1]

    async def sources_of(self, key_ids: Collection[str]) -> dict[str, str]:
        """What the short keys among these were made for."""
        found: dict[str, str] = {}
        for some in _parts(key_ids):
            is_mint = self._database.most_have(_columns.action == written_out(Action.KEY_MINT))
            minted = (_columns.key_id.in_(some), is_mint, _columns.outcome == Outcome.DONE)
            async with self._database.reading() as connection:
                rows = await connection.execute(sa.select(_columns.key_id, _columns.actor).where(*minted))
                found |= {row.key_id: row.actor for row in rows}
        return found

    async def last_mints(self, sources: Collection[str]) -> dict[str, AuditEvent]:
        """How the last key was made for each of the sources."""
        minted = (_columns.action == Action.KEY_MINT, _columns.outcome == Outcome.DONE)
        # The newest of each: a source may have millions.
        newest = _EVENTS.where(*minted).order_by(_columns.id.desc()).limit(1)
        found: dict[str, AuditEvent] = {}
        async with self._database.reading() as connection:
            for source in sources:
                row = (await connection.execute(newest.where(_columns.actor == source))).mappings().one_or_none()
                if row is not None:
                    found[source] = _event(dict(row))
        return found

    async def last_version(self, user_id: str, stable_id: str) -> int | None:
        """The number of the last version that a rotation of this user's key made; None if the log knows of none."""
        is_rotation = (_columns.action == Action.KEY_REGENERATE, _columns.outcome == Outcome.DONE)
        of_key = (_columns.target == user_id, _columns.key_stable_id == stable_id)
        query = sa.select(sa.func.max(_columns.after["version"].as_integer())).where(*of_key, *is_rotation)
        async with self._database.reading() as connection:
            return (await connection.execute(query)).scalar()

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

    async def open_event(self, change_id: int) -> AuditEvent | None:
        """The change if it has no outcome yet."""
        found = await self._events(_EVENTS.where(_columns.id == change_id, _columns.outcome.is_(None)))
        return found[0] if found else None

    async def _events(self, query: sa.Select[Any]) -> list[AuditEvent]:
        async with self._database.reading() as connection:
            return [_event(row) for row in (await connection.execute(query)).mappings()]


def _parts(key_ids: Collection[str]) -> Iterator[list[str]]:
    """As many as one statement takes."""
    ids = sorted(key_ids)
    return (ids[start : start + _IDS_AT_ONCE] for start in range(0, len(ids), _IDS_AT_ONCE))


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
