"""One connection of a caller: the time to send a request and to read a response, and the size of its path and headers.

Uvicorn waits for ever for the rest of a head or a body, and accepts any number of connections.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from http import HTTPStatus
from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from edge.browsers import FOR_BROWSERS
from edge.errors import error_body, is_oauth, oauth_error_body
from settings.model import ConnectionLimits

CROWDED = "orchestrator.crowded"
"""In a request's state: whether there were more connections than allowed when it began."""

_MAX_HEAD_BYTES = 64 * 1024
# This many above the limit are accepted: they get a 503, or the probe that an orchestrator needs.
_SPARE_CONNECTIONS = 100
_SECONDS_AFTER_BODY = 5
RETRY_AFTER_SECONDS = 5


class _Part(Enum):
    NONE = 0
    HEAD = 1
    BODY = 2


class _HeadTooLargeError(Exception):
    """Stops the parser."""


class Connection(HttpToolsProtocol):
    """Uvicorn's connection with deadlines. Refuses what came too late, or is too large, with Backstage's error body."""

    def __init__(self, *args: Any, limits: ConnectionLimits, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limits = limits
        self._writing: asyncio.TimerHandle | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._deadline_of = self._incomplete = _Part.NONE
        self._parsed_bytes = self._unparsed_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        if len(self.connections) > self._limits.max_connections + _SPARE_CONNECTIONS:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "ServiceUnavailableError", "Too many connections; retry later")
        else:
            self._expect(_Part.HEAD)

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect(_Part.NONE)
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._incomplete is _Part.HEAD:
            # Also a single header that has no end: the parser tells of each when it is complete.
            self._unparsed_bytes += len(data)
            if self._unparsed_bytes > _MAX_HEAD_BYTES:
                self._refuse_head()
                return
        # Only now: most requests arrive at once, and need no timer. Between two requests the parser skips empty lines,
        # for which uvicorn stops its own timer.
        is_idle = self._incomplete is _Part.NONE and not self._is_responding
        self._expect(_Part.HEAD if is_idle else self._incomplete)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"][CROWDED] = len(self.connections) > self._limits.max_connections
        self._incomplete = _Part.HEAD
        self._parsed_bytes = self._unparsed_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer after a body in chunks."""
        self._count(len(name) + len(value) + len(": \r\n"))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._expect(_Part.NONE)
        self._incomplete = _Part.BODY

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._incomplete = _Part.NONE

    def pause_writing(self) -> None:
        super().pause_writing()
        self._writing = self.loop.call_later(self._limits.body_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # uvicorn's text says nothing more
        if self._parsed_bytes > _MAX_HEAD_BYTES:
            self._refuse_head()
        else:
            self._refuse(HTTPStatus.BAD_REQUEST, "InputError", "The request is not valid HTTP/1.1")

    @property
    def _is_responding(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _expect(self, part: _Part) -> None:
        """Sets the deadline for what is to arrive next, unless it is set already."""
        if part is self._deadline_of:
            return
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._deadline_of = part
        if part is _Part.HEAD:
            self._deadline = self.loop.call_later(self._limits.head_seconds, self._head_is_late)
        elif part is _Part.BODY:
            # The application answers a late body; this is for a body that nobody reads.
            seconds = self._limits.body_seconds + _SECONDS_AFTER_BODY
            self._deadline = self.loop.call_later(seconds, self.transport.close)

    def _count(self, size: int) -> None:
        """Counts what was parsed, however many reads it came in. Raises _HeadTooLargeError, which uvicorn refuses."""
        self._parsed_bytes += size
        if self._parsed_bytes > _MAX_HEAD_BYTES:
            raise _HeadTooLargeError

    def _refuse_head(self) -> None:
        message = f"The path and the headers are larger than {_MAX_HEAD_BYTES} bytes"
        self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "RequestHeaderFieldsTooLargeError", message)

    def _head_is_late(self) -> None:
        message = f"The path and the headers did not arrive within {self._limits.head_seconds:g} s"
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, "RequestTimeoutError", message)

    def _error(self, status: HTTPStatus, name: str, message: str) -> dict[str, Any]:
        # There is none before a request has begun, and a part of one while its line arrives.
        if is_oauth(getattr(self, "url", b"")):
            return oauth_error_body(status, message)
        return error_body(status, name, message, method="", url="")

    def _refuse(self, status: HTTPStatus, name: str, message: str) -> None:
        """Answers without a request, and closes. While a response is under way, it only closes."""
        self._expect(_Part.NONE)
        if not self._is_responding and not self.transport.is_closing():
            body = orjson.dumps(self._error(status, name, message))
            head = [f"HTTP/1.1 {status.value} {status.phrase}", "Content-Type: application/json", "Connection: close"]
            head += [f"Content-Length: {len(body)}", "Cache-Control: no-store"]
            head += [f"{name}: {value}" for name, value in FOR_BROWSERS.items()]
            if status == HTTPStatus.SERVICE_UNAVAILABLE:
                head.append(f"Retry-After: {RETRY_AFTER_SECONDS}")
            self.transport.write("\r\n".join([*head, "", ""]).encode() + body)
        self.transport.close()
