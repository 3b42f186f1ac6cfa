"""The running service fuzzed against its own contract, by nobody, a member and an admin."""

from __future__ import annotations

import asyncio
import re
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

import pytest

from tests.conftest import ALICE, BASE, BOB
from tests.support.processes import ROOT, listening

# Schemathesis leaves out the operation that it read the contract from, so not everybody reads it from the same.
ROLES = {"nobody": (None, "openapi.json"), "member": (ALICE, "openapi.json"), "admin": (BOB, "openapi.yaml")}
_OPERATIONS = 23


@pytest.mark.parametrize("role", ROLES)
async def test_nothing_is_found(role: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All phases, all checks; the whole report stands in the failure."""
    ref, document = ROLES[role]
    async with listening("standalone", "--port", "0", "--creates-per-minute", "100000") as running:
        command = [
            str(Path(sys.executable).with_name("st")),
            "--config-file",
            str(ROOT / "schemathesis.toml"),
            "--no-color",
        ]
        command += ["run", f"{running.origin}{BASE}/{document}", "--continue-on-failure"]
        if ref:
            command += ["--header", f'Authorization: Bearer mock-user-token:{{"sub":"{ref}"}}']
        fuzzing = await asyncio.create_subprocess_exec(*command, cwd=tmp_path, stdout=PIPE, stderr=STDOUT)
        # The service writes a line for each request: they must be read, or it would wait for a reader.
        assert running.process.stdout is not None
        log = asyncio.create_task(running.process.stdout.read())
        report = (await fuzzing.communicate())[0].decode()
        running.process.terminate()
        logged = (await log).decode()
    with capsys.disabled():
        print(
            f"\n{role}: "
            + "; ".join(re.findall(r"^ *(\d+ generated.*|=+ (?:No issues|\d+ ).* in .*)$", report, re.MULTILINE))
        )
    assert fuzzing.returncode == 0, report
    assert re.search(r"(\d+) generated, \1 passed", report), report
    assert f"Tested: {_OPERATIONS}" in report, report
    assert '"status": 500' not in logged
    if ref:
        assert re.search(r'"method": "DELETE".*"status": 204', logged), (
            "no key was ever deleted: the links are not walked"
        )
