"""The contract, tried with other generators: what fails is reported. `make sdk-matrix` runs the real ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from sdk.matrix import generate
from sdk.matrix.generate import GENERATORS, Generator, main
from tests.support.processes import ROOT


def test_the_guide_lists_what_is_tried() -> None:
    """Each generator, in this order."""
    table = (ROOT / "docs" / "api.md").read_text().partition("| generator |")[2].partition("\n\n")[0]
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:]] == [row.name for row in GENERATORS]


def tried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *generators: Generator) -> tuple[int, str]:
    monkeypatch.setattr(generate, "GENERATORS", generators)
    result = CliRunner().invoke(main, ["--into", str(tmp_path / "matrix")])
    assert "Traceback" not in result.output
    return result.exit_code, result.output


def test_each_failure_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With the words of the tool; the others are tried all the same."""
    code, said = tried(
        monkeypatch,
        tmp_path,
        Generator("one", "cat no-such-file"),
        Generator("two", "cp {contract} {out}/client", "grep no-such-line client"),
        Generator("three", "no-such-generator"),
        Generator("four", "cp {contract} {out}/client", "grep openapi client"),
    )
    assert code == 1
    assert "one: failed: cat: cat: no-such-file: No such file or directory" in said
    assert "two: failed: grep: " in said
    assert "three: failed: no-such-generator: no-such-generator is not installed" in said
    assert "four: generated, checked in " in said
    assert said.endswith("Error: 3 of 4 generators failed\n")


def test_a_generator_that_does_not_end_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """After five minutes."""
    monkeypatch.setattr(generate, "_TIMEOUT_SECONDS", 0.01)
    code, said = tried(monkeypatch, tmp_path, Generator("slow", "sleep 60"))
    assert (code, "slow: failed: sleep: not finished after" in said) == (1, True)


def test_a_file_that_is_no_contract_gets_a_sentence(tmp_path: Path) -> None:
    """Before anything is generated."""
    (tmp_path / "openapi.yaml").write_text("[]")
    result = CliRunner().invoke(main, [str(tmp_path / "openapi.yaml"), "--into", str(tmp_path / "matrix")])
    assert (result.exit_code, "is not an OpenAPI 3.0 document" in result.output) == (1, True)
    assert not (tmp_path / "matrix").exists()
