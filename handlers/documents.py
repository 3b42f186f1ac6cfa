"""The contract as it is served, a page to read and try it, and the metadata for OAuth clients."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from starlette.responses import HTMLResponse, Response
from swagger_ui_bundle import swagger_ui_path

from handlers.responses import json_response
from services.tokens.metadata import AuthorizationMetadata

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


async def get_authorization_metadata(service: AuthorizationMetadata) -> Response:
    """`GET /.well-known/oauth-authorization-server` below the path of this service: 200 with the metadata."""
    return _metadata(service)


async def get_authorization_metadata_at_root(service: AuthorizationMetadata) -> Response:
    """`GET /.well-known/oauth-authorization-server/…` at the root of the host: 200 with the metadata."""
    return _metadata(service)


@cache
def _contract_text() -> str:
    return (_ROOT / "openapi.yaml").read_text("utf-8")


@cache
def _contract_json() -> str:
    return json.dumps(yaml.load(_contract_text(), Loader=yaml.CSafeLoader))  # a safe loader, and fifteen times as fast


@cache
def _asset(name: str) -> bytes:
    folder = _DOCS if (_DOCS / name).is_file() else Path(str(swagger_ui_path))
    return (folder / name).read_bytes()


def _metadata(service: AuthorizationMetadata) -> Response:
    server = service.server()
    endpoints = {
        "token_endpoint": "/oauth/token",
        "device_authorization_endpoint": "/oauth/device_authorization",
        "revocation_endpoint": "/oauth/revoke",
        "service_documentation": "/docs",
    }
    told: dict[str, Any] = {name: f"{server.issuer}{path}" for name, path in endpoints.items()}
    methods = ("token_endpoint_auth_methods_supported", "revocation_endpoint_auth_methods_supported")
    told |= {"issuer": server.issuer, "grant_types_supported": server.grant_types, "response_types_supported": []}
    return json_response(told | {name: ["none"] for name in methods})
