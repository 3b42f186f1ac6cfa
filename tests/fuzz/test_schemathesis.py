"""Fuzzes the running service against its own contract, as nobody, a member and an admin."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

import pytest

from tests.conftest import ALICE, BASE, BOB
from tests.support.processes import ROOT, listening

# Schemathesis leaves out the operation that it read the contract from, so the roles read it from different ones.
ROLES = {"nobody": (None, "openapi.json"), "member": (ALICE, "openapi.json"), "admin": (BOB, "openapi.yaml")}
REACHED = {
    "member": r'"method": "DELETE", "path": "[^"]*/keys/[^"]*", "status": 204',
    "admin": r'"method": "DELETE", "path": "[^"]*/users/[^"/]*", "status": 200',
}
"""A change that each role must make at least once."""
_OPERATIONS = 46
_EXAMPLES = os.environ.get("FUZZ_EXAMPLES", "100")
"""Examples per operation."""


@pytest.mark.fuzz
@pytest.mark.parametrize("role", ROLES)
async def test_nothing_is_found(role: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All phases, all checks. The whole report stands in the failure."""
    ref, document = ROLES[role]
    nothing = tmp_path / "nothing.yaml"
    nothing.write_text("{}\n")
    arguments = ("--port", "0", "--rate-per-minute", "100000", "--seed", str(nothing))
    async with listening(*arguments, program="standalone") as running:
        command = [str(Path(sys.executable).with_name("st")), "--config-file", str(ROOT / "schemathesis.toml")]
        command += ["--no-color", "run", f"{running.origin}{BASE}/{document}", "--continue-on-failure"]
        command += ["--max-examples", _EXAMPLES]
        if ref:
            command += ["--header", f'Authorization: Bearer mock-user-token:{{"sub":"{ref}"}}']
        environment = os.environ | {"SCHEMATHESIS_HOOKS": "tests.fuzz.hooks", "PYTHONPATH": str(ROOT)}
        fuzzing = await asyncio.create_subprocess_exec(
            *command, cwd=tmp_path, stdout=PIPE, stderr=STDOUT, env=environment
        )
        report = (await fuzzing.communicate())[0].decode()
        logged = await running.stop()
    with capsys.disabled():
        figures = re.findall(r"^ *(\d+ generated.*|=+ (?:No issues|\d+ ).* in .*)$", report, re.MULTILINE)
        print(f"\n{role}: {'; '.join(figures)}")
    assert fuzzing.returncode == 0, report
    assert re.search(r"(\d+) generated, \1 passed", report), report
    assert f"Tested: {_OPERATIONS}" in report, report
    assert '"status": 500' not in logged
    if role in REACHED:
        assert re.search(REACHED[role], logged), "no such change ever succeeded: the fuzzer does not get through"
