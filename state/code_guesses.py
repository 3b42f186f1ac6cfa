"""The table `code_guess`: who entered user codes that there are not. Five of them cost ten minutes."""

from __future__ import annotations

import math

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.rates import RateLimit
from state.database import Database
from state.tables import code_guess

MOST_WRONG = 5
LOCK_SECONDS = 600
_columns = code_guess.c


class CodeGuesses:
    """The rows, one for each person. Methods with a `connection` run in the caller's transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def locked(self, connection: AsyncConnection, person: str) -> RateLimit | None:
        """For how long the person has to wait, None if not at all. Other guesses of theirs wait until the commit."""
        now = self._database.now()
        row = {"person": person, "wrong": 0, "since": now, "locked_until": 0.0}
        insert = self._database.insert(code_guess).values(**row)
        is_old, is_too_long = _columns.since < now - LOCK_SECONDS, _columns.locked_until > now + LOCK_SECONDS
        fresh = {
            "wrong": sa.case((is_old, 0), else_=_columns.wrong),
            "since": sa.case((is_old, now), else_=_columns.since),
            # No lock is longer: the clock was set back.
            "locked_until": sa.case((is_too_long, now + LOCK_SECONDS), else_=_columns.locked_until),
        }
        claim = insert.on_conflict_do_update(index_elements=[_columns.person], set_=fresh)
        left = (await connection.execute(claim.returning(_columns.locked_until - now))).scalar_one()
        if left <= 0:
            return None
        wait = max(1, math.ceil(left))
        return RateLimit("guesses", MOST_WRONG, LOCK_SECONDS, 0, wait, wait)

    async def add(self, connection: AsyncConnection, person: str) -> None:
        """Counts a wrong one, after `locked`. The fifth within ten minutes locks the person out, and counts anew."""
        now = self._database.now()
        is_last = _columns.wrong + 1 >= MOST_WRONG
        values = {
            "wrong": sa.case((is_last, 0), else_=_columns.wrong + 1),
            "locked_until": sa.case((is_last, now + LOCK_SECONDS), else_=_columns.locked_until),
        }
        await connection.execute(sa.update(code_guess).where(_columns.person == person).values(**values))

    async def forget(self) -> None:
        """Deletes those that count no more."""
        now = self._database.now()
        is_over = (_columns.since < now - LOCK_SECONDS, _columns.locked_until < now)
        async with self._database.transaction() as connection:
            await connection.execute(sa.delete(code_guess).where(*is_over))
