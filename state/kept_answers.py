"""The table `kept_answer`: sealed answers to requests that carried an Idempotency-Key, for 24 hours."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from state.changes import IdempotentRequest
from state.database import Database
from state.tables import kept_answer

_KEPT_SECONDS = 86400.0
_columns = kept_answer.c


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """A sealed answer; `resource_id` is the id of what the request created."""

    fingerprint: str
    resource_id: str
    sealed: bytes


class KeptAnswers:
    """The rows."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, connection: AsyncConnection, request_name: str) -> KeptAnswer | None:
        """The answer to a request of the last 24 hours. Reads only."""
        recent = _columns.kept_at >= self._database.now() - _KEPT_SECONDS
        query = sa.select(_columns.fingerprint, _columns.resource_id, _columns.sealed)
        row = (await connection.execute(query.where(_columns.request_name == request_name, recent))).one_or_none()
        return None if row is None else KeptAnswer(*row)

    async def keep(self, connection: AsyncConnection, request: IdempotentRequest, answer: KeptAnswer) -> None:
        """Keeps the answer. It replaces one that has expired."""
        values = {
            "fingerprint": answer.fingerprint,
            "kept_at": self._database.now(),
            "resource_id": answer.resource_id,
            "sealed": answer.sealed,
        }
        insert = self._database.insert(kept_answer).values(request_name=request.name, **values)
        await connection.execute(insert.on_conflict_do_update(index_elements=[_columns.request_name], set_=values))

    async def forget(self) -> None:
        """Deletes expired answers."""
        async with self._database.transaction() as connection:
            expired = _columns.kept_at < self._database.now() - _KEPT_SECONDS
            await connection.execute(sa.delete(kept_answer).where(expired))
