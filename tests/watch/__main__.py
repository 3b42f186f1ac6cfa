"""Runs what a change touches: of the Python files as testmon recorded it, of the others by the table below.

testmon keeps in RECORD which blocks of code each test ran. Arguments are files and folders of tests; none means all of
`make test`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterable, Sequence
from contextlib import suppress

from tests.support.processes import ROOT

RECORD = ROOT / ".testmondata"
_SECONDS_BETWEEN_LOOKS = 0.3
_OF_A_PAGE = ("tests/test_documentation.py",)
_OF_OTHER_FILES = ("tests/contract", *_OF_A_PAGE)
"""What reads the contract and the pages, which testmon does not see."""
_ONCE_A_PROCESS = {"app/contract.py", "tests/conftest.py"}
"""What only the first test of all runs, so that the record of the others lacks it. So it is with migrations."""


def commands(changed: Iterable[str], tests: Sequence[str]) -> list[list[str]]:
    """The arguments of pytest for each run, given the changed files, relative to the repository."""
    names = list(changed)
    python = [name for name in names if name.endswith(".py")]
    unseen = [name for name in names if name not in python or name in _ONCE_A_PROCESS or "migrations" in name]
    of_unseen = _OF_A_PAGE if all(name.endswith(".md") for name in unseen) else _OF_OTHER_FILES
    runs = ((_recorded(tests), python), (["-m", _needs_nothing(), *of_unseen], unseen))
    return [["--exitfirst", *run] for run, files in runs if files]


def _recorded(tests: Sequence[str]) -> list[str]:
    """What testmon finds touched since it last saw a test pass; all that it has never seen."""
    return ["--testmon", "--testmon-forceselect", "-m", _needs_nothing(), *tests]


def _needs_nothing() -> str:
    """The tests without a marker: each marker names what its tests need."""
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    return " and ".join(f"not {text.partition(':')[0]}" for text in options["markers"])


def _files() -> dict[str, int]:
    """The time of the last change of each file that git does not ignore."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    found = {}
    for name in filter(None, subprocess.check_output(listed, cwd=ROOT, text=True).split("\0")):
        with suppress(OSError):  # deleted
            found[name] = (ROOT / name).stat().st_mtime_ns
    return found


def _run(arguments: Sequence[str]) -> None:
    started = time.monotonic()
    environment = os.environ | {"TESTMON_DATAFILE": str(RECORD)}
    command = [sys.executable, "-m", "pytest", "--quiet", *arguments]
    subprocess.run(command, cwd=ROOT, env=environment, check=False)  # a red test is no reason to end
    print(f"{time.monotonic() - started:.0f} s; waiting for the next change (Ctrl-C ends)", flush=True)


def main(tests: Sequence[str]) -> None:
    """Begins with what has changed since the last time, and runs for ever."""
    before = _files()
    if not RECORD.exists():
        print("The first run records which test touches what, in .testmondata: all tests, which takes minutes.")
        print("From then on a save runs what it touches. `make watch TESTS=tests/services` records only those.")
    _run(_recorded(tests))
    while True:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
        now = _files()
        changed = sorted(name for name in now.keys() | before.keys() if now.get(name) != before.get(name))
        before = now
        if changed:
            print(f"\nchanged: {', '.join(changed)}", flush=True)
            for arguments in commands(changed, tests):
                _run(arguments)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main(sys.argv[1:] or ["tests", "--ignore=tests/proof"])
