"""Reading the audit log: who changed what."""

from __future__ import annotations

from dataclasses import dataclass, replace

from domain.actions import Action, AuditEvent, AuditFilters, Outcome
from domain.identity import Permission, Principal, Scope
from domain.pages import DEFAULT_PAGE_SIZE, Page, cursor_of, position_in
from domain.refs import is_software
from services.access import authorize, permits
from state.events import Events

_OF_OWN_REPORT = ("id", "operation", "actor", "via", "action", "request_id", "started_at", "outcome")
_OF_KEY = ("key_id", "key_stable_id", "key_version")
_OF_OWN_CHANGE = (*_OF_OWN_REPORT, *_OF_KEY, "target", "requested", "detail", "ended_at", "repetitions")


@dataclass(frozen=True, kw_only=True)
class AuditLog:
    """Reads the changes that the write path recorded."""

    events: Events

    async def page(
        self, principal: Principal, filters: AuditFilters, *, limit: int | None, cursor: str | None
    ) -> Page[AuditEvent]:
        """The newest matching events; members see only those that they made or that concern them.

        With a group or component that they manage as the target, they see all of its events. Raises NotAllowedError,
        InputError.
        """
        sees_all = permits(principal, Permission.AUDIT_READ).scope is Scope.ANY
        concerned = principal.subject
        if not sees_all and filters.target is not None and is_software(filters.target):
            concerned = filters.target
        if not sees_all:
            authorize(principal, Permission.AUDIT_READ, concerned)
            filters = replace(filters, concerning=concerned)
        size = limit or DEFAULT_PAGE_SIZE
        before = position_in(cursor, float, int)
        events = await self.events.page(replace(filters, before=before), size + 1)
        last = events[size - 1] if len(events) > size else None
        shown = events if sees_all else [_seen_by(concerned, event) for event in events]
        return Page(shown[:size], cursor_of(last.started_at, last.id) if last else None)


def _seen_by(member: str, event: AuditEvent) -> AuditEvent:
    """What a member may know of an event that they made or that concerns them."""
    is_own_report = event.actor == member and event.action is Action.KEY_REPORT
    if event.target == member and not is_own_report:
        # What LiteLLM said when it refused a change can name other people.
        return replace(event, after=None) if event.outcome is Outcome.FAILED else event
    # Of a report neither whether the key exists nor whose it is; of another's resources not their state.
    names = _OF_OWN_REPORT if is_own_report else _OF_OWN_CHANGE
    return AuditEvent(**{name: getattr(event, name) for name in names})
