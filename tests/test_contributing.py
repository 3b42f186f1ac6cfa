"""The walk through a first change, in CONTRIBUTING.md, leads where it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.support.processes import ROOT

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FAILED = 1


def test_the_first_change(tmp_path: Path) -> None:
    """Its diffs apply; its test is red before the one of the handler, and green with the whole file after it."""
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", ROOT, clone], check=True)
    blocks = _BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text("utf-8"))
    [command] = [text for language, text in blocks if language == "sh"]
    diffs = [text for language, text in blocks if language == "diff"]

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        program, *arguments = command.split()
        assert program == ".venv/bin/python"
        return subprocess.run(
            [sys.executable, *arguments, *more], cwd=clone, capture_output=True, text=True, check=False
        )

    for diff in diffs:
        if "+++ b/handlers/" in diff:
            red = run()
            assert (red.returncode, "'total' is a required property" in red.stdout) == (_FAILED, True), red.stdout
        # Whatever else the changelog says by then, a line above it can be added.
        subprocess.run(["git", "apply", "--unidiff-zero", "-"], input=diff, text=True, cwd=clone, check=True)
    green = run("-k", "models")
    assert green.returncode == 0, green.stdout
    assert " passed" in green.stdout
