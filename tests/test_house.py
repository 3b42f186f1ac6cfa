"""What a reader can feel: handlers that translate and decide nothing, and only declared packages.

The directions of imports are in `make lint`.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterable
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.support.processes import ROOT

HANDLERS = sorted((ROOT / "handlers").glob("*.py"))
_MOST_LINES = 15


@pytest.mark.parametrize("path", HANDLERS, ids=lambda path: path.name)
def test_handlers_are_thin(path: Path) -> None:
    """A handler is one call and its answer."""
    for function in ast.walk(ast.parse(path.read_text())):
        if isinstance(function, ast.AsyncFunctionDef):
            assert (function.end_lineno or function.lineno) - function.lineno < _MOST_LINES, function.name


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SHIPPED = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]


@pytest.mark.parametrize(("folders", "extra"), [(SHIPPED, None), (["bench", "spec", "standalone", "tests"], "dev")])
def test_what_is_imported_is_declared(folders: list[str], extra: str | None) -> None:
    """No package is used that comes only with another one, which may do without it tomorrow."""
    declared = PROJECT["project"]["dependencies"] + (
        PROJECT["project"]["optional-dependencies"][extra] if extra else []
    )
    names = {_normal(re.split(r"[^\w.-]", one)[0]) for one in declared}
    packages = packages_distributions()
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    for path in paths:
        for module in _imported(path):
            given_by = {_normal(name) for name in packages.get(module, ())}
            assert not given_by or given_by & names, f"{path} imports {module}, of {given_by}"
    assert len(paths) > 1


def _imported(path: Path) -> Iterable[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
