"""Paths whose segments may contain an encoded `/`, such as `/users/user%3Adefault%2Falice`.

uvicorn decodes a path before routing, which splits `user:default/alice` into two segments. RawPath rebuilds the path
from the bytes that were sent: it decodes each segment and keeps `/` and `%` encoded. `decode_segment` decodes those
after routing. Only `raw_path` is trusted, because test clients decode `path` differently.
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from starlette.types import ASGIApp, Receive, Scope, Send

from domain.errors import InputError


class RawPath:
    """ASGI middleware: rebuilds `scope["path"]` from `scope["raw_path"]`. Raises InputError."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["path"] = "/".join(_routable(segment) for segment in scope["raw_path"].split(b"/"))
        await self._app(scope, receive, send)


def decode_segment(routed: str) -> str:
    """The value of a path parameter that was routed by `RawPath`'s path."""
    return routed.replace("%2F", "/").replace("%25", "%")


def _routable(segment: bytes) -> str:
    try:
        decoded = unquote_to_bytes(segment).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError("The path is not UTF-8 once percent-decoded") from error
    if any(character < " " or character == "\x7f" for character in decoded):
        raise InputError("The path contains a control character")
    if decoded in (".", ".."):
        raise InputError("The path contains a . or .. segment; send the resolved path")
    return decoded.replace("%", "%25").replace("/", "%2F")
