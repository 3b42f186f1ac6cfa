"""The operation on `/audit`."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from handlers.answers import answer, iso, next_link, seconds
from services.access import Principal
from services.container import Services
from state.changes import Conclusion, Event, Filters


async def get_audit(
    services: Services, principal: Principal, limit: int | None, cursor: str | None, **given: str | None
) -> Response:
    """200 with a page of events."""
    since, until = seconds(given["since"], "since"), seconds(given["until"], "until")
    actor, target = (ref and ref.lower() for ref in (given["actor"], given["target"]))
    filters = Filters(actor=actor, target=target, action=given["action"], since=since, until=until)
    page = await services.audit.events(principal, filters, limit=limit, cursor=cursor)
    link = next_link("/audit", page.next_cursor, {**given, "limit": limit})
    return answer({"events": [_rendered(event) for event in page.items], "nextCursor": page.next_cursor}, headers=link)


def _rendered(event: Event) -> dict[str, Any]:
    intent = event.intent
    ended = event.conclusion or Conclusion("")
    return {
        "id": event.id,
        "at": iso(event.at),
        "actor": intent.actor,
        "via": intent.via,
        "action": intent.action,
        "target": intent.target,
        "keyId": intent.key_id or ended.key_id,
        "requestId": intent.request_id,
        "before": intent.before,
        "wanted": intent.wanted,
        "outcome": ended.outcome or None,
        "finishedAt": iso(event.finished_at),
        "after": ended.after,
        "detail": ended.detail,
    }
