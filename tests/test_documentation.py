"""The documentation leads where it says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import ROOT

PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "sdk").glob("*/*.md")]


def links(page: Path) -> Iterator[str]:
    """Those to other files and headings of this repository."""
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    return (target for target in targets if not re.match("[a-z]+:", target))


def anchors(page: Path) -> set[str]:
    """The headings of a page, as GitHub addresses them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    """To a file that exists, and to a heading that it has."""
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link
