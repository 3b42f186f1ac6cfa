"""How handlers read requests and render responses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Self
from urllib.parse import quote, urlencode

import orjson
from msgspec import Struct, to_builtins
from starlette.responses import JSONResponse, Response

from domain.identity import BASE_PATH
from domain.pages import Page
from domain.rates import RateLimit
from domain.times import text_of

_ITEMS_AT_ONCE = 500
_WEIGHT = re.compile(r"[01](\.[0-9]{0,3})?")


class Answer(Struct, kw_only=True, rename="camel"):
    """What shows a noun: named after its schema in the contract, with the fields in camelCase. UNSET is left out."""

    @classmethod
    def of(cls, noun: object, **more: Any) -> Self:
        """The answer with `more`, and what `noun` has under the names of the other fields."""
        return cls(**more, **{name: getattr(noun, name) for name in cls.__struct_fields__ if name not in more})

    def __repr__(self) -> str:
        return type(self).__name__  # it may have a secret


class _JsonLine(JSONResponse):
    """JSON with a newline at the end, for terminals."""

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content, default=to_builtins, option=orjson.OPT_APPEND_NEWLINE)


class _LongJsonLine(JSONResponse):
    """The same of what may be long: each iterator in it becomes an array, some items at a time."""

    def render(self, content: Any) -> Any:
        body = bytearray()
        for part in _parts(content):
            body += part
        body += b"\n"
        return body


def json_response(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`body` as JSON that no cache may store: it is personal and may contain a secret."""
    return _JsonLine(body, status, headers={"Cache-Control": "no-store", **(headers or {})})


def long_json_response(body: Mapping[str, Any]) -> Response:
    """`body` like `json_response`, without more in memory at once than its text; each iterator in it is an array."""
    return _LongJsonLine(body, headers={"Cache-Control": "no-store"})


def entity_tag(version: str) -> dict[str, str]:
    """The `ETag` header of a version."""
    return {"ETag": f'"{version}"'}


def next_link(segments: Sequence[str], page: Page[Any], **query: Any) -> dict[str, str]:
    """The `Link` header to the page after `page` of the list at `segments`; empty on the last page (RFC 8288)."""
    if page.next_cursor is None:
        return {}
    given = {name: value for name, value in query.items() if value is not None} | {"cursor": page.next_cursor}
    return {"Link": f'<{_path(segments)}?{urlencode(given, quote_via=quote)}>; rel="next"'}


def location_of(segments: Sequence[str]) -> dict[str, str]:
    """The `Location` header of the resource at `segments` (RFC 9110, section 10.2.2)."""
    return {"Location": _path(segments)}


def rate_headers(rate: RateLimit | None) -> dict[str, str]:
    """The headers of a rate limit (draft-ietf-httpapi-ratelimit-headers)."""
    if rate is None:
        return {}
    return {
        "RateLimit": f'"{rate.name}";r={rate.remaining};t={rate.reset}',
        "RateLimit-Policy": f'"{rate.name}";q={rate.limit};w={rate.window}',
    }


def effect_headers(seconds: int | None) -> dict[str, str]:
    """The header that says within how many seconds an ended key works nowhere; none if no key was ended."""
    return {} if seconds is None else {"Effective-Within": str(seconds)}


def accepts(accept_encoding: str | None, coding: str) -> bool:
    """Whether `Accept-Encoding` allows `coding` (RFC 9110, section 12.5.3). A weight that is no number is none."""
    weights = {"*": 0.0}
    for part in (accept_encoding or "").lower().split(","):
        name, *parameters = (text.strip() for text in part.split(";"))
        given = [value for key, _, value in (text.partition("=") for text in parameters) if key.strip() == "q"]
        weights[name] = float(given[0]) if given and _WEIGHT.fullmatch(given[0].strip()) else float(not given)
    return weights.get(coding, weights["*"]) > 0


def iso(seconds: float | None) -> str | None:
    """Seconds since the epoch as ISO 8601."""
    return None if seconds is None else text_of(seconds)


def _parts(value: Any) -> Iterator[bytes]:
    """The JSON of `value`, in parts."""
    if isinstance(value, Mapping):
        before = b"{"
        for name, part in value.items():
            yield before + orjson.dumps(name) + b":"
            yield from _parts(part)
            before = b","
        yield b"}" if value else b"{}"
    elif isinstance(value, Iterator):
        before = b"["
        while some := list(islice(value, _ITEMS_AT_ONCE)):
            yield before + orjson.dumps(some)[1:-1]
            before = b","
        yield b"[]" if before == b"[" else b"]"
    else:
        yield orjson.dumps(value)


def _path(segments: Sequence[str]) -> str:
    return "/".join([BASE_PATH, *(quote(segment, safe="") for segment in segments)])
