"""A contract cannot break unnoticed: edits of the real one that break a caller, and edits that do not."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from domain.actions import Action
from domain.identity import Role
from domain.offboarding import Step
from spec.check import main
from spec.comparison import Comparison
from spec.exceptions import Exceptions, WidenedPattern
from tests.support.contract import CONTRACT_DOCUMENT

Edit = Callable[[dict[str, Any]], object]
KEYS, USERS, KEY = "/users/{userId}/keys", "/users", "/users/{userId}/keys/{keyId}"


def schemas(document: dict[str, Any]) -> Any:
    return document["components"]["schemas"]


def operation(document: dict[str, Any], path: str, method: str) -> Any:
    return document["paths"][path][method]


def rename_path(document: dict[str, Any]) -> None:
    document["paths"]["/people"] = document["paths"].pop(USERS)


def require(name: str, *fields: str) -> Edit:
    return lambda document: schemas(document)[name].setdefault("required", []).extend(fields)


def field(name: str, field_name: str, **change: Any) -> Edit:
    """Sets keywords of a field; None removes one."""

    def edit(document: dict[str, Any]) -> None:
        row = copy.deepcopy(schemas(document)[name]["properties"][field_name])
        while "$ref" in row:
            row = copy.deepcopy(schemas(document)[row["$ref"].rpartition("/")[2]])
        row.update(change)
        schemas(document)[name]["properties"][field_name] = {k: v for k, v in row.items() if v is not None}

    return edit


def schema(name: str, **change: Any) -> Edit:
    def edit(document: dict[str, Any]) -> None:
        row = schemas(document)[name]
        row.update(change)
        for keyword in [keyword for keyword, value in row.items() if value is None]:
            del row[keyword]

    return edit


def add_parameter(path: str, method: str, **row: Any) -> Edit:
    parameter = {"name": "extra", "in": "query", "schema": {"type": "string"}, **row}
    return lambda document: operation(document, path, method).setdefault("parameters", []).append(parameter)


def parameter(name: str, **change: Any) -> Edit:
    return lambda document: document["components"]["parameters"][name]["schema"].update(change)


def without(path: str, method: str, *keys: str) -> Edit:
    def edit(document: dict[str, Any]) -> None:
        node = operation(document, path, method)
        for key in keys[:-1]:
            node = node[key]
        del node[keys[-1]]

    return edit


def header_optional(document: dict[str, Any]) -> None:
    document["components"]["headers"]["ETag"]["required"] = False


BREAKING: dict[str, Edit] = {
    "an operation is removed": lambda d: d["paths"][KEY].pop("delete"),
    "a path is renamed": rename_path,
    "an operationId is renamed": lambda d: operation(d, USERS, "get").update(operationId="listUsers"),
    "an open operation needs a token": lambda d: operation(d, "/openapi.yaml", "get").pop("security"),
    "a new parameter is required": add_parameter(USERS, "get", required=True),
    "a new header is required": add_parameter(USERS, "get", **{"in": "header", "required": True}),
    "a parameter is removed": lambda d: operation(d, USERS, "get")["parameters"].pop(),
    "a parameter becomes required": lambda d: d["components"]["parameters"]["cursor"].update(required=True),
    "a parameter's maximum falls": parameter("limit", maximum=50),
    "a parameter's minimum rises": parameter("limit", minimum=5),
    "a parameter's type changes": parameter("limit", type="string"),
    "a parameter's pattern changes": parameter("idempotencyKey", pattern="^[a-z]+$"),
    "a parameter's default changes": parameter("limit", default=10),
    "a parameter loses a value": lambda d: schemas(d)["UserStatus"]["enum"].pop(),
    "a field of a request is required": require("CreateUserKeyRequest", "alias"),
    "a field of a request is removed": lambda d: schemas(d)["CreateUserKeyRequest"]["properties"].pop("alias"),
    "a field of a request may not be null any more": field("UpdateUserKeyRequest", "alias", nullable=None),
    "a field of a request gets a limit": field("CreateUserRequest", "userId", maxLength=10),
    "a request may not have other fields any more": schema("KeyMetadata", additionalProperties=False),
    "a body becomes required": lambda d: operation(d, KEYS, "post")["requestBody"].update(required=True),
    "a response is removed": without(USERS, "post", "responses", "201"),
    "a media type is removed": without(USERS, "get", "responses", "200", "content", "application/json"),
    "a header of a response is removed": without(KEYS, "get", "responses", "200", "headers", "ETag"),
    "a header of a response becomes optional": header_optional,
    "a field of a response is removed": lambda d: schemas(d)["User"]["properties"].pop("spend"),
    "a field of a response becomes optional": lambda d: schemas(d)["User"]["required"].remove("spend"),
    "a field of a response may be null": field("User", "spend", nullable=True),
    "a field of a response changes its type": field("User", "spend", type="string"),
    "a number of a response may be a fraction": field("CleanupProgress", "total", type="number"),
    "a field of a response gets a value": lambda d: schemas(d)["CleanupOutcome"]["enum"].append("skipped"),
    "a field of a response loses its format": field("User", "createdAt", format=None),
    "a new field of a response lists all its values": lambda d: schemas(d)["User"]["properties"].update(
        mood={"type": "string", "enum": ["good"]}
    ),
    "a list of values of a response becomes open": schema("CleanupOutcome", enum=None),
    "a list of values of a request excludes one": schema("UsageSplit", enum=None, pattern="^model$"),
}
COMPATIBLE: dict[str, Edit] = {
    "nothing": lambda _: None,
    "a new path": lambda d: d["paths"].update({"/new": copy.deepcopy(d["paths"]["/me"])}),
    "a new operation": lambda d: d["paths"]["/me"].update(put=copy.deepcopy(d["paths"]["/me"]["get"])),
    "a new optional parameter": add_parameter(USERS, "get"),
    "a new optional header": add_parameter(USERS, "get", **{"in": "header"}),
    "a parameter's maximum rises": parameter("limit", maximum=500),
    "a parameter's minimum falls": parameter("limit", minimum=0),
    "a parameter gets a value": lambda d: operation(d, USERS, "get")["parameters"][-1].update(
        schema={"type": "string", "enum": ["active", "overBudget", "offboarding", "new"]}
    ),
    "a whole number may be a fraction": parameter("limit", type="number"),
    "a required parameter becomes optional": lambda d: d["components"]["parameters"]["keyId"].update(required=False),
    "a new optional field of a request": lambda d: schemas(d)["CreateUserKeyRequest"]["properties"].update(
        team={"type": "string"}
    ),
    "a field of a request becomes optional": lambda d: schemas(d)["CreateUserRequest"]["required"].remove("userId"),
    "a field of a request may be null": field("CreateUserKeyRequest", "alias", nullable=True),
    "a field of a request loses its pattern": field("CreateUserRequest", "userId", pattern=None),
    "a request may have other fields": schema("CreateUserKeyRequest", additionalProperties=None),
    "a body becomes optional": lambda d: operation(d, USERS, "post")["requestBody"].update(required=False),
    "a body may be of another media type": lambda d: operation(d, USERS, "post")["requestBody"]["content"].update(
        {"application/cbor": {"schema": {"type": "object"}}}
    ),
    "a new field of a response": lambda d: schemas(d)["User"]["properties"].update(team={"type": "string"}),
    "a new required field of a response": require("User", "nickname"),
    "a field of a response is always there": lambda d: (
        schemas(d)["UserAPIKeyAuth"].setdefault("required", []).append("key_name")
    ),
    "a field of a response is never null any more": field("User", "maxBudget", nullable=None),
    "a field of a response loses a value": lambda d: schemas(d)["CleanupOutcome"]["enum"].pop(),
    "a field of a response gets a limit": field("User", "userId", maxLength=200),
    "a new error": lambda d: operation(d, USERS, "get")["responses"].update(
        {"429": {"$ref": "#/components/responses/TooManyRequestsError"}}
    ),
    "a new header of a response": lambda d: operation(d, USERS, "get")["responses"]["200"]["headers"].update(
        {"X-Total": {"schema": {"type": "integer"}}}
    ),
    "a description changes": lambda d: operation(d, USERS, "get").update(description="Other words."),
    "an example changes": lambda d: d["components"]["examples"]["Alice"].update(value={}),
    "a list of values of a request becomes a pattern": schema("UsageSplit", enum=None, pattern="^[a-z]+$"),
    "a schema is renamed": lambda d: schemas(d).update(Copy=copy.deepcopy(schemas(d)["User"])),
}


RELEASED = CONTRACT_DOCUMENT | {"info": CONTRACT_DOCUMENT["info"] | {"version": "0.1.0"}}


def edited(edit: Edit) -> dict[str, Any]:
    document = copy.deepcopy(RELEASED)
    edit(document)
    return document


def test_there_are_enough_of_both() -> None:
    """At least 25."""
    assert min(len(BREAKING), len(COMPATIBLE)) >= 25


@pytest.mark.parametrize("name", BREAKING)
def test_breaking(name: str) -> None:
    """It is found, and described in a sentence that names the place."""
    found = Comparison(RELEASED, edited(BREAKING[name])).breaking_changes()
    assert found
    assert all(": " in sentence for sentence in found)


@pytest.mark.parametrize("name", COMPATIBLE)
def test_compatible(name: str) -> None:
    """It is not reported."""
    assert Comparison(RELEASED, edited(COMPATIBLE[name])).breaking_changes() == []


def test_a_schema_that_contains_itself() -> None:
    """It is compared to the end, and what breaks in it is found."""
    old = edited(lambda d: schemas(d)["User"]["properties"].update(manager={"$ref": "#/components/schemas/User"}))
    new = copy.deepcopy(old)
    assert Comparison(old, new).breaking_changes() == []
    BREAKING["a field of a response is removed"](new)
    assert any("has no field spend any more" in found for found in Comparison(old, new).breaking_changes())


WIDER = {"pattern": "^[a-z0-9 -]+$", "maxLength": 80}
SAMPLES = {"before": ("laptop",), "since": ("my laptop",), "refused": ("Über", "a\n", "")}


@pytest.mark.parametrize(
    ("samples", "is_permitted"),
    [
        ({}, True),
        ({"before": ("laptop", "my laptop")}, False),
        ({"since": ("laptop",)}, False),
        ({"since": ("my laptop", "Über")}, False),
        ({"refused": ("my laptop",)}, False),
    ],
    ids=["proven", "was not accepted", "was accepted", "is not accepted", "is not refused"],
)
def test_a_wider_pattern_needs_samples_that_prove_it(
    samples: dict[str, tuple[str, ...]], *, is_permitted: bool
) -> None:
    """An exception whose samples are not what it says permits nothing."""
    old = edited(schema("KeyAlias", pattern="^[a-z]+$", minLength=1))
    new = copy.deepcopy(old)
    schemas(new)["KeyAlias"].update(WIDER)
    exceptions = Exceptions({"KeyAlias": WidenedPattern(**SAMPLES | samples)})
    assert (Comparison(old, new, exceptions).breaking_changes() == []) is is_permitted


def test_an_open_string_still_names_its_known_values() -> None:
    """A list of values may become open only if its description has each of them."""
    exceptions = Exceptions(open_strings=frozenset({"CleanupOutcome"}))
    values = schemas(RELEASED)["CleanupOutcome"]["enum"]
    described = ", ".join(f"`{value}`" for value in values)
    complete = edited(schema("CleanupOutcome", enum=None, description=described))
    assert Comparison(RELEASED, complete, exceptions).breaking_changes() == []
    shorter = edited(schema("CleanupOutcome", enum=None, description=described.replace("`refused`", "")))
    assert "changed its values" in Comparison(RELEASED, shorter, exceptions).breaking_changes()[0]
    assert Comparison(RELEASED, complete).breaking_changes() != []


@pytest.mark.parametrize(
    ("name", "values"), [("AuditAction", Action), ("CleanupAction", Step), ("CallerRole", (Role.MEMBER, Role.ADMIN))]
)
def test_the_description_of_an_open_string_names_each_value(name: str, values: Iterable[str]) -> None:
    """What the service may answer is in the contract, although its list is open."""
    described = schemas(CONTRACT_DOCUMENT)[name]["description"]
    assert [value for value in values if f"`{value}`" not in described] == []


def check(tmp_path: Path, new: Any, *arguments: str, old: Any = RELEASED) -> tuple[int, str]:
    (tmp_path / "releases").mkdir()
    (tmp_path / "releases" / "0.1.0.yaml").write_text(yaml.dump(old, Dumper=yaml.CSafeDumper))
    contract = tmp_path / "openapi.yaml"
    contract.write_text(new if isinstance(new, str) else yaml.dump(new, Dumper=yaml.CSafeDumper))
    result = CliRunner().invoke(main, [str(contract), "--releases", str(tmp_path / "releases"), *arguments])
    assert "Traceback" not in result.output
    return result.exit_code, result.output


def test_a_breaking_change_needs_a_new_major_version(tmp_path: Path) -> None:
    """Then it is listed, and passes."""
    new = edited(BREAKING["an operation is removed"])
    new["info"]["version"] = "0.2.0"
    code, said = check(tmp_path, new)
    assert (code, "need a new major version" in said, KEY in said) == (1, True, True)
    new["info"]["version"] = "1.0.0"
    (tmp_path / "second").mkdir()
    code, said = check(tmp_path / "second", new)
    assert (code, said.splitlines()[-1]) == (0, "valid; breaking changes since 0.1.0: 1")


@pytest.mark.parametrize(
    ("new", "arguments", "says"),
    [
        ("{", [], "is not YAML"),
        ("[]", [], "is not an OpenAPI 3.0 document"),
        ("openapi: 3.1.0", [], "is not an OpenAPI 3.0 document"),
        ("openapi: 3.0.3", [], "is not valid"),
        (RELEASED, ["--against", "9.9.9"], "There is no release 9.9.9; there are: 0.1.0"),
    ],
    ids=["no YAML", "no object", "another version", "incomplete", "an unknown release"],
)
def test_bad_input_gets_a_sentence(tmp_path: Path, new: Any, arguments: list[str], says: str) -> None:
    """And exit code 1, no trace."""
    code, said = check(tmp_path, new, *arguments)
    assert (code, says in said) == (1, True), said


def test_a_changed_contract_needs_a_newer_version(tmp_path: Path) -> None:
    """A version means one contract for ever."""
    new = edited(lambda document: operation(document, USERS, "get").update(summary="List all users"))
    code, said = check(tmp_path, new)
    assert (code, "0.1.0 is released; a changed contract needs a newer version" in said) == (1, True), said
    new["info"]["version"] = "0.1.1"
    (tmp_path / "second").mkdir()
    assert check(tmp_path / "second", new)[0] == 0


def test_the_contract_keeps_what_was_released() -> None:
    """What `make spec-check` says of this repository."""
    result = CliRunner().invoke(main, [])
    assert result.exit_code == 0, result.output


def test_before_the_first_release_there_is_nothing_to_break(tmp_path: Path) -> None:
    """A valid contract passes."""
    result = CliRunner().invoke(main, ["--releases", str(tmp_path)])
    assert (result.exit_code, result.output) == (0, "valid; there is no release yet to compare it with\n")
