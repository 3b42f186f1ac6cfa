"""`make sdk`: the typed clients for Python and TypeScript, made from the contract into `dist/`.

`dist/python` and `dist/typescript` are the sources of the wheel and of the tarball beside them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import click
import yaml

from spec.check import read_contract

_ROOT = Path(__file__).parent.parent
_PYTHON = _ROOT / "sdk" / "python"
_TYPESCRIPT = _ROOT / "sdk" / "typescript"
_PACKAGE = "litellm_orchestrator_client"
# Generators ignore that the probes have a server of their own, and the documents are for people and tools.
_NOT_CALLED_BY_PROGRAMS = {"documents", "health"}


class BuildError(click.ClickException):
    """Why there is no client, in a sentence, or in the words of the tool that failed."""


def check_versions(contract: dict[str, Any], python: Path, typescript: Path) -> None:
    """Raises BuildError unless both clients have the version of the contract."""
    version = contract["info"]["version"]
    versions = {
        python: tomllib.loads(python.read_text())["project"]["version"],
        typescript: json.loads(typescript.read_text())["version"],
    }
    for path, found in versions.items():
        if found != version:
            raise BuildError(f"{path} has the version {found} and the contract {version}: a client has its contract's")


def operations_of(path_item: dict[str, Any]) -> list[dict[str, Any]]:
    """The operations of a path, without what else stands there."""
    return [row for row in path_item.values() if isinstance(row, dict) and "operationId" in row]


def called_by_programs(contract: dict[str, Any]) -> dict[str, Any]:
    """The contract with the operations that a client has."""
    paths = {
        path: item
        for path, item in contract["paths"].items()
        if not any(_NOT_CALLED_BY_PROGRAMS.intersection(row.get("tags", ())) for row in operations_of(item))
    }
    return {**contract, "paths": paths}


def run(*command: str | Path, cwd: Path = _ROOT) -> None:
    """Runs a tool of the build. Raises BuildError, with what it printed, if it fails or warns."""
    programs = [str(Path(sys.executable).parent), str(_TYPESCRIPT / "node_modules" / ".bin"), os.environ["PATH"]]
    environment = os.environ | {"PATH": os.pathsep.join(programs)}
    try:
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)  # noqa: S603  # our own tools
    except FileNotFoundError as error:
        raise BuildError(f"{command[0]} is not installed; make sdk installs what it needs") from error
    printed = done.stdout + done.stderr
    if done.returncode != 0 or "warn" in printed.lower():
        raise BuildError(f"{command[0]} failed or warned:\n{printed}")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def build_python(source: Path, target: Path) -> None:
    """Writes the package to `target` and the wheel beside it."""
    package = target / _PACKAGE
    run(
        "openapi-python-client", "generate", "--meta", "none", "--fail-on-warning", "--path", source,
        "--config", _PYTHON / "generator.yaml", "--output-path", package,
    )  # fmt: skip
    for part in ("pyproject.toml", "README.md", _PACKAGE):
        _copy(_PYTHON / part, target / part)
    shutil.rmtree(package / ".ruff_cache", ignore_errors=True)
    (package / "py.typed").touch()  # PEP 561
    run("mypy", "--strict", cwd=target)
    run("hatchling", "build", "--target", "wheel", "--directory", target.parent, cwd=target)


def build_typescript(source: Path, target: Path) -> None:
    """Writes the package to `target` and the tarball beside it."""
    for part in ("package.json", "tsconfig.json", "README.md", "src"):
        _copy(_TYPESCRIPT / part, target / part)
    (target / "node_modules").symlink_to(_TYPESCRIPT / "node_modules")
    run(
        "openapi-typescript", source, "--output", target / "src" / "schema.ts",
        "--root-types", "--root-types-no-schema-prefix", "--root-types-keep-casing", "--default-non-nullable", "false",
    )  # fmt: skip
    run("tsc", "--project", target)
    run("npm", "pack", "--pack-destination", target.parent, cwd=target)


@click.command()
@click.argument("contract", type=click.Path(path_type=Path), default=_ROOT / "openapi.yaml")
@click.option("--into", type=click.Path(path_type=Path), default=_ROOT / "dist", help="The folder; it is emptied.")
def main(contract: Path, into: Path) -> None:
    """Build the clients of CONTRACT. Exits with 1 if it is no contract, has another version, or if a tool warns."""
    document = read_contract(contract)
    check_versions(document, _PYTHON / "pyproject.toml", _TYPESCRIPT / "package.json")
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    source = into / "contract.yaml"
    source.write_text(yaml.safe_dump(called_by_programs(document), sort_keys=False))
    build_python(source, into / "python")
    build_typescript(source, into / "typescript")
    for package in sorted([*into.glob("*.whl"), *into.glob("*.tgz")]):
        click.echo(f"{package.relative_to(into.parent)}  {package.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
