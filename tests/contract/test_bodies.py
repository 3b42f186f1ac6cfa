"""What handlers take and give has the fields of the contract, which nothing else compares with their types."""

from __future__ import annotations

from types import NoneType
from typing import get_args, get_type_hints

import pytest
from inflection import underscore
from msgspec import UnsetType
from msgspec.structs import fields

from edge.binding import handler_name
from handlers import HANDLERS
from handlers.responses import Answer
from tests.support.contract import CONTRACT_DOCUMENT, operations, resolved
from tests.support.requests import WITH_BODY


def answers(of: type[Answer] = Answer) -> list[type[Answer]]:
    return [kind for child in of.__subclasses__() for kind in (child, *answers(child))]


@pytest.mark.parametrize("kind", answers(), ids=lambda kind: kind.__name__)
def test_an_answer_has_the_fields_of_its_schema(kind: type[Answer]) -> None:
    """Those and no other; what the contract requires is always there, and what it does not let be null never is."""
    schema = CONTRACT_DOCUMENT["components"]["schemas"][kind.__name__.removeprefix("_")]
    given = {field.encode_name: get_args(field.type) for field in fields(kind)}
    assert given.keys() == schema["properties"].keys()
    assert not [name for name in schema["required"] if UnsetType in given[name]]
    nullable = {name for name, row in schema["properties"].items() if resolved(row).get("nullable")}
    assert {name for name, kinds in given.items() if NoneType in kinds} == nullable


@pytest.mark.parametrize("operation", WITH_BODY)
def test_a_handler_takes_the_fields_of_its_body(operation: str) -> None:
    """Those and no other, absent where the contract allows it, and null where it does."""
    taken = get_type_hints(HANDLERS[handler_name(operation)])["body"]
    (content,) = operations()[operation][2]["requestBody"]["content"].values()
    schema = resolved(content["schema"])
    assert taken.__annotations__.keys() == {underscore(name) for name in schema["properties"]}
    assert taken.__required_keys__ == {underscore(name) for name in schema.get("required", [])}
    nullable = {underscore(name) for name, row in schema["properties"].items() if resolved(row).get("nullable")}
    assert {name for name, kind in get_type_hints(taken).items() if NoneType in get_args(kind)} == nullable


@pytest.mark.parametrize("kind", [kind for kind in answers() if "secret" in kind.__struct_fields__])
def test_an_answer_does_not_show_its_secret(kind: type[Answer]) -> None:
    """Not even where it is printed, such as with the variables of a traceback."""
    assert "canary" not in repr(kind(**dict.fromkeys(kind.__struct_fields__, "canary")))
