"""Paths whose segments may contain an encoded `/`, such as `/users/user%3Adefault%2Falice`.

uvicorn decodes a path before routing, which splits `user:default/alice` into two segments. RawPath rebuilds the path
from the bytes that were sent: it decodes each segment and keeps `/` and `%` encoded. `decode_segment` decodes those
after routing. Only `raw_path` is trusted, because test clients decode `path` differently.

Some proxies send the path on decoded, so that a ref stands in two segments. A segment after `users` that is a kind, a
colon and a namespace is the first half of one, and the next is the name, whatever it says. A whole ref has a slash, so
no path that arrives as it was sent changes its meaning.

One slash at the end makes no difference. Pages have relative addresses, so they redirect to the path without it.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from starlette.types import ASGIApp, Receive, Scope, Send

from domain.errors import InputError

_HALF_A_REF = re.compile(r"[A-Za-z0-9._-]+:[A-Za-z0-9._-]+")
_SLASH_AT_THE_END = re.compile(rb"[^/]/\Z")


class RawPath:
    """ASGI middleware: rebuilds `scope["path"]` from `scope["raw_path"]`. Raises InputError.

    `users` is the path below which refs are: that of the users.
    """

    def __init__(self, app: ASGIApp, *, users: str) -> None:
        self._app = app
        self._before_a_ref = users.split("/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            segments = [_decoded(segment) for segment in scope["raw_path"].split(b"/")]
            if ends_in_slash(scope["raw_path"]):
                segments.pop()
            if segments[: len(self._before_a_ref)] == self._before_a_ref:
                segments[len(self._before_a_ref) :] = _with_whole_ref(segments[len(self._before_a_ref) :])
            scope["path"] = "/".join(map(_routable, segments))
        await self._app(scope, receive, send)


def decode_segment(routed: str) -> str:
    """The value of a path parameter that was routed by `RawPath`'s path."""
    return routed.replace("%2F", "/").replace("%25", "%")


def ends_in_slash(raw_path: bytes) -> bool:
    """Whether the path is another one with a slash at its end. Two are not: they would be an empty segment."""
    return _SLASH_AT_THE_END.search(raw_path) is not None


def without_slash(raw_path: bytes) -> str:
    """The path without the slash at its end, relative to itself: a proxy may serve it below any prefix."""
    return "../" + raw_path.rsplit(b"/", 2)[1].decode("ascii")


def _with_whole_ref(segments: list[str]) -> list[str]:
    """The segments after `users`, with a ref that a proxy has decoded in one. Raises InputError."""
    if len(segments) < 2 or not _HALF_A_REF.fullmatch(segments[0]):
        return segments
    half, name, *rest = segments
    if "/" in name:
        raise InputError(
            "The path has an encoded slash behind a decoded one; encode the whole id, as user%3Adefault%2Falice"
        )
    return [f"{half}/{name}", *rest]


def _decoded(segment: bytes) -> str:
    try:
        decoded = unquote_to_bytes(segment).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError("The path is not UTF-8 once percent-decoded") from error
    if any(character < " " or character == "\x7f" for character in decoded):
        raise InputError("The path contains a control character")
    if decoded in (".", ".."):
        raise InputError("The path contains a . or .. segment; send the resolved path")
    return decoded


def _routable(decoded: str) -> str:
    return decoded.replace("%", "%25").replace("/", "%2F")
