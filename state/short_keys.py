"""The table `short_key`: keys of minutes, which end by themselves, as a task of the due queue."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningInsert

from domain.actions import Action
from domain.due import Kind, NewTask
from domain.keys import KeyVersion
from state.database import Database
from state.due import DueQueue
from state.kept_answers import KeptAnswers
from state.revocations import payload_of
from state.tables import change, due, offboarding, short_key, written_out

REMEMBERED_SECONDS = 10.0
"""For which an owner of short keys is not looked for again."""
_SECONDS_AFTER_THE_END = 2.0
"""LiteLLM's clock may be behind: no key ends before its time."""
_columns = short_key.c


@dataclass(frozen=True, slots=True)
class ShortKey:
    """A short key. `source` is what it was made for, such as `workload:ci`, `token` names what it was given for."""

    key_id: str
    source: str
    token: str


@dataclass(frozen=True, slots=True)
class Room:
    """How many short keys of a source live and are being made, and whether the owner is being off-boarded.

    That counts for a while after its end, in which a replica may remember that the owner was there. `oldest` is the id
    of the one that one more for the same token ends, None if there is room for it; it is not counted as living.
    """

    living: int
    being_made: int
    is_leaving: bool
    oldest: str | None


class ShortKeys:
    """The rows. Methods with a `connection` run in the caller's transaction."""

    def __init__(self, database: Database, due: DueQueue, kept_answers: KeptAnswers) -> None:
        self._database = database
        self._due = due
        self._kept_answers = kept_answers

    # Built once: SQLAlchemy takes longer to build these than to execute them.

    @cached_property
    def _room(self) -> sa.Select[Any]:
        return _room(self._database.now())

    @cached_property
    def _insert(self) -> ReturningInsert[Any]:
        now = self._database.now()
        names = (_columns.key_id, _columns.source, _columns.token)
        row = [sa.bindparam(f"new_{name.key}", type_=sa.Text) for name in names]
        ends_at = now + sa.bindparam("life", type_=sa.Float)
        values = sa.select(*row, now, ends_at).where(~_was_leaving())
        insert = sa.insert(short_key).from_select([*names, _columns.created_at, _columns.expires_at], values)
        return insert.returning(sa.literal(1))

    @cached_property
    def _leaving(self) -> sa.Select[Any]:
        return sa.select(_was_leaving())

    @cached_property
    def _leaves(self) -> sa.Select[Any]:
        return sa.select(_is_leaving(_is_recent(self._database.now())))

    async def room(
        self, connection: AsyncConnection, source: str, owner: str, *, token: str, most_of_token: int
    ) -> Room:
        """What decides whether one more short key of the source may be made for the owner. Reads only."""
        row = {"source": source, "owner": owner, "token": token, "beside_it": most_of_token - 1}
        return Room(*(await connection.execute(self._room, row)).one())

    async def first_end(self, connection: AsyncConnection, source: str) -> float | None:
        """The time in seconds until the first of a source's living keys ends, None if none lives. Reads only."""
        now = self._database.now()
        ending = sa.select(sa.func.min(_columns.expires_at) - now)
        living = (_columns.source == source, _columns.expires_at > now)
        end: float | None = (await connection.execute(ending.where(*living))).scalar_one()
        return end

    async def of_source(self, source: str) -> list[str]:
        """The ids of the keys of a source that are in LiteLLM, as far as known."""
        query = sa.select(_columns.key_id).where(_columns.source == source).order_by(_columns.created_at)
        async with self._database.reading() as connection:
            return list((await connection.execute(query)).scalars())

    async def find(self, key_id: str) -> tuple[str, str | None] | None:
        """The source and the owner of a key, None if it is no short key that is known."""
        of_key = sa.and_(due.c.kind == Kind.SHORT_KEY_END, due.c.subject == _columns.key_id)
        rows = sa.outerjoin(short_key, due, of_key)
        query = sa.select(_columns.source, due.c.owner).select_from(rows).where(_columns.key_id == key_id)
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).one_or_none()
            return None if row is None else (row.source, row.owner)

    async def is_leaving(self, owner: str) -> bool:
        """Whether the owner is being off-boarded, or was within the last ten seconds. Reads only."""
        async with self._database.reading() as connection:
            return bool((await connection.execute(self._leaves, {"owner": owner})).scalar_one())

    async def was_leaving(self, connection: AsyncConnection, owner: str, *, operation: str) -> bool:
        """Whether the owner is being off-boarded, or was while the change with this operation ran. Reads only."""
        row = {"owner": owner, "since": operation}
        return bool((await connection.execute(self._leaving, row)).scalar_one())

    async def add(self, connection: AsyncConnection, key: ShortKey, *, owner: str, life: float, operation: str) -> bool:
        """Records a key that ends in `life` seconds and was made by a change, whose `operation` is given.

        Returns False, and records nothing, if the owner is being off-boarded, or was while that change ran: a deletion
        that began and ended in the meantime found nothing of what the change was making.
        """
        row = {f"new_{name}": value for name, value in asdict(key).items()}
        row |= {"life": life, "owner": owner, "since": operation}
        return (await connection.execute(self._insert, row)).first() is not None

    async def withhold(self, connection: AsyncConnection, key_id: str) -> None:
        """Lets nobody get the key again, whose secret was kept for repetitions. Leaves alone what is no short key."""
        if (await connection.execute(sa.select(_columns.key_id).where(_columns.key_id == key_id))).first() is not None:
            await self._kept_answers.drop(connection, key_id)

    async def remove(self, connection: AsyncConnection, key_id: str) -> None:
        """Forgets a key that is gone, and its secret, which was kept for repetitions."""
        await self._due.remove(connection, Kind.SHORT_KEY_END, key_id)
        await self._forget(connection, key_id)

    async def remove_of(self, connection: AsyncConnection, owner: str) -> None:
        """Forgets the keys of an owner who is gone together with them. Their ends stay due, should one be left."""
        ends = sa.select(due.c.subject).where(due.c.kind == Kind.SHORT_KEY_END, due.c.owner == owner)
        for key_id in (await connection.execute(ends)).scalars().all():
            await self._forget(connection, key_id)

    async def counts(self) -> dict[str, int]:
        """How many keys of each source have not ended."""
        query = sa.select(_columns.source, sa.func.count()).group_by(_columns.source)
        async with self._database.reading() as connection:
            rows = await connection.execute(query.where(_columns.expires_at > self._database.now()))
            return {row[0]: int(row[1]) for row in rows}

    async def _forget(self, connection: AsyncConnection, key_id: str) -> None:
        await connection.execute(sa.delete(short_key).where(_columns.key_id == key_id))
        await self._kept_answers.drop(connection, key_id)


