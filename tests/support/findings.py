"""What `check` prints."""

from __future__ import annotations

import re

_FINDING = re.compile(r"(ok|warning|failed) +\S.*: |         → ")


def other_lines(printed: str) -> list[str]:
    """The lines that are neither a finding nor its advice."""
    return [line for line in printed.splitlines() if not _FINDING.match(line)]
