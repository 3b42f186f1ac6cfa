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
from dataclasses import dataclass
from typing import Any

from domain.audit import Action, AuditEvent, Ending, Intent, Outcome
from domain.errors import BusyError, CallerError, NotAllowedError, UpstreamError
from domain.identity import Principal
from domain.refs import canonical
from services.access import Access, authorize_change
from services.changes.change import Change
from services.changes.queue import ChangeQueue
from services.changes.sealing import SealedRequest, Sealing
from services.changes.store import ChangeStore, Opened
from state.changes import LEASE_SECONDS
from state.rates import RatePolicy

Sleep = Callable[[float], Awaitable[None]]

_POLL_SECONDS = 0.2
_MAX_POLLS = 160
"""Together longer than a lease: a request that waits for a dead process gets the lock in the end."""


@dataclass(frozen=True, slots=True)
class Context:
    """Where ids and waiting come from. `request_id` is the id of the current request, None outside of one."""

    new_id: Callable[[], str]
    request_id: Callable[[], str | None]
    sleep: Sleep
    heartbeat: Sleep


@dataclass(frozen=True, kw_only=True)
class Changes:
    """Begins changes."""

    store: ChangeStore
    queue: ChangeQueue
    sealing: Sealing
    context: Context

    @asynccontextmanager
    async def begin(
        self,
        principal: Principal,
        action: Action,
        target: str | None,
        *,
        key_id: str | None = None,
        requested: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        rate: RatePolicy | None = None,
    ) -> AsyncIterator[Change]:
        """One change to the resources of the user `target`, on behalf of `principal`. Without a target it never waits.

        If the same request was answered before, `change.kept_answer` is set, and nothing may be changed. Raises
        NotAllowedError (recorded), RateLimitedError, IdempotencyKeyReusedError, BusyError (the same request is
        running, or another change of the user does not end), DatabaseUnavailableError. A change never begins another
        change of the same user.
        """
        intent = self._intent(principal, action, target, key_id, requested)
        access = await self._authorize(principal, intent)
        request = None
        if idempotency_key is not None:
            content = [action, target, key_id, requested]
            request = self.sealing.request(principal.subject, idempotency_key, content)
        async with self.queue.turn(intent.lock, request.name if request else None):
            opened = await self._open(intent, request, rate)
            change = Change(self.store, opened, intent, access, request)
            if change.kept_answer is not None:
                yield change
                return
            async with self._running(change):
                yield change

    @asynccontextmanager
    async def resume(self, event: AuditEvent) -> AsyncIterator[Change]:
        """Takes an interrupted change over to repair it, under its user's lock.

        Raises BusyError if it, or another change of the user, is running.
        """
        opened = await self.store.resume(event, self.context.new_id())
        if opened is None:
            raise _another_in_progress(event.target)
        intent = Intent(event.operation, event.actor, event.action, event.target)
        change = Change(self.store, opened, intent, Access.FOR_ANOTHER, None)
        async with self._running(change):
            yield change

    @asynccontextmanager
    async def _running(self, change: Change) -> AsyncIterator[None]:
        heartbeat = asyncio.create_task(self._keep_alive(change))
        try:
            yield
            if not change.is_ended:
                await change.done()
        except CallerError as error:
            if not change.is_ended:
                outcome = Outcome.DENIED if isinstance(error, NotAllowedError) else Outcome.FAILED
                await change.end(Ending(outcome, before=change.before, detail=error.message))
            raise
        except BaseException:
            with suppress(UpstreamError):
                await asyncio.shield(change.interrupt())
            raise
        finally:
            heartbeat.cancel()
            await asyncio.gather(heartbeat, return_exceptions=True)

    async def _keep_alive(self, change: Change) -> None:
        while True:
            await self.context.heartbeat(LEASE_SECONDS / 3)
            if not await change.renew():
                return

    async def _open(self, intent: Intent, request: SealedRequest | None, rate: RatePolicy | None) -> Opened:
        for _ in range(_MAX_POLLS):
            opened = await self.store.open(intent, request, rate)
            if opened is not None:
                return opened
            await self.context.sleep(_POLL_SECONDS)
        raise _another_in_progress(intent.target)

    async def authorize(self, principal: Principal, action: Action, target: str | None) -> Access:
        """Checks authority as `begin` does, for a change that begins later. Raises NotAllowedError (recorded)."""
        return await self._authorize(principal, self._intent(principal, action, target, None, None))

    async def _authorize(self, principal: Principal, intent: Intent) -> Access:
        try:
            return authorize_change(principal, intent.action, intent.target)
        except NotAllowedError as error:
            await self.store.refuse(intent, Ending(Outcome.DENIED, detail=error.message))
            raise

    def _intent(
        self,
        principal: Principal,
        action: Action,
        target: str | None,
        key_id: str | None,
        requested: Mapping[str, Any] | None,
    ) -> Intent:
        return Intent(
            operation=self.context.new_id(),
            actor=principal.subject,
            via=principal.via,
            action=action,
            target=target,
            lock=None if target is None else canonical(target),
            key_id=key_id,
            request_id=self.context.request_id(),
            requested=requested,
        )


def _another_in_progress(target: str | None) -> BusyError:
    return BusyError(f"Another change to {target} is in progress; retry")
