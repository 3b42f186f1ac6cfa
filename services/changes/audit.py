"""Reading the audit log: who changed what."""

from __future__ import annotations

from dataclasses import dataclass, replace

from domain.audit import AuditEvent, AuditFilters
from domain.identity import Principal, Role
from domain.pages import DEFAULT_PAGE_SIZE, Page, cursor_of, position_in
from services.access import authorize_member
from state.changes import ChangeTable


@dataclass(frozen=True, kw_only=True)
class AuditLog:
    """Reads the changes that the write path recorded."""

    changes: ChangeTable

    async def page(
        self, principal: Principal, filters: AuditFilters, *, limit: int | None, cursor: str | None
    ) -> Page[AuditEvent]:
        """The newest matching events; members see only those that they made or that concern them.

        Raises NotAllowedError, InputError.
        """
        authorize_member(principal)
        if Role.ADMIN not in principal.roles:
            filters = replace(filters, concerning=principal.subject)
        size = limit or DEFAULT_PAGE_SIZE
        before = position_in(cursor, float, int)
        events = await self.changes.page(replace(filters, before=before), size + 1)
        last = events[size - 1] if len(events) > size else None
        return Page(events[:size], cursor_of(last.started_at, last.id) if last else None)
