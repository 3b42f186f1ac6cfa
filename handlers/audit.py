"""The operation on `/audit`."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from domain import refs
from domain.actions import AuditEvent, AuditFilters
from domain.identity import Principal
from domain.times import seconds_of
from handlers.responses import iso, json_response, next_link
from services.changes.audit_log import AuditLog


async def get_audit(
    service: AuditLog, principal: Principal, limit: int | None, cursor: str | None, **query: str | None
) -> Response:
    """`GET /audit`: 200 with a page of events."""
    since, until = (seconds_of(text, name) if (text := query[name]) else None for name in ("since", "until"))
    actor = query["actor"] and refs.canonical(query["actor"])
    filters = AuditFilters(actor=actor, target=query["target"], action=query["action"], since=since, until=until)
    page = await service.page(principal, filters, limit=limit, cursor=cursor)
    link = next_link(("audit",), page.next_cursor, {**query, "limit": limit})
    events = [_event(event) for event in page.items]
    return json_response({"events": events, "nextCursor": page.next_cursor}, headers=link)


def _event(event: AuditEvent) -> dict[str, Any]:
    return {
        "id": event.id,
        "at": iso(event.started_at),
        "actor": event.actor,
        "via": event.via,
        "action": event.action,
        "target": event.target,
        "keyId": event.key_id,
        "requestId": event.request_id,
        "before": event.before,
        "requested": event.requested,
        "outcome": event.outcome,
        "finishedAt": iso(event.ended_at),
        "after": event.after,
        "detail": event.detail,
        "repetitions": event.repetitions,
    }
