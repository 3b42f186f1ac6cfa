"""The write path. Every change of this service, by a caller or a background job, goes through it.

    async with changes.begin(principal, Action.KEY_DELETE, owner, key_id=key_id) as change:
        ...                       # call LiteLLM, verify
        await change.done(...)    # record the outcome

It checks authority, waits for earlier changes to the same user, opens the change (transaction 1), and renews its lease
while it runs. `done` ends it (transaction 2). A CallerError ends it as failed; anything else leaves it open, because
LiteLLM may have acted, and reconciliation ends it. A crash between any two steps has the same effect.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import structlog

from domain.actions import Action, AuditEvent, Ending, Intent, Outcome
from domain.errors import CallerError, InputError, NotAllowedError, RateLimitedError, UpstreamError, ValuesRefusedError
from domain.identity import Principal, Scope
from domain.keys import KeyVersion, is_stable_id
from domain.redaction import Redaction
from domain.refs import canonical
from services.access import authorize, is_background_job
from services.changes.change import Change
from services.changes.queue import ChangeQueue, overloaded
from services.changes.refusals import Refusals
from services.changes.sealing import Sealing
from state.changes import LEASE_SECONDS, ChangeTable, Opened, Opening, Write
from state.kept_answers import KEPT_SECONDS
from state.rates import RatePolicy
from telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

Sleep = Callable[[float], Awaitable[None]]

_RENEWAL_SECONDS = LEASE_SECONDS / 3
_RETRY_SECONDS = 1.0
_POLL_SECONDS = 0.2
TAKE_AWAY_SECONDS = 300.0
"""How long a caller's change waits that takes access away: enough for a page that deletes a hundred keys at once over
several replicas."""
OFFBOARDING_SECONDS = LEASE_SECONDS + 2.0
"""How long one of the off-boarding waits: it gets the lock of a dead process in the end; what takes longer is left to
the next run."""


@dataclass(frozen=True, slots=True)
class Context:
    """Where ids and waiting come from. `request_id` is the id of the current request, None outside of one.

    A change waits at most `patience` seconds for others of the same user, here and at other replicas together.
    """

    new_id: Callable[[], str]
    request_id: Callable[[], str | None]
    sleep: Sleep
    heartbeat: Sleep
    patience: float


@dataclass(frozen=True, kw_only=True)
class Changes:
    """Begins changes."""

    table: ChangeTable
    queue: ChangeQueue
    sealing: Sealing
    refusals: Refusals
    metrics: Metrics
    redaction: Redaction
    context: Context

    @asynccontextmanager
    async def begin(
        self,
        principal: Principal,
        action: Action,
        target: str | None,
        *,
        key_id: str | None = None,
        key_version: KeyVersion | None = None,
        requested: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        rate: RatePolicy | None = None,
        takes_away_within: float | None = None,
        is_worth_it: Callable[[], Awaitable[bool]] | None = None,
        also: Write | None = None,
        in_turn: bool = True,
        kept_for: float = KEPT_SECONDS,
    ) -> AsyncIterator[Change]:
        """One change to the resources of the user `target`, on behalf of `principal`. Without a target it never waits.

        Neither does it if it need not be `in_turn`: then others of the same user run at the same time.

        `key_id` is the hash of a key, or its stable id: then the change has to find which version that is. If the same
        request was answered less than `kept_for` seconds ago, `change.kept_answer` is set, and nothing may be changed.
        What `also` writes is written together with the intent.

        A change that takes access away waits for other replicas as many seconds as it says, and here however many
        others do. Above the `rate` it begins all the same if `is_worth_it` says that there is something to take away.

        Raises NotAllowedError (recorded), RateLimitedError, IdempotencyKeyReusedError, BusyError (the same request is
        running), OverloadedError (other changes of the user take too long), DatabaseUnavailableError. A change never
        begins another change of the same user.
        """
        intent = self._intent(principal, action, target, _names(key_id, key_version), requested)
        intent = intent if in_turn else replace(intent, lock=None)
        scope = await self._authorize(principal, intent)
        request = None
        if idempotency_key is not None:
            content = [action, target, key_id, requested]
            request = await self.sealing.request(principal.subject, idempotency_key, content)
        began = asyncio.get_running_loop().time()
        patience = None if takes_away_within else self.context.patience
        async with self.queue.turn(intent.lock, request.name if request else None, patience=patience):
            waited = asyncio.get_running_loop().time() - began
            left = takes_away_within or self.context.patience - waited
            opening = Opening(intent.masked(self.redaction), request, rate, also, kept_for)
            try:
                opened = await self._open(opening, left)
            except RateLimitedError:
                if takes_away_within is None or is_worth_it is None or not await is_worth_it():
                    raise
                opened = await self._open(replace(opening, rate=None), left)
            change = Change(opened, intent, scope, request, table=self.table, redaction=self.redaction)
            if change.kept_answer is not None:
                self.metrics.idempotent_replays.inc()
                yield change
                return
            async with self._running(change), self._refusals_explained(principal, change):
                yield change

    async def mints_ended(self, owner: str) -> bool:
        """Waits until no short key is being made for the owner. Returns False after half a minute, if one still is."""
        for _ in range(int(LEASE_SECONDS / _POLL_SECONDS)):
            if not await self.table.makes_short_keys(owner):
                return True
            await self.context.sleep(_POLL_SECONDS)
        return False

    @asynccontextmanager
    async def resume(self, event: AuditEvent) -> AsyncIterator[Change]:
        """Takes an interrupted change over to repair it, under its user's lock.

        Raises OverloadedError if it, or another change of the user, is running.
        """
        opened = Opened(event.id, self.context.new_id())
        if not await self.table.resume(opened.id, opened.holder):
            raise overloaded(event.target)
        intent = Intent(event.operation, event.actor, event.action, event.target)
        change = Change(opened, intent, Scope.ANY, None, table=self.table, redaction=self.redaction)
        async with self._running(change):
            yield change

    @asynccontextmanager
    async def _running(self, change: Change) -> AsyncIterator[None]:
        heartbeat = asyncio.create_task(self._keep_alive(change))
        try:
            yield
            if change.outcome is None:
                await change.done()
        except CallerError as error:
            if change.outcome is None:
                outcome = Outcome.DENIED if isinstance(error, NotAllowedError) else Outcome.FAILED
                await change.end(Ending(outcome, before=change.before, after=change.refusal, detail=error.message))
            raise
        except BaseException:
            with suppress(UpstreamError):
                await asyncio.shield(change.interrupt())
            raise
        finally:
            if change.key_version is not None and self.context.request_id() is not None:
                # For the line about the request, whose path may have a hash.
                structlog.contextvars.bind_contextvars(key_stable_id=change.key_version.stable_id)
            if change.outcome is not None:
                self.metrics.changes.labels(change.intent.action, change.outcome).inc()
            heartbeat.cancel()
            await asyncio.gather(heartbeat, return_exceptions=True)

    @asynccontextmanager
    async def _refusals_explained(self, principal: Principal, change: Change) -> AsyncIterator[None]:
        """In a caller's request, values that LiteLLM refuses are the caller's fault, and the change has ended.

        In a background job a refusal stays a fault of LiteLLM's, which is tried again: a misread answer ends nothing.
        """
        try:
            yield
        except ValuesRefusedError as error:
            if is_background_job(principal):
                raise
            log.warning("LiteLLM refused the values of a caller", reason=error.reason)
            change.refusal = {"litellmSaid": error.reason}
            request = self.context.request_id() or change.operation
            unknown = f"LiteLLM's policy refuses this; its reason is in the log under the request id {request}"
            raise InputError(error.recognised or unknown) from error

    async def _keep_alive(self, change: Change) -> None:
        """Renews the lease until it is lost. That a renewal failed does not say so: the next one follows soon."""
        wait, is_held = _RENEWAL_SECONDS, True
        while is_held:
            await self.context.heartbeat(wait)
            try:
                is_held, wait = await change.renew(), _RENEWAL_SECONDS
            except Exception:  # whatever it was, nobody said that the lease is lost
                log.exception("a lease could not be renewed yet", operation=change.operation)
                wait = _RETRY_SECONDS

    async def _open(self, opening: Opening, seconds: float) -> Opened:
        for _ in range(max(1, int(seconds / _POLL_SECONDS))):
            try:
                opened = await self.table.open(opening)
            except RateLimitedError as error:
                self.metrics.rate_limited.labels(error.rate.name).inc()
                raise
            if opened is not None:
                return opened
            await self.context.sleep(_POLL_SECONDS)
        raise overloaded(opening.intent.target)

    @asynccontextmanager
    async def checking(self, principal: Principal, action: Action, target: str | None) -> AsyncIterator[None]:
        """What has to be checked before a change begins: the authority, as `begin` does, and what stands within.

        A CallerError is recorded as its end. Raises NotAllowedError, RateLimitedError if there were too many such ends.
        """
        intent = self._intent(principal, action, target, {}, None)
        await self._authorize(principal, intent)
        try:
            yield
        except CallerError as error:
            await self.refusals.record(intent, Ending(Outcome.FAILED, detail=error.message))
            raise

    async def _authorize(self, principal: Principal, intent: Intent) -> Scope:
        try:
            return authorize(principal, intent.action.permission, intent.target)
        except NotAllowedError as error:
            await self.refusals.record(intent, Ending(Outcome.DENIED, detail=error.message))
            raise

    def _intent(
        self,
        principal: Principal,
        action: Action,
        target: str | None,
        key: Mapping[str, Any],
        requested: Mapping[str, Any] | None,
    ) -> Intent:
        return Intent(
            operation=self.context.new_id(),
            actor=principal.subject,
            via=principal.via,
            action=action,
            target=target,
            lock=None if target is None else canonical(target),
            request_id=self.context.request_id(),
            requested=requested,
            **key,
        )


def _names(key_id: str | None, key_version: KeyVersion | None) -> dict[str, Any]:
    """What the intent says of its key."""
    if key_id is not None and is_stable_id(key_id):
        return {"key_stable_id": key_id}
    version = {} if key_version is None else {"key_stable_id": key_version.stable_id, "key_version": key_version.number}
    return {"key_id": key_id} | version
