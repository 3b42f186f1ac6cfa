"""The built clients, installed as their users do, and the stories that use them against a running service."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.support.processes import ROOT

SDK, DIST = ROOT / "sdk", ROOT / "dist"
NODE_MODULES = SDK / "typescript" / "node_modules"


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """What a program prints. It must succeed."""
    done = subprocess.run(command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def install_wheel(folder: Path) -> Path:
    """Installs the wheel into `folder`."""
    [built] = DIST.glob("*.whl")
    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, built, cwd=folder)
    return folder


def install_package(folder: Path) -> Path:
    """Makes `folder` a project that has the tarball, and the tests of the client."""
    shutil.copytree(SDK / "typescript" / "tests", folder, dirs_exist_ok=True)
    [built] = DIST.glob("*.tgz")
    run("npm", "install", "--silent", "--no-save", "--ignore-scripts", built, cwd=folder)
    (folder / "node_modules" / "@types").symlink_to(NODE_MODULES / "@types")
    return folder


def python_story(wheel: Path, url: str, tokens: Mapping[str, str] | None = None) -> None:
    """Runs the tests of the Python client against `url`, with these tokens by user ref, else with the mock's."""
    tests = SDK / "python" / "tests"
    printed = run(
        Path(sys.executable).parent / "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", tests,
        cwd=tests, PYTHONPATH=str(wheel), ORCHESTRATOR_URL=url, ORCHESTRATOR_TOKENS=json.dumps(tokens or {}),
    )  # fmt: skip
    assert "14 passed" in printed


def typescript_story(package: Path, url: str, tokens: Mapping[str, str] | None = None) -> None:
    """The same for the TypeScript client."""
    run(NODE_MODULES / ".bin" / "tsc", "--project", package, cwd=package)
    environment = {"ORCHESTRATOR_URL": url, "ORCHESTRATOR_TOKENS": json.dumps(tokens or {})}
    printed = run("node", "--test", package, cwd=package, **environment)
    assert "# pass 14" in printed
