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
    install = (Path(sys.executable).parent / "uv", "pip", "install", "--quiet", "--compile-bytecode", "--no-deps")
    run(*install, "--python", sys.executable, "--target", folder, built, cwd=folder)
    return folder


def install_package(folder: Path, **programs: str) -> Path:
    """Makes `folder` a project that has the tarball, the tests of the client and `programs`, all of them compiled.

    At once, since `tsc` spends most of its time on the types of the client.
    """
    shutil.copytree(SDK / "typescript" / "tests", folder, dirs_exist_ok=True)
    for name, code in programs.items():
        (folder / f"{name}.ts").write_text(code)
    [built] = DIST.glob("*.tgz")
    run("npm", "install", "--silent", "--no-save", "--ignore-scripts", built, cwd=folder)
    (folder / "node_modules" / "@types").symlink_to(NODE_MODULES / "@types")
    run(NODE_MODULES / ".bin" / "tsc", "--project", folder, cwd=folder)
    return folder


def python_story(wheel: Path, url: str, tokens: Mapping[str, str] | None = None, workload_token: str = "") -> None:
    """Runs the tests of the Python client against `url`, with these tokens by user ref, else with the mock's.

    Without `workload_token` there is no workload in it.
    """
    files = ("test_client.py", "test_story.py")
    printed = _python_tests(wheel, *files, **_environment(url, tokens, workload_token))
    assert ("17 passed" if workload_token else "16 passed, 1 skipped") in printed


def command_tests(wheel: Path) -> str:
    """Runs the tests of `litellm-key`, which have a service of their own."""
    return _python_tests(wheel, "command")


def _python_tests(wheel: Path, *files: str, **environment: str) -> str:
    pytest = (Path(sys.executable).parent / "pytest", "-q", "-p", "no:cacheprovider", "-p", "pytest_asyncio.plugin")
    environment |= {"PYTHONPATH": str(wheel), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # schemathesis' takes a second
    return run(*pytest, *files, cwd=SDK / "python" / "tests", **environment)


def typescript_story(
    package: Path, url: str, tokens: Mapping[str, str] | None = None, workload_token: str = ""
) -> None:
    """The same for the TypeScript client."""
    printed = run("node", "--test", package, cwd=package, **_environment(url, tokens, workload_token))
    assert f"# pass {17 if workload_token else 16}" in printed


def _environment(url: str, tokens: Mapping[str, str] | None, workload_token: str) -> dict[str, str]:
    given = {"ORCHESTRATOR_URL": url, "ORCHESTRATOR_TOKENS": json.dumps(tokens or {})}
    return given | ({"ORCHESTRATOR_WORKLOAD_TOKEN": workload_token} if workload_token else {})
