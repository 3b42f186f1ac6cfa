"""The contract as it is served, and a page to read and try it."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import yaml
from starlette.responses import HTMLResponse, Response
from swagger_ui_bundle import swagger_ui_path

_ROOT = Path(__file__).parent.parent
_DOCS = Path(__file__).parent / "docs"
# Swagger UI sets styles from its script; everything else comes from this service.
_CONTENT_POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".png": "image/png"}


async def get_openapi_yaml() -> Response:
    """`GET /openapi.yaml`: 200 with the file as written."""
    return Response(_contract_text(), media_type="application/yaml")


async def get_openapi_json() -> Response:
    """`GET /openapi.json`: 200 with the same contract as JSON."""
    return Response(_contract_json(), media_type="application/json")


async def get_docs() -> Response:
    """`GET /docs`: 200 with the page."""
    return HTMLResponse((_DOCS / "index.html").read_text("utf-8"), headers={"Content-Security-Policy": _CONTENT_POLICY})


async def get_docs_asset(asset: str) -> Response:
    """`GET /docs/{asset}`: 200 with a script or style of the page. The contract lists the names."""
    return Response(_asset(asset), media_type=_MEDIA_TYPES[Path(asset).suffix])


@cache
def _contract_text() -> str:
    return (_ROOT / "openapi.yaml").read_text("utf-8")


@cache
def _contract_json() -> str:
    return json.dumps(yaml.safe_load(_contract_text()))


@cache
def _asset(name: str) -> bytes:
    folder = _DOCS if (_DOCS / name).is_file() else Path(str(swagger_ui_path))
    return (folder / name).read_bytes()
