"""`make matrix`: the suites on versions of LiteLLM, Backstage and Python; writes the tables of docs/compatibility.md.

Run as a module, it takes the names of the tables to write: litellm, python.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
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
    for version, release in product(LITELLM, BACKSTAGE):
        result = run("tests/live/run", *_SUITE, LITELLM_VERSION=version, BACKSTAGE_RELEASE=release)
        yield [version, *(result.versions.get(name, "?") for name in ("Backstage", "PostgreSQL")), result.summary]


def python_rows() -> Iterator[list[str]]:
    """The tests that need nothing else on each Python."""
    for version in PYTHON:
        interpreter = shutil.which(f"python{version}") or "false"
        asked = subprocess.run([interpreter, "-V"], check=False, capture_output=True)
        if asked.returncode:
            yield [version, "not installed"]
            continue
        result = run("make", "test", f"PYTHON={interpreter}", f"VENV=.venv-{version}")
        yield [asked.stdout.decode().split()[1], result.summary]


def table(head: list[str], rows: Iterator[list[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


TABLES = {
    "litellm": (["LiteLLM", "Backstage", "PostgreSQL", "Conformance and story"], litellm_rows),
    "python": (["Python", "All tests on stand-ins"], python_rows),
}


def main() -> None:
    """Replaces the tables; exits with 1 if something did not pass."""
    wanted = sys.argv[1:] or list(TABLES)
    for name in wanted:
        head, rows = TABLES[name]
        written = f"Tried on {datetime.now(UTC).date()}.\n\n{table(head, rows())}"
        begin, end = f"<!-- {name}: written by make matrix -->", f"<!-- {name}: end -->"
        before, _, rest = PAGE.read_text().partition(begin)
        PAGE.write_text(f"{before}{begin}\n\n{written}\n\n{end}{rest.partition(end)[2]}")
        print(written)
    sys.exit(1 if "**" in PAGE.read_text() else 0)


if __name__ == "__main__":
    main()
