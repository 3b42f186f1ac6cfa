"""Which tests `make watch` runs after a save."""

from __future__ import annotations

import pytest

from tests.watch.__main__ import commands


@pytest.mark.parametrize(
    ("changed", "recorded", "of_others"),
    [
        ("services/keys/policy.py", True, False),
        ("openapi.yaml", False, True),
        ("docs/api.md", False, True),
        ("app/contract.py", True, True),
        ("state/migrations/versions/0001_initial.py", True, True),
    ],
)
def test_what_a_save_runs(changed: str, *, recorded: bool, of_others: bool) -> None:
    """Python as testmon recorded it; the contract's tests for what it cannot see, or saw in one test only."""
    runs = commands([changed], ["tests"])
    assert ["--testmon" in run for run in runs] == [True] * recorded + [False] * of_others
    assert ["tests/contract" in run for run in runs] == [False] * recorded + [True] * of_others
    assert all("not live and not postgresql" in " ".join(run) for run in runs)
