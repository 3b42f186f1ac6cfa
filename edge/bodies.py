"""Reads JSON bodies strictly: rejects what two parsers could read differently (RFC 8259)."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from domain.errors import InputError
from edge.errors import RoutingError

MAX_BYTES = 64 * 1024
ABSENT: Any = object()
"""No body at all, as opposed to `null`."""

# The rest of the body would be read as the next request.
_CLOSE = {"Connection": "close"}


async def read_json(headers: Headers, receive: Receive, seconds: float) -> Any:
    """The parsed body, or ABSENT. Raises InputError; RoutingError for 413 and 415, and for 408 after `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            content = await _read(headers, receive)
    except TimeoutError as error:
        message = f"The body did not arrive within {seconds:g} s"
        raise RoutingError(HTTPStatus.REQUEST_TIMEOUT, "RequestTimeoutError", message, _CLOSE) from error
    if not content:
        return ABSENT
    _require_json(headers)
    return parse_json(content)


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


def _require_json(headers: Headers) -> None:
    media_type, *parameters = (part.strip().lower() for part in headers.get("content-type", "").split(";"))
    charsets = [value.strip('"') for name, _, value in (p.partition("=") for p in parameters) if name == "charset"]
    if media_type != "application/json" or any(charset not in ("utf-8", "utf8") for charset in charsets):
        raise RoutingError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "UnsupportedMediaTypeError",
            "The body must be JSON in UTF-8, with Content-Type: application/json",
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
