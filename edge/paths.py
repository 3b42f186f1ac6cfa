"""Paths whose segments may hold an encoded `/`, such as `/users/user%3Adefault%2Falice`.

uvicorn decodes a path before it is routed, and `user:default/alice` falls apart into two segments. This rebuilds the
path from the bytes that were sent, decoding each segment by itself and keeping `/` and `%` encoded; `decode_segment`
undoes that once the path is routed. Only `raw_path` is trusted: test clients differ in how they decode `path`.
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from starlette.types import ASGIApp, Receive, Scope, Send

from domain.errors import InputError


class RawPath:
    """ASGI middleware: `scope["path"]` rebuilt from `scope["raw_path"]`. Raises InputError."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["path"] = "/".join(_routable(segment) for segment in scope["raw_path"].split(b"/"))
        await self._app(scope, receive, send)


def decode_segment(routed: str) -> str:
    """A path parameter as it was meant, from what `RawPath` let through the router."""
    return routed.replace("%2F", "/").replace("%25", "%")


def _routable(segment: bytes) -> str:
    try:
        decoded = unquote_to_bytes(segment).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError("The path is not UTF-8 once percent-decoded") from error
    if any(character < " " or character == "\x7f" for character in decoded):
        raise InputError("The path holds a control character")
    if decoded in (".", ".."):
        raise InputError("The path has a . or .. segment; send the path itself")
    return decoded.replace("%", "%25").replace("/", "%2F")
