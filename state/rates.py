"""How often somebody may do something, counted for all replicas together.

The generic cell rate algorithm: one number says when all of the allowance is back, which is all that has to be kept.
"""

from __future__ import annotations

import math

import sqlalchemy as sa

from domain.errors import Allowance
from state.database import Database
from state.tables import rate


class Rates:
    """The table of them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, name: str, subject: str, *, limit: int, window: int, cost: int = 1) -> Allowance:
        """Take `cost` of `subject`'s allowance called `name`, if there is so much left; 0 only looks at it."""
        every = window / limit
        row_name = f"{name} {subject}"
        async with self._database.transaction() as connection:
            now = await self._database.now(connection)
            await self._database.insert_new(connection, rate, {"name": row_name, "full_again_at": now})
            query = sa.select(rate.c.full_again_at).where(rate.c.name == row_name).with_for_update()
            kept = max((await connection.execute(query)).scalar_one(), now)
            wanted = kept + every * cost
            # A millionth of a second, so that rounding never costs anybody the last one.
            if wanted - now > window + 1e-6:
                return Allowance(
                    name, limit, window, 0, math.ceil(kept - now), max(1, math.ceil(wanted - now - window))
                )
            await connection.execute(sa.update(rate).where(rate.c.name == row_name).values(full_again_at=wanted))
        remaining = math.floor((window - (wanted - now)) / every + 1e-6)
        return Allowance(name, limit, window, remaining, math.ceil(wanted - now), 0)

    async def forget(self) -> None:
        """Delete those of whose allowance all is back."""
        async with self._database.transaction() as connection:
            now = await self._database.now(connection)
            await connection.execute(sa.delete(rate).where(rate.c.full_again_at < now))
