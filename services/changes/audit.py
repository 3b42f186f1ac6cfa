"""Who changed what: an intent is written down before anything is changed, and its outcome after.

An intent without an outcome was cut short, or ended in an answer that does not tell what happened;
`services/reconciliation.py` puts it in order.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from domain.errors import CallerError, NotAllowedError, UpstreamTimeoutError
from domain.pages import Page, cursor_of, position_in
from domain.redaction import redacted
from services.access import Principal, Role, authorize, authorize_member
from state.changes import AuditLog, Conclusion, Event, Filters, Intent

_PAGE_SIZE = 50


class Action(StrEnum):
    """What is recorded."""

    USER_CREATE = "user.create"
    USER_UPDATE = "user.update"
    USER_DELETE = "user.delete"
    USER_BLOCK = "user.block"
    USER_RESTORE = "user.restore"
    KEY_CREATE = "key.create"
    KEY_UPDATE = "key.update"
    KEY_DELETE = "key.delete"
    KEY_REGENERATE = "key.regenerate"
    KEY_REVOKE = "key.revoke"
    KEY_REPORT = "key.report"


class Outcome(StrEnum):
    """How it ended."""

    DONE = "done"
    FAILED = "failed"
    DENIED = "denied"
    RECONCILED = "reconciled"


@dataclass
class Attempt:
    """One change, being made."""

    intent: Intent
    _log: AuditLog
    _id: int | None = None
    _is_concluded: bool = False

    @property
    def is_open(self) -> bool:
        """Whether it was begun, and its end is not written down yet."""
        return self._id is not None and not self._is_concluded

    async def begin(
        self,
        *,
        before: Mapping[str, Any] | None = None,
        wanted: Mapping[str, Any] | None = None,
    ) -> None:
        """Write down that LiteLLM is about to be asked."""
        self.intent = replace(self.intent, before=redacted(before), wanted=redacted(wanted))
        self._id = await self._log.intend(self.intent)

    async def conclude(
        self,
        outcome: Outcome,
        *,
        key_id: str | None = None,
        after: Mapping[str, Any] | None = None,
        detail: str | None = None,
    ) -> None:
        """Write down how it ended. Raises UpstreamTimeoutError where it took so long that it was undone meanwhile."""
        if self._id is None:
            await self.begin()
        assert self._id is not None
        conclusion = Conclusion(outcome.value, key_id, redacted(after), redacted(detail))
        if not await self._log.conclude(self._id, conclusion):
            raise UpstreamTimeoutError("This took so long that it was taken for dead, and undone; try again")
        self._is_concluded = True


class Audit:
    """The audit log. `request_id` tells which request the running code belongs to."""

    def __init__(self, log: AuditLog, *, new_id: Callable[[], str], request_id: Callable[[], str | None]) -> None:
        self._log = log
        self._new_id = new_id
        self._request_id = request_id

    @asynccontextmanager
    async def attempt(
        self,
        principal: Principal,
        action: Action,
        target: str | None = None,
        key_id: str | None = None,
        *,
        operation: str | None = None,
    ) -> AsyncIterator[Attempt]:
        """Within it authority is checked, the attempt begun, and the change made; then it is done.

        A refusal for want of authority is written down. So is a failure, once begun; but an UpstreamError leaves it
        open, because what was asked may have happened.
        """
        intent = Intent(
            actor=principal.subject,
            via=principal.via,
            action=action.value,
            target=target,
            key_id=key_id,
            request_id=self._request_id(),
            operation=operation or self._new_id(),
        )
        attempt = Attempt(intent, self._log)
        try:
            yield attempt
        except NotAllowedError as error:
            await attempt.conclude(Outcome.DENIED, detail=error.message)
            raise
        except CallerError as error:
            if attempt.is_open:
                await attempt.conclude(Outcome.FAILED, detail=error.message)
            raise
        if attempt.is_open:
            await attempt.conclude(Outcome.DONE)

    async def permit(self, principal: Principal, action: Action, owner: str, key_id: str | None = None) -> None:
        """Raise NotAllowedError, and write it down, unless `principal` may do this to what belongs to `owner`."""
        async with self.attempt(principal, action, owner, key_id):
            authorize(principal, owner)

    async def events(
        self, principal: Principal, filters: Filters, *, limit: int | None, cursor: str | None
    ) -> Page[Event]:
        """The newest events that fit; for others than admins their own only. Raises NotAllowedError, InputError."""
        authorize_member(principal)
        if Role.ADMIN not in principal.roles:
            filters = replace(filters, concerning=principal.subject)
        size = limit or _PAGE_SIZE
        before = position_in(cursor, int)
        events = await self._log.page(replace(filters, before_id=before[0] if before else None), size + 1)
        return Page(events[:size], cursor_of(events[size - 1].id) if len(events) > size else None)