def short_key_end(key_id: str, owner: str, life: float, version: KeyVersion) -> NewTask:
    """The task that deletes a short key after its end."""
    return NewTask(Kind.SHORT_KEY_END, key_id, life + _SECONDS_AFTER_THE_END, owner, payload_of(version))


def _room(now: sa.ColumnElement[float]) -> sa.Select[Any]:
    """See `Room`."""
    source: sa.BindParameter[str] = sa.bindparam("source", type_=sa.Text)
    is_open = change.c.outcome.is_(None)
    living = (_columns.source == source, _columns.expires_at > now)
    made = sa.select(sa.func.count()).where(is_open, change.c.action == Action.KEY_MINT, change.c.actor == source)
    of_token = (_columns.source == source, _columns.token == sa.bindparam("token", type_=sa.Text))
    beside_it: sa.BindParameter[int] = sa.bindparam("beside_it", type_=sa.Integer)
    oldest = sa.select(_columns.key_id).where(*of_token).order_by(_columns.created_at.desc()).offset(beside_it).limit(1)
    lives = sa.select(sa.func.count()).where(_columns.key_id == oldest.scalar_subquery(), *living)
    return sa.select(
        sa.select(sa.func.count()).select_from(short_key).where(*living).scalar_subquery() - lives.scalar_subquery(),
        made.scalar_subquery(),
        _is_leaving(_is_recent(now)),
        oldest.scalar_subquery(),
    )


def _was_leaving() -> sa.ColumnElement[bool]:
    """Whether the owner is being off-boarded, or was while the change with the operation `since` ran."""
    began = sa.select(change.c.started_at).where(change.c.operation == sa.bindparam("since", type_=sa.Text))
    return _is_leaving(sa.or_(change.c.outcome.is_(None), change.c.ended_at >= began.scalar_subquery()))


def _is_recent(now: sa.ColumnElement[float]) -> sa.ColumnElement[bool]:
    return sa.or_(change.c.outcome.is_(None), change.c.ended_at >= now - REMEMBERED_SECONDS)


def _is_leaving(is_recent: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    owner: sa.BindParameter[str] = sa.bindparam("owner", type_=sa.Text)
    actions = [written_out(action) for action in (Action.USER_BLOCK, Action.USER_DELETE)]
    takes_away = (change.c.target == owner, change.c.action.in_(actions))
    recently = sa.exists(sa.select(change.c.id).where(is_recent, *takes_away))
    return sa.or_(sa.exists().where(offboarding.c.user_id == owner), recently)
