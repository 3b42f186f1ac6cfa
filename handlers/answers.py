"""How handlers read what was asked, and how they answer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

import inflection
import orjson
from starlette.responses import JSONResponse, Response

from domain.errors import Allowance, InputError

_BASE = "/api/litellm-orchestrator"
_ENTITY_TAG = re.compile(r'(W/)?"([^"]*)"')


class _Line(JSONResponse):
    """JSON that ends its line, for those who read it in a terminal."""

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE)


def answer(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`body` as JSON, which nobody on the way may store: it may hold a secret, and is somebody's own."""
    return _Line(body, status, headers={"Cache-Control": "no-store", **(headers or {})})


def asked(body: Mapping[str, Any] | None) -> dict[str, Any]:
    """The fields of a body, under the services' names."""
    return {inflection.underscore(name): value for name, value in (body or {}).items()}


def versions(if_match: str | None) -> frozenset[str] | None:
    """The versions that `If-Match` takes; None is any (RFC 9110, section 13.1.1). A weak tag never matches."""
    if if_match is None or if_match.strip() == "*":
        return None
    return frozenset(tag for weak, tag in _ENTITY_TAG.findall(if_match) if not weak)


def entity_tag(version: str) -> dict[str, str]:
    """The header for a version."""
    return {"ETag": f'"{version}"'}


def next_link(path: str, next_cursor: str | None, query: Mapping[str, Any]) -> dict[str, str]:
    """The header for the page after this one, none where there is none (RFC 8288)."""
    if next_cursor is None:
        return {}
    given = {name: value for name, value in query.items() if value is not None} | {"cursor": next_cursor}
    return {"Link": f'<{_BASE}{path}?{urlencode(given, quote_via=quote)}>; rel="next"'}


def rate_headers(allowance: Allowance) -> dict[str, str]:
    """What is left of the caller's rate (draft-ietf-httpapi-ratelimit-headers)."""
    return {
        "RateLimit": f'"{allowance.name}";r={allowance.remaining};t={allowance.reset}',
        "RateLimit-Policy": f'"{allowance.name}";q={allowance.limit};w={allowance.window}',
    }


def iso(seconds: float | None) -> str | None:
    """Seconds since the epoch in ISO 8601."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def seconds(moment: str | None, name: str) -> float | None:
    """Seconds since the epoch of an ISO 8601 time. Raises InputError."""
    try:
        return None if moment is None else datetime.fromisoformat(moment).timestamp()
    except ValueError as error:
        raise InputError(f"{name} must be a time such as 2026-11-23T12:00:00Z") from error
