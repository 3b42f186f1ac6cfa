"""The table `rate`: rate limits that all replicas share.

The generic cell rate algorithm: one number, the time at which the whole limit is available again, is all the state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.rates import RateLimit
from state.database import Database
from state.tables import rate

# Rounding must never cost a caller their last request.
_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class RatePolicy:
    """`limit` requests in `window` seconds, counted under `name` for each subject."""

    name: str
    limit: int
    window: int = 60


class Rates:
    """The rows."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # Built once: SQLAlchemy takes longer to build this statement than to execute it.
        now = database.now()
        interval, window = (sa.bindparam(name, type_=sa.Float) for name in ("interval", "window"))
        # What is further away was written before the clock was set back.
        is_used = rate.c.full_again_at.between(now, now + window + _TOLERANCE)
        used = sa.case((is_used, rate.c.full_again_at), else_=now) + interval
        insert = database.insert(rate).values(full_again_at=now + interval)
        self._take = insert.on_conflict_do_update(
            index_elements=[rate.c.name], set_={"full_again_at": used}, where=used - now <= window + _TOLERANCE
        ).returning((rate.c.full_again_at - now).label("reset"))

    async def take(self, connection: AsyncConnection, policy: RatePolicy, subject: str) -> RateLimit:
        """Takes one request if the limit allows it, atomically. The result says whether it did (`retry_after`)."""
        interval = policy.window / policy.limit
        row = {"name": _row_name(policy, subject), "interval": interval, "window": policy.window}
        reset = (await connection.execute(self._take, row)).scalar_one_or_none()
        if reset is not None:
            return _state(policy, float(reset))
        refused = await self.peek(connection, policy, subject)
        retry_after = max(1, math.ceil(refused.reset + interval - policy.window - _TOLERANCE))
        return RateLimit(policy.name, policy.limit, policy.window, 0, refused.reset, retry_after)

    async def peek(self, connection: AsyncConnection, policy: RatePolicy, subject: str) -> RateLimit:
        """The state of the limit, taking nothing. Reads only."""
        reset = sa.select(rate.c.full_again_at - self._database.now()).where(rate.c.name == _row_name(policy, subject))
        left = (await connection.execute(reset)).scalar_one_or_none() or 0.0
        return _state(policy, max(0.0, left) if left <= policy.window + _TOLERANCE else 0.0)

    async def forget(self) -> None:
        """Deletes the rows whose whole limit is available again."""
        async with self._database.transaction() as connection:
            await connection.execute(sa.delete(rate).where(rate.c.full_again_at < self._database.now()))


def _row_name(policy: RatePolicy, subject: str) -> str:
    return f"{policy.name} {subject}"


def _state(policy: RatePolicy, reset: float) -> RateLimit:
    remaining = math.floor((policy.window - reset) / (policy.window / policy.limit) + _TOLERANCE)
    return RateLimit(policy.name, policy.limit, policy.window, max(0, remaining), math.ceil(reset - _TOLERANCE), 0)
