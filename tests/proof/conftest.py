"""Counts the cells of the tables, and prints a line for each table."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

_CELLS = "cells"


class Cells:
    """The cells of one test. `failed` has, by their names, what is wrong with those that failed."""

    def __init__(self, counts: list[int]) -> None:
        self._counts = counts
        self.failed: dict[str, list[str]] = {}

    def record(self, name: str, wrong: list[str]) -> None:
        """A cell, and what is wrong with it."""
        self._counts[0] += 1
        if wrong:
            self._counts[1] += 1
            self.failed[name] = wrong


@pytest.fixture
def cells(request: pytest.FixtureRequest) -> Cells:
    """The cells of this test, which asserts in the end that none failed."""
    counts = [0, 0]
    request.node.user_properties.append((_CELLS, counts))
    return Cells(counts)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """A line for each table: cells, passed, failed. A test that records no cells is one cell."""
    total, failed = Counter[str](), Counter[str]()
    reports = [report for kind in ("passed", "failed", "error") for report in terminalreporter.stats.get(kind, [])]
    for report in reports:
        table = report.nodeid.partition("::")[0]
        if "tests/proof/" in table and (report.when == "call" or report.failed):
            recorded, wrong = dict(report.user_properties).get(_CELLS, (0, 0))
            total[table] += max(recorded, 1)
            failed[table] += max(wrong, int(report.failed))
    for table in sorted(total):
        name = table.rpartition("test_")[2].removesuffix(".py").replace("_", " ")
        passed = total[table] - failed[table]
        terminalreporter.write_line(f"{name}: {total[table]} cells, {passed} passed, {failed[table]} failed")
