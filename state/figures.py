"""What the tables say about the service as a whole, for its metrics."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from domain.due import Kind
from state.database import Database
from state.tables import change, cleanup_run, directory_sweep, directory_user, due, offboarding


@dataclass(frozen=True, slots=True)
class StateFigures:
    """Numbers of rows. Ages are in seconds, 0 if there is nothing; times are seconds since the epoch, None for never.

    An overdue revocation is that of a key which should be gone already. `cleanup_outcome` is that of the last run that
    was not a dry run.
    """

    open_changes: int
    oldest_open_change_seconds: float
    pending_revocations: int
    overdue_revocations: int
    longest_overdue_seconds: float
    users_offboarding: int
    directory_users: int
    unmanaged_owners: int
    directory_swept_at: float | None
    cleanup_accepted_at: float | None
    cleanup_outcome: str | None


class Figures:
    """Reads the figures."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @cached_property
    def _query(self) -> sa.Select[Any]:
        now = self._database.now()
        is_open, is_revocation = change.c.outcome.is_(None), due.c.kind == Kind.REVOCATION
        is_overdue = sa.and_(is_revocation, due.c.due_at < now)
        runs = sa.select(cleanup_run.c.outcome).where(
            cleanup_run.c.fence.is_not(None), cleanup_run.c.finished_at.is_not(None)
        )
        count, lowest, highest = sa.func.count, sa.func.min, sa.func.max
        columns = {
            "open_changes": sa.select(count()).select_from(change).where(is_open),
            "oldest_open_change_seconds": sa.select(now - lowest(change.c.started_at)).where(is_open),
            "pending_revocations": sa.select(count()).select_from(due).where(is_revocation),
            "overdue_revocations": sa.select(count()).select_from(due).where(is_overdue),
            "longest_overdue_seconds": sa.select(now - lowest(due.c.due_at)).where(is_overdue),
            "users_offboarding": sa.select(count()).select_from(offboarding),
            "directory_users": sa.select(count()).select_from(directory_user),
            "unmanaged_owners": sa.select(cleanup_run.c.unmanaged_owners)
            .where(cleanup_run.c.unmanaged_owners.is_not(None))
            .order_by(cleanup_run.c.id.desc())
            .limit(1),
            "directory_swept_at": sa.select(directory_sweep.c.swept_at),
            "cleanup_accepted_at": sa.select(highest(cleanup_run.c.finished_at)).where(
                cleanup_run.c.accepted_members.is_not(None)
            ),
            "cleanup_outcome": runs.order_by(cleanup_run.c.id.desc()).limit(1),
        }
        return sa.select(*(query.scalar_subquery().label(name) for name, query in columns.items()))

    async def read(self) -> StateFigures:
        """The figures now. Raises DatabaseUnavailableError."""
        async with self._database.reading() as connection:
            row = (await connection.execute(self._query)).mappings().one()
        ages = {name: max(0.0, row[name] or 0.0) for name in row if name.endswith("_seconds")}
        return StateFigures(**dict(row) | ages | {"unmanaged_owners": row["unmanaged_owners"] or 0})
