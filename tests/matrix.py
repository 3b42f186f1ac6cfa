"""`make matrix`: the suites on versions of LiteLLM, Backstage and Python; writes the tables of docs/compatibility.md.

Run as a module, it takes the names of the tables to write: litellm, python. LITELLM_VERSION and BACKSTAGE_RELEASE ask
for the rows of one version; the other rows stay as they are, each with the day of its last run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.support.processes import ROOT

PAGE = ROOT / "docs" / "compatibility.md"
LITELLM = ("1.90.0", "1.104.5", "1.109.3")
"""The oldest supported, today's, and the newest."""
BACKSTAGE = ("0.13.1", "0.19.0")
"""Releases of its backend-defaults: one whose tokens have `ent`, and the newest, whose tokens do not."""
PYTHON = ("3.11", "3.12", "3.13")
_SUITE = ["tests/conformance", "tests/live"]


@dataclass(frozen=True)
class Result:
    """What one run of pytest reports, with the versions that it ran on."""

    versions: Mapping[str, str]
    passed: int
    failed: int

    @classmethod
    def read(cls, report: Path) -> Result:
        """From pytest's JUnit XML."""
        if not report.exists() or not report.stat().st_size:
            return cls({}, 0, 0)
        suite = next(ET.parse(report).getroot().iter("testsuite"))  # noqa: S314  # pytest has just written it
        number = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
        failed = number["failures"] + number["errors"]
        versions = {row.get("name", ""): row.get("value", "") for row in suite.iter("property")}
        return cls(versions, number["tests"] - failed - number["skipped"], failed)

    @property
    def summary(self) -> str:
        """A cell of the table."""
        if self.failed or not self.passed:
            return f"{self.passed} passed, **{self.failed} failed**" if self.passed else "**did not run**"
        return f"{self.passed} passed"


def run(*command: str, **environment: str) -> Result:
    """Runs a command that calls pytest."""
    print(f"\n== {' '.join(command)} {environment}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        # A folder of its own: pytest deletes the folders of earlier runs, also of those that still go on.
        added = f"{os.environ.get('PYTEST_ADDOPTS', '')} --junitxml={report} --basetemp={folder}/tests"
        subprocess.run(command, cwd=ROOT, env=os.environ | environment | {"PYTEST_ADDOPTS": added}, check=False)
        return Result.read(report)


def litellm_rows() -> Iterator[list[str]]:
    """Conformance and the whole story on each LiteLLM with each Backstage."""
    asked = [os.environ.get(name) for name in ("LITELLM_VERSION", "BACKSTAGE_RELEASE")]
    for pair in product(LITELLM, BACKSTAGE):
        if any(wanted not in (None, "", version) for wanted, version in zip(asked, pair, strict=True)):
            continue
        version, release = pair
        result = run("tests/live/run", *_SUITE, LITELLM_VERSION=version, BACKSTAGE_RELEASE=release)
        yield [version, release, result.versions.get("PostgreSQL", "?").split()[0], result.summary]


def python_rows() -> Iterator[list[str]]:
    """The tests that need nothing else on each Python."""
    for version in PYTHON:
        interpreter = shutil.which(f"python{version}") or "false"
        if subprocess.run([interpreter, "-V"], check=False, capture_output=True).returncode:
            yield [version, "not installed"]
            continue
        result = run("make", "coverage", f"PYTHON={interpreter}", f"VENV=.venv-{version}")
        yield [version, result.summary]


@dataclass(frozen=True)
class Table:
    """One table of the page: as many of its first columns as name a row, and what makes its rows."""

    head: Sequence[str]
    names: int
    rows: Callable[[], Iterator[list[str]]]

    def write(self, name: str) -> None:
        """Runs each row, and replaces it on the page as soon as it has ended."""
        begin, end = f"<!-- {name}: written by make matrix -->", f"<!-- {name}: end -->"
        for row in self.rows():
            before, _, rest = PAGE.read_text().partition(begin)
            written, _, after = rest.partition(end)
            lines = [line.strip("| ").split(" | ") for line in written.splitlines() if line.startswith("|")]
            kept = [line for line in lines[2:] if line[: self.names] != row[: self.names]]
            rows = sorted([*kept, [*row, str(datetime.now(UTC).date())]], key=_by_version)
            table = [[*self.head, "Tried on"], ["---"] * (len(self.head) + 1), *rows]
            written = "\n".join(f"| {' | '.join(cells)} |" for cells in table)
            PAGE.write_text(f"{before}{begin}\n\n{written}\n\n{end}{after}")
            print(written, flush=True)


def _by_version(row: Sequence[str]) -> list[list[int]]:
    return [[int(part) for part in cell.split(".") if part.isdigit()] for cell in row[:2]]


TABLES = {
    "litellm": Table(["LiteLLM", "Backstage", "PostgreSQL", "Conformance and story"], 2, litellm_rows),
    "python": Table(["Python", "All tests on stand-ins"], 1, python_rows),
}


def main() -> None:
    """Replaces the rows; exits with 1 if the page has one that did not pass."""
    for name in sys.argv[1:] or list(TABLES):
        TABLES[name].write(name)
    sys.exit(1 if "**" in PAGE.read_text() else 0)


if __name__ == "__main__":
    main()
