"""Counts the cells of the tables, and prints a line for each table. What tests of the database need."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from state import database

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


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the clock of PostgreSQL, as this service reads it, by some seconds."""
    offset, own = [0.0], database.Database.now

    def now(self: database.Database) -> sa.ColumnElement[float]:
        moved = sa.bindparam(None, callable_=lambda: offset[0], type_=sa.Float, unique=True)
        return own(self) + moved

    monkeypatch.setattr(database.Database, "now", now)
    return lambda seconds: offset.__setitem__(0, offset[0] + seconds)


@contextmanager
def at_step(number: int, fault: Callable[[], None]) -> Iterator[list[int]]:
    """The fault happens before a transaction begins, or before one commits: at the step of this number.

    What is yielded has the numbers of the steps until now.
    """
    steps: list[int] = []

    def step(_: Any) -> None:
        steps.append(len(steps))
        if steps[-1] == number:
            fault()

    for event in ("begin", "commit"):
        sa.event.listen(sa.Engine, event, step)
    try:
        yield steps
    finally:
        for event in ("begin", "commit"):
            sa.event.remove(sa.Engine, event, step)


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
