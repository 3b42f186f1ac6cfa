"""The operation on `/audit`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict, Unpack

from msgspec import field
from starlette.responses import Response

from domain import refs
from domain.actions import Action, AuditFilters, Outcome
from domain.identity import Principal
from domain.times import seconds_of
from handlers.responses import Answer, iso, json_response, next_link
from services.changes.audit_log import AuditLog


class _AuditEvent(Answer):
    id: int
    started_at: str = field(name="at")
    actor: str
    via: str | None
    action: Action
    target: str | None
    key_id: str | None
    key_stable_id: str | None
    key_version: int | None
    request_id: str | None
    before: Mapping[str, Any] | None
    requested: Mapping[str, Any] | None
    outcome: Outcome | None
    ended_at: str | None = field(name="finishedAt")
    after: Mapping[str, Any] | None
    detail: str | None
    repetitions: int


class _AuditQuery(TypedDict):
    actor: str | None
    target: str | None
    action: str | None
    since: str | None
    until: str | None


async def get_audit(
    service: AuditLog, principal: Principal, limit: int | None, cursor: str | None, **query: Unpack[_AuditQuery]
) -> Response:
    """`GET /audit`: 200 with a page of events."""
    since, until = (seconds_of(text, name) if (text := query[name]) else None for name in ("since", "until"))
    actor = query["actor"] and refs.canonical(query["actor"])
    filters = AuditFilters(actor=actor, target=query["target"], action=query["action"], since=since, until=until)
    page = await service.page(principal, filters, limit=limit, cursor=cursor)
    link = next_link(("audit",), page, **query, limit=limit)
    events = [_AuditEvent.of(row, started_at=iso(row.started_at), ended_at=iso(row.ended_at)) for row in page.items]
    return json_response({"events": events, "nextCursor": page.next_cursor}, headers=link)
