"""The size of things: files, handlers, constructors and changes that a reader can hold in their head."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import ROOT

ROOMS = [
    "app",
    "cli",
    "clients",
    "domain",
    "edge",
    "handlers",
    "services",
    "settings",
    "standalone",
    "state",
    "telemetry",
]
FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
SERVICES = [path for path in FILES if "services" in path.parts]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def classes(path: Path) -> Iterator[ast.ClassDef]:
    return (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.walk(ast.parse(path.read_text()))
    return (node for node in tree if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def lines_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_file_is_too_long(path: Path) -> None:
    """A file of 400 lines is two files."""
    assert len(path.read_text().splitlines()) < 400


@pytest.mark.parametrize("path", [path for path in FILES if "handlers" in path.parts], ids=name_of)
def test_handlers_are_thin(path: Path) -> None:
    """At most fifteen lines, and no decision."""
    for function in functions(path):
        if isinstance(function, ast.AsyncFunctionDef):
            assert lines_of(function) <= 15, function.name


@pytest.mark.parametrize("path", SERVICES, ids=name_of)
def test_a_service_has_at_most_six_collaborators(path: Path) -> None:
    """A class that needs more is two classes."""
    for node in classes(path):
        fields = [row for row in node.body if isinstance(row, ast.AnnAssign)]
        inits = [row for row in node.body if isinstance(row, ast.FunctionDef) and row.name == "__init__"]
        parameters = [len(init.args.args) - 1 + len(init.args.kwonlyargs) for init in inits]
        assert max([len(fields), *parameters]) <= 6, node.name


@pytest.mark.parametrize("path", SERVICES, ids=name_of)
def test_a_change_reads_from_top_to_bottom(path: Path) -> None:
    """A method that begins a change has at most forty lines and no closures."""
    for function in functions(path):
        body = list(ast.walk(function))
        begins = [node for node in body if isinstance(node, ast.Attribute) and node.attr == "begin"]
        if begins and function.name != "begin":
            assert lines_of(function) <= 40, function.name
            nested = (ast.Lambda, ast.FunctionDef, ast.AsyncFunctionDef)
            assert not [node for node in body if isinstance(node, nested) and node is not function], function.name
