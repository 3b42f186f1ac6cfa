"""The table `repetition`: how often a refusal that is in the audit log was repeated. Ended changes are frozen."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.actions import Ending, Intent
from state.database import Database
from state.tables import change, repetition

_columns = change.c


class Repetitions:
    """The counts. They are deleted with their changes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def count(self, connection: AsyncConnection, intent: Intent, ending: Ending, *, within: float) -> bool:
        """Counts one more of the same refusal of the last `within` seconds. Returns False if there was none."""
        same = sa.select(_columns.id).where(
            _columns.actor == intent.actor,
            _columns.action == intent.action,
            _columns.started_at > self._database.now() - within,
            _columns.target.is_not_distinct_from(intent.target),
            _columns.outcome == ending.outcome,
            _columns.detail.is_not_distinct_from(ending.detail),
        )
        change_id = (await connection.execute(same.order_by(_columns.started_at.desc()).limit(1))).scalar_one_or_none()
        if change_id is None:
            return False
        insert = self._database.insert(repetition).values(change_id=change_id, times=1)
        more = insert.on_conflict_do_update(
            index_elements=[repetition.c.change_id], set_={"times": repetition.c.times + 1}
        )
        await connection.execute(more)
        return True
