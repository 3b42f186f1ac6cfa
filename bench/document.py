"""The tables in `docs/performance.md`."""

from __future__ import annotations

from bench.processes import ROOT

_DOCUMENT = ROOT / "docs" / "performance.md"
_END = "<!-- end of table -->"


def replace_table(command: str, table: str) -> None:
    """Replaces the table that `command` wrote the last time."""
    begin = f"<!-- table: {command} -->"
    before, _, rest = _DOCUMENT.read_text().partition(begin)
    _DOCUMENT.write_text(f"{before}{begin}\n{table}\n{_END}{rest.partition(_END)[2]}")
