"""The audit log: an intent before something is changed, its outcome after, both for good (until retention ends)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from state.database import Database
from state.tables import audit_intent, audit_outcome

_FORGOTTEN_AT_ONCE = 1000


@dataclass(frozen=True)
class Intent:
    """What is about to be changed, by whom. `operation` names the change; what it makes in LiteLLM bears that name."""

    actor: str
    action: str
    operation: str
    via: str | None = None
    target: str | None = None
    key_id: str | None = None
    request_id: str | None = None
    before: Mapping[str, Any] | None = None
    wanted: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Conclusion:
    """What came of it."""

    outcome: str
    key_id: str | None = None
    after: Mapping[str, Any] | None = None
    detail: str | None = None


@dataclass(frozen=True)
class Event:
    """An intent with its conclusion, None while there is none. Times are seconds since the epoch."""

    id: int
    at: float
    intent: Intent
    conclusion: Conclusion | None
    finished_at: float | None


@dataclass(frozen=True)
class Filters:
    """Which events: None is any. `concerning` is a user who did them or whose things they changed."""

    actor: str | None = None
    target: str | None = None
    action: str | None = None
    since: float | None = None
    until: float | None = None
    concerning: str | None = None
    before_id: int | None = None


class AuditLog:
    """The two tables of it, to which rows are only ever added."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def intend(self, intent: Intent) -> int:
        """Note what is about to be done; answers the id to conclude it by."""
        async with self._database.transaction() as connection:
            row = vars(intent) | {"at": await self._database.now(connection)}
            inserted = await connection.execute(sa.insert(audit_intent).values(row).returning(audit_intent.c.id))
            return int(inserted.scalar_one())

    async def conclude(self, intent_id: int, conclusion: Conclusion) -> bool:
        """Note what came of it, once; False where that has been noted already."""
        async with self._database.transaction() as connection:
            row = vars(conclusion) | {"intent_id": intent_id, "at": await self._database.now(connection)}
            return await self._database.insert_new(connection, audit_outcome, row)

    async def page(self, filters: Filters, limit: int) -> list[Event]:
        """The newest `limit` events that fit."""
        columns = audit_intent.c
        query = _events().where(*_conditions(filters)).order_by(columns.id.desc()).limit(limit)
        async with self._database.transaction() as connection:
            return [_event(row) for row in (await connection.execute(query)).mappings()]

    async def unconcluded(self, *, older_than: float, limit: int) -> list[Event]:
        """The oldest `limit` intents without an outcome that are older than so many seconds."""
        async with self._database.transaction() as connection:
            before = await self._database.now(connection) - older_than
            open_ones = audit_outcome.c.intent_id.is_(None)
            query = _events().where(open_ones, audit_intent.c.at < before).order_by(audit_intent.c.id).limit(limit)
            return [_event(row) for row in (await connection.execute(query)).mappings()]

    async def forget(self, *, older_than: float) -> None:
        """Delete events that are older than so many seconds, at most 1000 at once; but none without an outcome."""
        async with self._database.transaction() as connection:
            before = await self._database.now(connection) - older_than
            query = sa.select(audit_outcome.c.intent_id).join(audit_intent).where(audit_intent.c.at < before)
            old = (await connection.execute(query.limit(_FORGOTTEN_AT_ONCE))).scalars().all()
            await connection.execute(sa.delete(audit_outcome).where(audit_outcome.c.intent_id.in_(old)))
            await connection.execute(sa.delete(audit_intent).where(audit_intent.c.id.in_(old)))


def _events() -> sa.Select[Any]:
    outcome = audit_outcome.c
    return sa.select(
        audit_intent,
        outcome.at.label("finished_at"),
        outcome.outcome,
        outcome.key_id.label("made_key_id"),
        outcome.after,
        outcome.detail,
    ).join_from(audit_intent, audit_outcome, isouter=True)


def _conditions(filters: Filters) -> list[sa.ColumnElement[bool]]:
    columns = audit_intent.c
    of_user = sa.or_(columns.actor == filters.concerning, columns.target == filters.concerning)
    every: list[tuple[Any, Callable[[], sa.ColumnElement[bool]]]] = [
        (filters.actor, lambda: columns.actor == filters.actor),
        (filters.target, lambda: columns.target == filters.target),
        (filters.action, lambda: columns.action == filters.action),
        (filters.since, lambda: columns.at >= filters.since),
        (filters.until, lambda: columns.at < filters.until),
        (filters.concerning, lambda: of_user),
        (filters.before_id, lambda: columns.id < filters.before_id),
    ]
    return [condition() for asked, condition in every if asked is not None]


def _event(row: Mapping[str, Any]) -> Event:
    conclusion = None
    if row["outcome"] is not None:
        conclusion = Conclusion(row["outcome"], row["made_key_id"], row["after"], row["detail"])
    intent = Intent(**{name: row[name] for name in Intent.__dataclass_fields__})
    return Event(row["id"], row["at"], intent, conclusion, row["finished_at"])
