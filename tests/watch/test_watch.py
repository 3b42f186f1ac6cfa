"""Which tests `make watch` runs after a save."""

from __future__ import annotations

import pytest

from tests.watch.__main__ import commands


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (["services/keys/rules.py"], ["recorded"]),
        (["openapi.yaml"], ["contract and pages"]),
        (["docs/api.md"], ["pages"]),
        (["docs/api.md", "openapi.yaml"], ["contract and pages"]),
        (["docs/api.md", "services/keys/rules.py"], ["recorded", "pages"]),
        (["app/contract.py"], ["recorded", "contract and pages"]),
        (["state/migrations/versions/0001_initial.py"], ["recorded", "contract and pages"]),
    ],
)
def test_what_a_save_runs(changed: list[str], expected: list[str]) -> None:
    """Python as testmon recorded it; the contract's tests for what it cannot see, or saw in one test only."""
    tests = {
        "recorded": ["tests"],
        "contract and pages": ["tests/contract", "tests/test_documentation.py"],
        "pages": ["tests/test_documentation.py"],
    }
    runs = commands(changed, ["tests"])
    assert [[argument for argument in run if argument.startswith("tests")] for run in runs] == [
        tests[name] for name in expected
    ]
    assert ["--testmon" in run for run in runs] == [name == "recorded" for name in expected]
    assert all("not live and not postgresql" in " ".join(run) for run in runs)
