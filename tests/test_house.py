"""What a reader can feel: handlers that translate and decide nothing. The directions of imports are in `make lint`."""

from __future__ import annotations

import ast
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
