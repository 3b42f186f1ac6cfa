"""The bodies of the contract and those of the handlers are the same."""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

import pytest
from inflection import underscore
from msgspec.json import schema_components

import handlers
from edge.binding import handler_name
from handlers.answers import Answer, RegeneratedKey, UserKey
from tests.support.contract import CONTRACT_DOCUMENT, operations, resolved
from tests.support.requests import WITH_BODY


def kinds(of: type[Answer]) -> list[type[Answer]]:
    return [kind for child in of.__subclasses__() for kind in (child, *kinds(child))]


SCHEMAS = CONTRACT_DOCUMENT["components"]["schemas"]
ANSWERS: dict[str, dict[str, Any]] = schema_components(kinds(Answer))[1]


@pytest.mark.parametrize("name", [kind.__name__ for kind in kinds(Answer)])
def test_an_answer_has_the_fields_of_its_schema(name: str) -> None:
    """Those and no other; what the contract promises is always there, and null where the contract says so."""
    given, promised = ANSWERS[name], SCHEMAS[name]
    assert given["properties"].keys() == promised["properties"].keys()
    assert set(promised["required"]) <= set(given["required"])
    for field, schema in promised["properties"].items():
        may_be_null = {"type": "null"} in given["properties"][field].get("anyOf", [])
        assert may_be_null == resolved(schema).get("nullable", False), field


@pytest.mark.parametrize("operation", WITH_BODY)
def test_a_handler_takes_the_fields_of_its_body(operation: str) -> None:
    """Those and no other, absent or null where the contract allows it; the binding only checks against the contract."""
    taken = get_type_hints(getattr(handlers, handler_name(operation)))["body"]
    body = resolved(operations()[operation][2]["requestBody"]["content"]["application/json"]["schema"])
    assert {underscore(name) for name in body["properties"]} == taken.__annotations__.keys()
    assert {underscore(name) for name in body.get("required", [])} == taken.__required_keys__
    for name, schema in body["properties"].items():
        may_be_null = type(None) in get_args(get_type_hints(taken)[underscore(name)])
        assert may_be_null == resolved(schema).get("nullable", False), name


@pytest.mark.parametrize("kind", [UserKey, RegeneratedKey])
def test_an_answer_does_not_show_its_secret(kind: type[Answer]) -> None:
    """Not even where it is printed, such as in a traceback with its variables."""
    assert repr(kind(**dict.fromkeys(kind.__struct_fields__, "canary"))) == kind.__name__
