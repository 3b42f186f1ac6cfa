"""A setting that is added to a dataclass is read, checked, printed, documented and, if it is a secret, masked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

import jsonschema
import pytest
from msgspec import Meta

from settings.page import _rows
from settings.secrets import secrets_in
from settings.tree import At, read, schema, write
from settings.written import _masked


@dataclass(frozen=True)
class Row:
    """A row of a later version."""

    name: str
    """Its name."""
    password: str = field(repr=False)
    """Its password."""


@dataclass(frozen=True)
class Block:
    """A block of a later version."""

    example_number: Annotated[int | None, Meta(ge=3)] = None
    """How many."""
    rows: tuple[Row, ...] = ()


@dataclass(frozen=True)
class Later:
    """The settings of a later version."""

    needed: Annotated[str, At("some.where.needed")]
    """What is needed."""
    block: Block = Block()


def invalid(tree: Any) -> list[tuple[str, str]]:
    """The place of each problem, and the rule."""
    found = jsonschema.Draft7Validator(schema(Later)).iter_errors(tree)
    return sorted({(".".join(map(str, error.absolute_path)), str(error.validator)) for error in found})


def test_it_is_read_and_written() -> None:
    """In camelCase unless a note says another place; what is absent has its default."""
    tree = {"some": {"where": {"needed": "x"}}, "block": {"exampleNumber": 5, "rows": [{"name": "n", "password": "p"}]}}
    later = read(Later, Later, tree)
    assert later == Later("x", Block(5, (Row("n", "p"),)))
    assert write(Later, later) == tree
    assert read(Later, Later, {"some": {"where": {"needed": "x"}}}) == Later("x")


@pytest.mark.parametrize(
    ("tree", "problems"),
    [
        ({"some": {"where": {"needed": "x"}}, "others": 1}, []),
        ({}, [("", "required")]),
        ({"some": {}}, [("some", "required")]),
        ({"some": {"where": {}}}, [("some.where", "required")]),
        (
            {"some": {"where": {"needed": 1}}, "block": {"exampleNumber": 2, "x": 1, "rows": [{"y": 1}]}},
            [
                ("block", "additionalProperties"),
                ("block.exampleNumber", "minimum"),
                ("block.rows.0", "additionalProperties"),
                ("block.rows.0", "required"),
                ("some.where.needed", "type"),
            ],
        ),
    ],
)
def test_it_is_checked(tree: Any, problems: list[tuple[str, str]]) -> None:
    """By its type and its constraints; only the names at the top may be somebody else's."""
    assert invalid(tree) == problems


def test_it_has_a_row_in_the_page() -> None:
    """With its default and the text below the field."""
    assert list(_rows(Later)) == [
        (("some", "where", "needed"), "required", "What is needed."),
        (("block", "exampleNumber"), "none", "How many."),
        (("block", "rows", "name"), "", "Its name."),
        (("block", "rows", "password"), "", "Its password."),
    ]


def test_a_secret_is_not_forgotten() -> None:
    """Wherever it is, `config print` shows something else, and logs mask it."""
    later = Later("https://u:secret@host", Block(rows=(Row("n", "canary"), Row("m", "canary-two"))))
    assert _masked(later) == Later("https://u:***@host", Block(rows=(Row("n", "[redacted]"), Row("m", "[redacted]"))))
    assert set(secrets_in(later)) == {"secret", "canary", "canary-two"}
