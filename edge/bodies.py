"""Reads bodies strictly, JSON (RFC 8259) and forms: rejects what two parsers could read differently."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from domain.errors import InputError
from edge.errors import RoutingError

MAX_BYTES = 64 * 1024
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
ABSENT: Any = object()
"""No body at all, as opposed to `null`."""

# The rest of the body would be read as the next request.
_CLOSE = {"Connection": "close"}


async def read_json(headers: Headers, receive: Receive, seconds: float) -> Any:
    """The parsed body, or ABSENT. Raises InputError; RoutingError for 413 and 415, and for 408 after `seconds`."""
    content = await _read_in_time(headers, receive, seconds)
    if not content:
        return ABSENT
    _require(headers, JSON, "JSON")
    return parse_json(content)


async def read_form(headers: Headers, receive: Receive, seconds: float) -> Any:
    """The fields of a form, or ABSENT. Raises as `read_json` does; a field must not appear twice."""
    content = await _read_in_time(headers, receive, seconds)
    if not content:
        return ABSENT
    _require(headers, FORM, "a form")
    return parse_form(content)


def parse_form(content: bytes) -> dict[str, str]:
    """Parses an `application/x-www-form-urlencoded` body in UTF-8. Raises InputError."""
    fields: dict[str, str] = {}
    try:
        pairs = parse_qsl(content.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict")
    except ValueError as error:  # UnicodeDecodeError among them
        raise InputError("The body is not a form in UTF-8: name=value pairs, joined by &, percent-encoded") from error
    for name, value in pairs:
        if name in fields:
            raise InputError("The form has a field more than once")
        fields[name] = value
    return fields


def parse_json(content: bytes) -> Any:
    """Parses `content`. Raises InputError."""
    try:
        parsed = json.loads(content.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant)
        # A lone surrogate is a valid escape but not valid text: it could not be sent on.
        json.dumps(parsed, ensure_ascii=False).encode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError("The body is not UTF-8") from error
    except UnicodeEncodeError as error:
        raise InputError("The body contains half of a surrogate pair") from error
    except RecursionError as error:
        raise InputError("The body is nested too deeply") from error
    except json.JSONDecodeError as error:
        raise InputError(f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from error
    except ValueError as error:
        raise InputError("The body contains a number with too many digits") from error
    return parsed


async def _read_in_time(headers: Headers, receive: Receive, seconds: float) -> bytes:
    try:
        async with asyncio.timeout(seconds):
            return await _read(headers, receive)
    except TimeoutError as error:
        message = f"The body did not arrive within {seconds:g} s"
        raise RoutingError(HTTPStatus.REQUEST_TIMEOUT, "RequestTimeoutError", message, _CLOSE) from error


async def _read(headers: Headers, receive: Receive) -> bytes:
    declared = headers.get("content-length", "0")
    if declared.isdecimal() and int(declared[:20]) > MAX_BYTES:
        raise _too_large()
    content = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        content += message.get("body", b"")
        if len(content) > MAX_BYTES:
            raise _too_large()
        more = message.get("more_body", False)
    return bytes(content)


def _require(headers: Headers, wanted: str, noun: str) -> None:
    media_type, *parameters = (part.strip().lower() for part in headers.get("content-type", "").split(";"))
    charsets = [value.strip('"') for name, _, value in (p.partition("=") for p in parameters) if name == "charset"]
    if media_type != wanted or any(charset not in ("utf-8", "utf8") for charset in charsets):
        raise RoutingError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "UnsupportedMediaTypeError",
            f"The body must be {noun} in UTF-8, with Content-Type: {wanted}",
        )


def _too_large() -> RoutingError:
    message = f"The body is larger than {MAX_BYTES} bytes"
    return RoutingError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "PayloadTooLargeError", message, _CLOSE)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InputError("The body has an object with a duplicate field")
    return found


def _refuse_constant(_: str) -> Any:
    raise InputError("The body has NaN or Infinity, which are not JSON")
