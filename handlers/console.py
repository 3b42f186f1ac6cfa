"""The console: a page, its files, and what it has to know before anybody signs in."""

from __future__ import annotations

import gzip
import hashlib
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from starlette.responses import HTMLResponse, Response

from domain.errors import NotFoundError
from handlers.responses import accepts, json_response
from services.console import Console
from services.effect import Effect

_PAGE = Path(__file__).parent.parent / "console" / "page"
_MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'{}; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types lit-html"
)
_YEAR = "public, max-age=31536000, immutable"


async def get_console(console: Console) -> Response:
    """`GET /console`: 200 with the page, which names the version of its files."""
    page = (_PAGE / "index.html").read_text("utf-8").replace("{version}", _version())
    refresh = urlsplit(console.settings.refresh_url or "")
    policy = _CONTENT_POLICY.format(f" {refresh.scheme}://{refresh.netloc}" if refresh.netloc else "")
    return HTMLResponse(page, headers={"Content-Security-Policy": policy, "Cache-Control": "no-cache"})


async def get_console_settings(console: Console, effect: Effect) -> Response:
    """`GET /console/settings`: 200."""
    settings = console.settings
    people = [{"userId": user_id, "role": role} for user_id, role in console.people.items()]
    body = {"modelsUrl": settings.models_url, "refreshUrl": settings.refresh_url, "contact": settings.contact}
    return json_response(body | {"people": people, "effectiveWithin": effect.seconds})


async def get_console_asset(version: str, asset: str, accept_encoding: str | None = None) -> Response:
    """`GET /console/{version}/{asset}`: 200, or 404. Of another version it is the present file, not to be kept."""
    content, compressed = _asset(asset)
    headers = {"Vary": "Accept-Encoding", "Cache-Control": _YEAR if version == _version() else "no-store"}
    media_type = _MEDIA_TYPES[Path(asset).suffix]
    if accepts(accept_encoding, "gzip"):
        return Response(compressed, headers=headers | {"Content-Encoding": "gzip"}, media_type=media_type)
    return Response(content, headers=headers, media_type=media_type)


@cache
def _files() -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(_PAGE.iterdir()) if file.suffix in _MEDIA_TYPES}


@cache
def _version() -> str:
    files = b"".join(name.encode() + content for name, content in _files().items())
    return hashlib.sha256(files).hexdigest()[:16]


@cache
def _compressed(name: str) -> bytes:
    return gzip.compress(_files()[name], mtime=0)


def _asset(name: str) -> tuple[bytes, bytes]:
    if name not in _files():
        raise NotFoundError(f"The console has no file {name}")
    return _files()[name], _compressed(name)
