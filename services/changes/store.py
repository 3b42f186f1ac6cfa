"""The two transactions of a change: one that opens it, one that ends it.

What they record is masked here, so that no secret that a caller misplaced is kept.

Opening claims the user's lock and the Idempotency-Key, takes from the rate limit and records the intent, all or
nothing. Ending records the outcome and keeps the answer. Why two are enough: `docs/adr/0008-a-change-is-one-row.md`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Any

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.audit import Action, AuditEvent, Ending, Intent
from domain.errors import (
    ConflictError,
    IdempotencyKeyReusedError,
    RateLimitedError,
    UpstreamTimeoutError,
)
from domain.rates import RateLimit
from domain.redaction import Redaction
from services.changes.queue import request_in_progress
from services.changes.sealing import SealedRequest
from state.changes import ChangeTable, OpenChange
from state.database import Database
from state.kept_answers import KeptAnswer, KeptAnswers
from state.rates import RatePolicy, Rates
from telemetry.metrics import Metrics

Write = Callable[[AsyncConnection], Awaitable[None]]
_REUSED = "This Idempotency-Key was used for another request; choose a new one"


@dataclass(frozen=True, slots=True)
class Interrupted:
    """An earlier change of the same user that was interrupted. Nobody received what it created.

    `same_request`: it had the same Idempotency-Key.
    """

    operation: str
    action: Action
    same_request: bool


@dataclass(frozen=True, slots=True)
class Opening:
    """What opens a change: the intent, the request that may have been sent before, the rate that it counts against.

    What `also` writes is written together with the intent.
    """

    intent: Intent
    request: SealedRequest | None = None
    rate: RatePolicy | None = None
    also: Write | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """A change that runs as the row `change_id`, held by `holder`; or the kept answer to an earlier request."""

    change_id: int
    holder: str
    rate: RateLimit | None = None
    interrupted: Sequence[Interrupted] = ()
    kept_answer: Mapping[str, Any] | None = None


class _AlreadyAnsweredError(Exception):
    """Rolls the opening back."""

    def __init__(self, kept: KeptAnswer) -> None:
        super().__init__()
        self.kept = kept


@dataclass(frozen=True, kw_only=True)
class ChangeStore:
    """Opens and ends changes."""

    database: Database
    changes: ChangeTable
    kept_answers: KeptAnswers
    rates: Rates
    metrics: Metrics
    redaction: Redaction

    async def open(self, opening: Opening) -> Opened | None:
        """Transaction 1. Returns None while another change holds the user's lock: try again later.

        Raises BusyError while a request with the same Idempotency-Key is running, IdempotencyKeyReusedError if the
        key belongs to another request, RateLimitedError.
        """
        opening = replace(opening, intent=opening.intent.masked(self.redaction))
        try:
            async with self.database.transaction() as connection:
                return await self._open(connection, opening)
        except _AlreadyAnsweredError as error:
            assert opening.request is not None
            return await self._replay(opening.intent, opening.request, error.kept, opening.rate)

    def transaction(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A transaction for `end` and whatever must be written together with it."""
        return self.database.transaction()

    async def resume(self, event: AuditEvent, holder: str) -> Opened | None:
        """Takes an interrupted change over. Returns None if it, or another change of its user, is running."""
        return Opened(event.id, holder) if await self.changes.resume(event.id, holder) else None

    def count(self, intent: Intent, ending: Ending) -> None:
        """Counts a change whose end is committed."""
        self.metrics.changes.labels(intent.action, ending.outcome).inc()

    async def end(
        self,
        connection: AsyncConnection,
        opened: Opened,
        ending: Ending,
        answer: tuple[SealedRequest, KeptAnswer] | None = None,
    ) -> None:
        """Transaction 2, on `connection`. Raises UpstreamTimeoutError if another change took over in the meantime."""
        if not await self.changes.end(connection, opened.change_id, opened.holder, ending.masked(self.redaction)):
            raise UpstreamTimeoutError("The operation timed out and was rolled back; retry")
        if answer is not None:
            request, kept = answer
            await self.kept_answers.keep(connection, request, kept)

    async def interrupt(self, opened: Opened) -> None:
        """Leaves a change open whose end is unknown."""
        await self.changes.interrupt(opened.change_id, opened.holder)

    async def renew(self, opened: Opened) -> bool:
        """Renews the lease. Returns False if it is lost."""
        return await self.changes.renew(opened.change_id, opened.holder)

    async def _open(self, connection: AsyncConnection, opening: Opening) -> Opened | None:
        intent, request = opening.intent, opening.request
        change_id = await self._claim(connection, intent, request)
        # After the claim: a change of another replica that ended meanwhile was not interrupted, and must not be undone.
        found = await self.changes.find_open(connection, intent.lock, request, but=change_id)
        _require_unclaimed(found, request)
        # After the claim: a request with the same key that ended meanwhile has committed its answer by now.
        if request is not None and (kept := await self.kept_answers.find(connection, request)):
            raise _AlreadyAnsweredError(kept)
        if change_id is None:
            return None
        rate = None if opening.rate is None else await self._take(connection, opening.rate, intent.actor)
        if opening.also is not None:
            await opening.also(connection)
        names = () if request is None else request.names
        interrupted = [Interrupted(row.operation, row.action, row.request_name in names) for row in found]
        return Opened(change_id, intent.operation, rate, interrupted)

    async def _claim(self, connection: AsyncConnection, intent: Intent, request: SealedRequest | None) -> int | None:
        """The id of the change that now has the user's lock and the Idempotency-Key, None while another one runs."""
        change_id = await self.changes.insert_running(connection, intent, request)
        if change_id is None and await self.changes.release_expired(connection, intent.lock, request):
            change_id = await self.changes.insert_running(connection, intent, request)
        return change_id

    async def _replay(
        self, intent: Intent, request: SealedRequest, kept: KeptAnswer, policy: RatePolicy | None
    ) -> Opened:
        if kept.fingerprint != request.fingerprint:
            raise IdempotencyKeyReusedError(_REUSED)
        answer = request.unseal(kept.sealed)
        if answer is None:
            raise ConflictError(f"This Idempotency-Key created {kept.resource_id}; its secret cannot be shown again")
        rate = None
        if policy is not None:
            async with self.database.reading() as connection:
                rate = await self.rates.peek(connection, policy, intent.actor)
        self.metrics.idempotent_replays.inc()
        return Opened(0, "", rate, kept_answer=orjson.loads(answer))

    async def _take(self, connection: AsyncConnection, policy: RatePolicy, subject: str) -> RateLimit:
        rate = await self.rates.take(connection, policy, subject)
        if rate.retry_after:
            self.metrics.rate_limited.labels(policy.name).inc()
            raise RateLimitedError(rate)
        return rate


def _require_unclaimed(found: Sequence[OpenChange], request: SealedRequest | None) -> None:
    for row in found:
        if request is None or row.request_name not in request.names:
            continue
        if row.fingerprint != request.fingerprint:
            raise IdempotencyKeyReusedError(_REUSED)
        if row.is_running:
            raise request_in_progress()
