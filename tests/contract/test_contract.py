"""The contract itself: valid, complete, linted, and one to one with the handlers."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import yaml
from openapi_schema_validator import OAS30ReadValidator
from openapi_spec_validator import OpenAPIV30SpecValidator

from app import CONTRACT
from clients.litellm.fields import KeyRow
from edge.binding import handler_name
from handlers import HANDLERS
from tests.conftest import BASE
from tests.support.contract import CONTRACT_DOCUMENT, operations, resolved

ROOT = Path(__file__).parent.parent.parent
OURS = [
    "id",
    "version",
    "pendingRevocations",
    "revokeAt",
    "replacedBy",
    "blockedBy",
    "blockedAt",
    "source",
    "isSession",
    "oddFields",
]
"""The fields of a key that this service adds."""


def walk(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    yield path, node
    if isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from walk(value, f"{path}/{key}")


def test_it_is_valid_openapi_30() -> None:
    """By the published schema, references resolved."""
    OpenAPIV30SpecValidator(CONTRACT_DOCUMENT).validate()
    assert CONTRACT_DOCUMENT["openapi"] == "3.0.3"
    assert CONTRACT_DOCUMENT["info"]["title"] == "litellm-orchestrator"
    assert [server["url"] for server in CONTRACT_DOCUMENT["servers"]] == [BASE]


def test_operations_and_handlers_are_one_to_one() -> None:
    """Each operationId has its function, each function its operationId, and no two share one."""
    names = [handler_name(operation) for operation in operations()]
    assert sorted(names) == sorted(HANDLERS)
    assert len(set(names)) == len(names)
    assert all(inspect.iscoroutinefunction(HANDLERS[name]) for name in names)


def test_operations_that_the_plugin_had_keep_their_names_and_places() -> None:
    """Callers of the plugin must not notice."""
    assert {name: (method, path) for name, (method, path, _) in operations().items()}.items() >= {
        "createUser": ("POST", f"{BASE}/users"),
        "getUser": ("GET", f"{BASE}/users/{{userId}}"),
        "createUserKey": ("POST", f"{BASE}/users/{{userId}}/keys"),
        "getUserKeys": ("GET", f"{BASE}/users/{{userId}}/keys"),
        "deleteUserKey": ("DELETE", f"{BASE}/users/{{userId}}/keys/{{keyId}}"),
    }.items()


def test_only_documents_the_console_probes_metrics_and_exchanges_are_open() -> None:
    """Everything else wants a bearer token; an exchange is for those who have none."""
    opened = {name for name, (_, _, row) in operations().items() if row.get("security") == []}
    assert CONTRACT_DOCUMENT["security"] == [{"bearer": []}]
    assert opened == {
        "issueToken",
        "authorizeDevice",
        "revokeToken",
        "getAuthorizationMetadata",
        "getAuthorizationMetadataAtRoot",
        "getOpenapiYaml",
        "getOpenapiJson",
        "getDocs",
        "getDocsAsset",
        "getConsole",
        "getConsoleAsset",
        "getConsoleSettings",
        "getLiveness",
        "getReadiness",
        "getMetrics",
    }


def test_lint() -> None:
    """Operations have summaries and tags, parameters and bodies have examples, objects forbid other fields."""
    tags = {tag["name"] for tag in CONTRACT_DOCUMENT["tags"]}
    for name, (_, _, row) in operations().items():
        assert row["summary"], name
        assert set(row["tags"]) <= tags, name
        for parameter in map(resolved, row.get("parameters", [])):
            assert "example" in parameter, f"{name} {parameter['name']}"
        bodies = [row["requestBody"]] if "requestBody" in row else []
        for body in [*bodies, *map(resolved, row["responses"].values())]:
            for media_type, content in body.get("content", {}).items():
                assert media_type == "image/png" or "example" in content or "examples" in content, name
    for path, node in walk(CONTRACT_DOCUMENT["components"]["schemas"]):
        if isinstance(node, dict) and node.get("type") == "object" and "properties" in node:
            assert node.get("additionalProperties") is (path == "/OpenApiDocument") or path in OF_OAUTH, path


OF_OAUTH = {"/TokenRequest", "/DeviceAuthorizationRequest", "/TokenRevocation"}
"""Requests in which unknown parameters are ignored (RFC 6749, section 3.2)."""
TYPE_NAMES = {"Any", "Array", "Boolean", "Date", "Duration", "Enum", "Error", "Exception", "Float", "Integer", "List"}
TYPE_NAMES |= {"Map", "Model", "Null", "Number", "Object", "Option", "Optional", "Record", "Result", "Set", "String"}


def test_every_object_and_enum_has_a_name() -> None:
    """A generator invents names for the others. No name is that of a type of a common language."""
    schemas = CONTRACT_DOCUMENT["components"]["schemas"]
    assert not TYPE_NAMES & schemas.keys()
    for name, (_, _, row) in operations().items():
        bodies = [row["requestBody"]] if "requestBody" in row else []
        for body in [*bodies, *map(resolved, row["responses"].values())]:
            for content in body.get("content", {}).values():
                assert "$ref" in content["schema"] or content["schema"]["type"] == "string", name
    for path, node in walk(schemas):
        if path.count("/") > 1 and isinstance(node, dict) and "example" not in path:
            assert node.get("type") != "object", path
            assert "enum" not in node, path


def test_a_nullable_component_has_a_title() -> None:
    """openapi-python-client names the class after it."""
    for name, schema in CONTRACT_DOCUMENT["components"]["schemas"].items():
        assert not schema.get("nullable") or schema["title"] == name


def test_links_have_no_bodies() -> None:
    """openapi-generator takes no other than a string."""
    assert [path for path, node in walk(CONTRACT_DOCUMENT) if "/links/" in path and path.endswith("requestBody")] == []


def test_what_a_schema_expects_completes_a_sentence() -> None:
    """`x-expected` follows "must be": no capital letter, no full stop."""
    expected = [
        node["x-expected"] for _, node in walk(CONTRACT_DOCUMENT) if isinstance(node, dict) and "x-expected" in node
    ]
    assert len(expected) > 20
    assert [text for text in expected if text.endswith(".") or (text[0].isupper() and not text.startswith("USD"))] == []


def examples() -> Iterator[tuple[str, dict[str, Any], Any]]:
    for name, (_, _, row) in operations().items():
        bodies = {"body": row["requestBody"]} if "requestBody" in row else {}
        for status, response in (bodies | row["responses"]).items():
            for content in resolved(response).get("content", {}).values():
                for value in [content["example"]] if "example" in content else []:
                    yield f"{name} {status}", content["schema"], value
                for key, example in content.get("examples", {}).items():
                    yield f"{name} {status} {key}", content["schema"], resolved(example)["value"]
        for parameter in map(resolved, row.get("parameters", [])):
            yield f"{name} {parameter['name']}", parameter["schema"], parameter["example"]


@pytest.mark.parametrize(
    ("schema", "value"), [pytest.param(schema, value, id=name) for name, schema, value in examples()]
)
def test_each_example_fits_its_schema(schema: dict[str, Any], value: Any) -> None:
    """Each example fits its schema."""
    OAS30ReadValidator({**schema, "components": CONTRACT_DOCUMENT["components"]}).validate(value)


def test_links_lead_from_create_to_read_to_delete() -> None:
    """Each link names an operation and its required parameters."""
    led = set()
    for name, (_, _, row) in operations().items():
        for response in map(resolved, row["responses"].values()):
            for link in response.get("links", {}).values():
                _, _, target = operations()[link["operationId"]]
                wanted = {row["name"] for row in map(resolved, target.get("parameters", [])) if row.get("required")}
                assert set(link.get("parameters", {})) == wanted
                led.add((name, link["operationId"]))
    assert {
        ("createUser", "getUser"),
        ("createUser", "createUserKey"),
        ("createUserKey", "deleteUserKey"),
        ("getUserKeys", "deleteUserKey"),
        ("createUserKey", "regenerateUserKey"),
        ("getUserKey", "updateUserKey"),
        ("regenerateUserKey", "deleteUserKey"),
        ("getUser", "getUserUsage"),
    } <= led


def test_exactly_these_fields_are_secrets() -> None:
    """Marked `x-redact`, for loggers and SDKs."""
    marked = {path for path, node in walk(CONTRACT_DOCUMENT) if isinstance(node, dict) and "x-redact" in node}
    assert marked == {
        "/components/schemas/UserKey/properties/keySecret",
        "/components/schemas/RegeneratedKey/properties/keySecret",
        "/components/schemas/ReportKeyRequest/properties/key",
        "/components/schemas/TokenRequest/properties/subject_token",
        "/components/schemas/TokenRequest/properties/actor_token",
        "/components/schemas/TokenRequest/properties/device_code",
        "/components/schemas/TokenRequest/properties/refresh_token",
        "/components/schemas/IssuedToken/properties/access_token",
        "/components/schemas/IssuedToken/properties/refresh_token",
        "/components/schemas/DeviceAuthorization/properties/device_code",
        "/components/schemas/DeviceAuthorization/properties/user_code",
        "/components/schemas/DeviceAuthorization/properties/verification_uri_complete",
        "/components/schemas/TokenRevocation/properties/token",
        "/components/schemas/UserCode",
        "/components/schemas/TestWorkloadRequest/properties/token",
    }


def test_the_contract_and_the_client_have_the_same_fields_of_a_key() -> None:
    """Fields that are left out have a reason."""
    schema = CONTRACT_DOCUMENT["components"]["schemas"]["UserAPIKeyAuth"]
    left_out = [field for group in schema["x-litellm-left-out"].values() for field in group["fields"]]
    assert list(schema["properties"]) == [*KeyRow.__struct_fields__, *OURS]
    assert not set(left_out) & set(KeyRow.__struct_fields__)
    assert all(group["why"] for group in schema["x-litellm-left-out"].values())


def test_the_contract_and_the_client_have_the_same_types_of_a_key() -> None:
    """The client accepts exactly what the contract allows, and a null that it leaves out."""
    samples: dict[str, Any] = {"string": "x", "number": 1.5, "integer": 1, "boolean": True, "array": [], "object": {}}
    numbers = {"number", "integer"}
    key = {"token": "x", "user_id": "x", "models": [], "spend": 0, "metadata": {}}
    rows = CONTRACT_DOCUMENT["components"]["schemas"]["UserAPIKeyAuth"]["properties"]
    for name in rows.keys() - set(OURS):
        schema = resolved(rows[name])
        expected = {schema["type"]} | (numbers if schema["type"] == "number" else set())
        text = "2026-11-23T12:45:50Z" if schema.get("format") == "date-time" else "x"
        taken = {kind for kind, sample in (samples | {"string": text}).items() if _decodes(key | {name: sample})}
        assert taken == expected, name
        assert _decodes(key | {name: None}) is (schema.get("nullable", False) or name in ("user_id", "created_at")), (
            name
        )


def _decodes(row: dict[str, Any]) -> bool:
    try:
        msgspec.convert(row, KeyRow)
    except msgspec.ValidationError:
        return False
    return True


async def test_it_serves_the_document_that_is_running(nobody: httpx.AsyncClient) -> None:
    """The YAML to the byte, the JSON to the value, open to all."""
    served = await nobody.get(f"{BASE}/openapi.yaml")
    assert served.content == CONTRACT.read_bytes()
    assert (await nobody.get(f"{BASE}/openapi.json")).json() == json.loads(json.dumps(yaml.safe_load(served.text)))


async def test_the_page_is_made_of_what_this_service_serves(nobody: httpx.AsyncClient) -> None:
    """Its scripts and styles come from this service only."""
    page = await nobody.get(f"{BASE}/docs")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assets = [part.split('"')[0] for part in page.text.replace('href="', 'src="').split('src="')[1:]]
    assert len(assets) == 4
    for asset in assets:
        assert (await nobody.get(f"{BASE}/{asset}")).status_code == 200


def test_the_versions_agree() -> None:
    """The contract is the service's version."""
    assert f'version = "{CONTRACT_DOCUMENT["info"]["version"]}"' in (ROOT / "pyproject.toml").read_text()


def test_the_guide_lists_every_error_with_its_status() -> None:
    """And no other. Two belong to no operation: 405, methods that a path lacks, and 431, before there is a request."""
    table = (ROOT / "docs" / "api.md").read_text().partition("## Errors")[2]
    rows = [line.split("|")[1:3] for line in table.splitlines() if line.startswith("| `")]
    listed = {name.strip(" `"): int(status) for name, status in rows}
    responses = CONTRACT_DOCUMENT["components"]["responses"].values()
    examples = [row["content"]["application/json"]["example"] for row in responses if "content" in row]
    known = {row["error"]["name"]: row["response"]["statusCode"] for row in examples if "response" in row}
    assert listed == known | {"MethodNotAllowedError": 405, "RequestHeaderFieldsTooLargeError": 431}
