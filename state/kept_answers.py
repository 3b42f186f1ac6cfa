"""The table `kept_answer`: sealed answers to requests that carried an Idempotency-Key, for 24 hours."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from state.database import Database
from state.tables import kept_answer

KEPT_SECONDS = 86400.0
_columns = kept_answer.c


@dataclass(frozen=True, slots=True)
class IdempotentRequest:
    """A request with an Idempotency-Key: a name that does not reveal the key, and a fingerprint of its content."""

    name: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """A sealed answer; `resource_id` is the id of what the request created."""

    fingerprint: str
    resource_id: str
    sealed: bytes


class KeptAnswers:
    """The rows.

    `is_kept` is the condition for the answer to the request `name` of the last `within` seconds, at most 24 hours.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        # Built once: SQLAlchemy takes longer to build these than to execute them.
        recent = _columns.kept_at > database.now() - sa.bindparam("within", type_=sa.Float)
        self.is_kept = sa.and_(_columns.request_name == sa.bindparam("name", type_=sa.Text), recent)
        insert = database.insert(kept_answer).values(kept_at=database.now())
        replaced = {name: insert.excluded[name] for name in ("fingerprint", "kept_at", "resource_id", "sealed")}
        self._keep = insert.on_conflict_do_update(index_elements=[_columns.request_name], set_=replaced)

    async def keep(self, connection: AsyncConnection, request: IdempotentRequest, answer: KeptAnswer) -> None:
        """Keeps the answer. It replaces one that has expired."""
        await connection.execute(self._keep, {"request_name": request.name, **asdict(answer)})

    async def drop(self, connection: AsyncConnection, resource_id: str) -> None:
        """Deletes the answer that created `resource_id`, which is gone."""
        await connection.execute(sa.delete(kept_answer).where(_columns.resource_id == resource_id))

    async def forget(self) -> None:
        """Deletes expired answers."""
        async with self._database.transaction() as connection:
            expired = _columns.kept_at < self._database.now() - KEPT_SECONDS
            await connection.execute(sa.delete(kept_answer).where(expired))
