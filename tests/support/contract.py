"""Checks every response that a test sees against `openapi.yaml`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any
from urllib.parse import unquote

import httpx
from openapi_schema_validator import OAS30ReadValidator, oas30_format_checker

from app import contract

PATIENCE_SECONDS = 60
METHODS = {"get", "post", "put", "patch", "delete", "head", "options", "trace"}
CONTRACT_DOCUMENT = contract()


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    """`node`, or what it refers to in the contract."""
    while "$ref" in node:
        target: Any = CONTRACT_DOCUMENT
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        node = target
    return node


def operations() -> dict[str, tuple[str, str, dict[str, Any]]]:
    """OperationId to its method, full path template and definition."""
    found = {}
    for path, item in CONTRACT_DOCUMENT["paths"].items():
        base = item.get("servers", CONTRACT_DOCUMENT["servers"])[0]["url"].rstrip("/")
        for method in (name for name in item if name in METHODS):
            found[item[method]["operationId"]] = (method.upper(), base + path, item[method])
    return found


_PATTERNS = [
    (method, re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template))), definition)
    for method, template, definition in operations().values()
]


_SLASH_AT_THE_END = re.compile(r"(?<=[^/])/$")
# A ref whose slash a proxy has decoded, as the service reads it.
_HALF_A_REF = re.compile(r"^(/api/litellm-orchestrator/users/[A-Za-z0-9._-]+(?::|%3[Aa])[A-Za-z0-9._-]+)/(?=[^/])")
# An encoded letter or digit is the same path (RFC 3986, section 6.2.2.2).
_NEEDLESSLY_ENCODED = re.compile(r"%(?:3[0-9]|[46][1-9A-Fa-f]|[57][0-9Aa])")


def check(response: httpx.Response, target: bytes | None = None) -> None:
    """Assert that the contract has this status, these headers, this media type and this body for what was asked.

    `target` is what was sent as the path, where that is not what httpx makes of it.
    """
    assert "x-request-id" in response.headers
    path = (target or response.request.url.raw_path).split(b"?")[0].decode("latin-1")
    path = _NEEDLESSLY_ENCODED.sub(lambda found: unquote(found[0]), path)
    path = _HALF_A_REF.sub(r"\1%2F", _SLASH_AT_THE_END.sub("", path))
    asked = "GET" if response.request.method == "HEAD" else response.request.method
    matching = [row for method, pattern, row in _PATTERNS if method == asked and pattern.fullmatch(path)]
    if not matching:
        assert response.status_code in (400, 404, 405), f"{asked} {unquote(path)}: {response.status_code}"
        if path.startswith("/api/litellm-orchestrator/oauth/") and response.request.method != "HEAD":
            _validate({"$ref": "#/components/schemas/OAuthError"}, response.json())
        else:
            check_error_body(response)
        return
    responses = matching[0]["responses"]
    assert str(response.status_code) in responses, f"{response.status_code} is not in the contract: {response.text}"
    definition = resolved(responses[str(response.status_code)])
    for name, header in definition["headers"].items():
        assert name in response.headers or not resolved(header).get("required"), name
        if name in response.headers:
            _validate(resolved(header)["schema"], _typed(response.headers[name]))
    if "content" not in definition:
        assert response.content == b""
        return
    media_type = response.headers["content-type"].split(";")[0]
    assert media_type in definition["content"]
    if response.request.method == "HEAD":
        assert response.content == b""
        return
    if media_type == "application/json":
        _validate(definition["content"][media_type]["schema"], response.json())
    if response.status_code >= 400 and "dependencies" not in response.json() and "/oauth/" not in path:
        check_error_body(response)


def check_error_body(response: httpx.Response) -> None:
    """Assert that it is Backstage's error body and says the same status as the answer."""
    if response.request.method == "HEAD":
        assert response.content == b""
        return
    body = response.json()
    _validate({"$ref": "#/components/schemas/ApiError"}, body)
    assert {"name": body["name"], "message": body["message"]} == body["error"]
    assert body["response"]["statusCode"] == response.status_code
    assert body["request"]["method"] == response.request.method
    assert "Traceback" not in response.text


def _typed(header: str) -> Any:
    return json.loads(header) if header.isdecimal() else header


def is_valid(value: Any, schema: dict[str, Any]) -> bool:
    """Whether the contract allows `value` where it has `schema`."""
    return bool(_validator(json.dumps(schema)).is_valid(value))


def _validate(schema: dict[str, Any], instance: Any) -> None:
    _require_valid(json.dumps(schema), json.dumps(instance))


@lru_cache(4096)
def _require_valid(schema: str, instance: str) -> None:
    """The same answers come again and again, and jsonschema is slow."""
    _validator(schema).validate(json.loads(instance))


@cache
def _validator(schema: str) -> OAS30ReadValidator:
    return OAS30ReadValidator(_inlined(json.loads(schema)), format_checker=oas30_format_checker)


def _inlined(node: Any) -> Any:
    """With what it refers to in its place: jsonschema would look that up for each value."""
    if isinstance(node, list):
        return [_inlined(part) for part in node]
    return {name: _inlined(part) for name, part in resolved(node).items()} if isinstance(node, dict) else node


def checked_client(
    base_url: str,
    token: str | None,
    *,
    transport: httpx.AsyncBaseTransport | None = None,
    observe: Callable[[httpx.Response], None] = check,
) -> httpx.AsyncClient:
    """A caller with `token`. `observe` sees each response; it checks them against the contract unless told otherwise.

    A transport of None is the network.
    """

    async def on_response(response: httpx.Response) -> None:
        await response.aread()
        observe(response)

    return httpx.AsyncClient(
        transport=transport,
        base_url=base_url,
        headers={"Authorization": f"Bearer {token}"} if token else {},
        timeout=PATIENCE_SECONDS,
        event_hooks={"response": [on_response]},
    )
