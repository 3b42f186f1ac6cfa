"""Requests that bear an Idempotency-Key: which are under way, and what the others were answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from state.database import Database
from state.tables import idempotency


@dataclass(frozen=True)
class IdempotentRequest:
    """One request, as claimed.

    `is_ours` says that whoever asked may do it; `attempt` counts those who might. `operation` names the attempt,
    `cut_short` the one before it that never ended. `made` is the id of what came of it.
    """

    request: str
    fingerprint: str
    operation: str
    attempt: int
    is_ours: bool
    cut_short: str | None = None
    made: str | None = None
    sealed_answer: bytes | None = None


class IdempotentRequests:
    """The table of them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(
        self, request: str, fingerprint: str, operation: str, *, running_for: float, kept_for: float
    ) -> IdempotentRequest:
        """Claim `request` where nobody has it, or who had it is silent for `running_for` seconds.

        What is older than `kept_for` seconds is forgotten. Times are seconds.
        """
        columns = idempotency.c
        async with self._database.transaction() as connection:
            now = await self._database.now(connection)
            await connection.execute(sa.delete(idempotency).where(columns.created_at < now - kept_for))
            row: dict[str, Any] = {"request": request, "fingerprint": fingerprint, "operation": operation, "attempt": 1}
            times: dict[str, Any] = {"created_at": now, "running_until": now + running_for}
            if await self._database.insert_new(connection, idempotency, row | times):
                return IdempotentRequest(**row, is_ours=True)
            mine = columns.request == request
            found = (await connection.execute(sa.select(idempotency).where(mine).with_for_update())).one()
            abandoned = found.sealed_answer is None and found.running_until <= now
            if abandoned and found.fingerprint == fingerprint:
                again = row | {"attempt": found.attempt + 1}
                await connection.execute(sa.update(idempotency).where(mine).values(again | times))
                return IdempotentRequest(**again, is_ours=True, cut_short=found.operation)
        return IdempotentRequest(
            request,
            found.fingerprint,
            found.operation,
            found.attempt,
            is_ours=False,
            made=found.made,
            sealed_answer=found.sealed_answer,
        )

    async def finish(self, claimed: IdempotentRequest, made: str, sealed_answer: bytes) -> bool:
        """Keep the answer; False where another attempt has taken over."""
        return await self._change(claimed, sa.update(idempotency).values(made=made, sealed_answer=sealed_answer))

    async def release(self, claimed: IdempotentRequest) -> None:
        """Nothing was done: the request may be made as if for the first time."""
        await self._change(claimed, sa.delete(idempotency))

    async def abandon(self, claimed: IdempotentRequest) -> None:
        """Something may have been done: the next attempt may take over at once, and look."""
        await self._change(claimed, sa.update(idempotency).values(running_until=0))

    async def _change(self, claimed: IdempotentRequest, change: sa.Update | sa.Delete) -> bool:
        columns = idempotency.c
        mine = sa.and_(columns.request == claimed.request, columns.attempt == claimed.attempt)
        async with self._database.transaction() as connection:
            result = await connection.execute(change.where(mine, columns.sealed_answer.is_(None)))
            return result.rowcount == 1
