"""The table `short_key`: keys of minutes, which end by themselves, as a task of the due queue."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.due import Kind
from domain.keys import KeyVersion
from state.database import Database
from state.due import DueQueue
from state.kept_answers import KeptAnswers
from state.revocations import payload_of
from state.tables import due, short_key

_SECONDS_AFTER_THE_END = 2.0
"""LiteLLM's clock may be behind: no key ends before its time."""
_columns = short_key.c


@dataclass(frozen=True, slots=True)
class ShortKey:
    """A short key. `source` is what it was made for, such as `workload:ci`, `token` names the token it was given for.

    `attempt` counts the keys for one token, from 1.
    """

    key_id: str
    source: str
    token: str
    attempt: int


@dataclass(frozen=True, slots=True)
class GivenKey:
    """A short key as it is now: its `age`, and what is `left` of its life, in seconds."""

    key_id: str
    attempt: int
    age: float
    left: float


class ShortKeys:
    """The rows. Methods with a `connection` run in the caller's transaction."""

    def __init__(self, database: Database, due: DueQueue, kept_answers: KeptAnswers) -> None:
        self._database = database
        self._due = due
        self._kept_answers = kept_answers
        # Built once: SQLAlchemy takes longer to build these than to execute them.
        now = database.now()
        of_source = _columns.source == sa.bindparam("source")
        age, left = (now - _columns.created_at).label("age"), (_columns.expires_at - now).label("left")
        given = sa.select(_columns.key_id, _columns.attempt, age, left).order_by(_columns.attempt.desc())
        self._of_token = given.where(of_source, _columns.token == sa.bindparam("token"))
        self._of_source = given.where(of_source).order_by(None).order_by(_columns.created_at.desc(), _columns.key_id)
        life = sa.bindparam("life", type_=sa.Float)
        self._insert = sa.insert(short_key).values(created_at=now, expires_at=now + life)

    async def of_token(self, source: str, token: str) -> list[GivenKey]:
        """The keys that were given for a token and that are in LiteLLM, as far as known; the newest first."""
        async with self._database.reading() as connection:
            rows = await connection.execute(self._of_token, {"source": source, "token": token})
            return [GivenKey(row.key_id, row.attempt, row.age, row.left) for row in rows]

    async def of_source(self, source: str) -> list[GivenKey]:
        """The keys of a source that are in LiteLLM, as far as known; the newest first."""
        async with self._database.reading() as connection:
            rows = await connection.execute(self._of_source, {"source": source})
            return [GivenKey(row.key_id, row.attempt, row.age, row.left) for row in rows]

    async def find(self, key_id: str) -> tuple[str, str | None] | None:
        """The source and the owner of a key, None if it is no short key that is known."""
        of_key = sa.and_(due.c.kind == Kind.SHORT_KEY_END, due.c.subject == _columns.key_id)
        query = sa.select(_columns.source, due.c.owner).outerjoin(due, of_key).where(_columns.key_id == key_id)
        async with self._database.reading() as connection:
            row = (await connection.execute(query.select_from(short_key))).one_or_none()
            return None if row is None else (row.source, row.owner)

    async def add(
        self, connection: AsyncConnection, key: ShortKey, *, owner: str, life: float, key_version: KeyVersion
    ) -> None:
        """Records a key that ends in `life` seconds, and schedules its deletion."""
        await connection.execute(self._insert, asdict(key) | {"life": life})
        due_in, payload = life + _SECONDS_AFTER_THE_END, payload_of(key_version)
        await self._due.schedule(
            connection, Kind.SHORT_KEY_END, key.key_id, owner=owner, due_in=due_in, payload=payload
        )

    async def remove(self, connection: AsyncConnection, key_id: str) -> None:
        """Forgets a key that is gone, and its secret, which was kept for repetitions."""
        await connection.execute(sa.delete(short_key).where(_columns.key_id == key_id))
        await self._due.remove(connection, Kind.SHORT_KEY_END, key_id)
        await self._kept_answers.drop(connection, key_id)

    async def counts(self) -> dict[str, int]:
        """How many keys of each source have not ended."""
        query = sa.select(_columns.source, sa.func.count()).group_by(_columns.source)
        async with self._database.reading() as connection:
            rows = await connection.execute(query.where(_columns.expires_at > self._database.now()))
            return {row[0]: int(row[1]) for row in rows}
