"""The documentation leads where it says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from subprocess import check_output

import pytest

from tests.support.processes import ROOT

PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "sdk").glob("*/*.md")]


def is_code(name: str) -> bool:
    """Whether a tracked file is a program, or settings of one; this test is neither."""
    known = Path(name).suffix in {".py", ".yml", ".yaml", ".json", ".js"} or Path(name).name in {"run", "Makefile"}
    return known and name != "tests/test_documentation.py"


def links(page: Path) -> Iterator[str]:
    """Those to other files and headings of this repository."""
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    return (target for target in targets if not re.match("[a-z]+:", target))


def anchors(page: Path) -> set[str]:
    """The headings of a page, as GitHub addresses them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


CODE = [ROOT / name for name in check_output(["git", "ls-files"], cwd=ROOT, text=True).split() if is_code(name)]


def test_code_points_to_the_page_that_says_it() -> None:
    """A page that exists, under a heading that it has; never to the README, which leaves the details to the pages."""
    for file in CODE:
        text = file.read_text()
        assert not re.search(r"\bthe README\b", text), file
        for name, anchor in re.findall(r"(?<![\w/])(docs/[\w/-]+\.md)(?:#([\w-]+))?", text):
            assert (ROOT / name).exists(), (file, name)
            assert not anchor or anchor in anchors(ROOT / name), (file, name, anchor)


def test_each_test_that_a_page_names_exists() -> None:
    """A claim that rests on a test that is gone rests on nothing."""
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for page in PAGES:
        for name in re.findall(r"`(test_\w+)`", page.read_text()):
            assert re.search(rf"def {name}\b", tests), (page, name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    """To a file that exists, and to a heading that it has."""
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link
