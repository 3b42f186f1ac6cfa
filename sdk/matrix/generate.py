"""`make sdk-matrix`: a client of the contract from each generator that consumers are likely to use.

Each must generate without an error, with its own validation on. Go and Python must compile, TypeScript must pass
`tsc --strict`. Nothing of it is shipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import click

from spec.check import read_contract

_ROOT = Path(__file__).parent.parent.parent
_HERE = Path(__file__).parent
_TIMEOUT_SECONDS = 300


@dataclass(frozen=True)
class Generator:
    """A generator: its command and what checks its client, with {contract} and {out}, the client's folder."""

    name: str
    generate: str
    check: str = ""


def _openapi_generator(language: str, options: str = "", check: str = "") -> Generator:
    return Generator(
        f"openapi-generator {language}",
        f"openapi-generator-cli generate -i {{contract}} -g {language} -o {{out}} {options}",
        check,
    )


_TSC = "tsc --project {out}"
GENERATORS = (
    _openapi_generator("java"),
    # Two enums have a value of the same name, which Go's constants would share.
    _openapi_generator("go", "--additional-properties=enumClassPrefix=true", "go build ./..."),
    _openapi_generator("csharp"),
    _openapi_generator("rust"),
    _openapi_generator("kotlin"),
    _openapi_generator("php"),
    _openapi_generator("ruby"),
    _openapi_generator("typescript-fetch", check=_TSC),
    Generator("orval", "orval --input {contract} --output {out}/client.ts --client fetch", _TSC),
    Generator("swagger-typescript-api", "swagger-typescript-api generate --path {contract} --output {out}", _TSC),
    Generator("openapi-zod-client", "openapi-zod-client {contract} -o {out}/client.ts", _TSC),
    Generator(
        "datamodel-code-generator",
        "datamodel-codegen --input {contract} --input-file-type openapi --output-model-type pydantic_v2.BaseModel"
        " --formatters builtin --output {out}/models.py",
        f"{sys.executable} -m py_compile models.py",
    ),
)


def run(command: str, out: Path) -> str | None:
    """What a command printed if it failed; None if it succeeded."""
    programs = [str(_ROOT / ".venv-matrix" / "bin"), str(_HERE / "node_modules" / ".bin"), os.environ["PATH"]]
    environment = os.environ | {"PATH": os.pathsep.join(programs), "GOFLAGS": "-mod=mod", "GOPROXY": "off"}
    try:
        done = subprocess.run(  # noqa: S603  # our own tools
            command.split(),
            cwd=out,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except FileNotFoundError as error:
        return f"{error.filename} is not installed; make sdk-matrix installs what it needs"
    except subprocess.TimeoutExpired:
        return f"not finished after {_TIMEOUT_SECONDS} s"
    return done.stdout if done.returncode else None


def attempt(generator: Generator, contract: Path, out: Path) -> str | None:
    """Generates and checks a client in `out`. Returns what went wrong; None if nothing did."""
    out.mkdir(parents=True)
    shutil.copy(_HERE / "tsconfig.json", out)
    for command in filter(None, (generator.generate, generator.check)):
        failure = run(command.format(contract=contract, out=out), out)
        if failure is not None:
            return f"{command.split()[0]}: {failure}"
    return None


@click.command()
@click.argument("contract", type=click.Path(path_type=Path), default=_ROOT / "openapi.yaml")
@click.option("--into", type=click.Path(path_type=Path), default=_ROOT / "dist" / "matrix", help="It is emptied.")
def main(contract: Path, into: Path) -> None:
    """Try CONTRACT with every generator. Exits with 1 if it is no contract, or if one of them fails."""
    read_contract(contract)
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    (into / "node_modules").symlink_to(_HERE / "node_modules")
    failed = 0
    for generator in GENERATORS:
        began = time.monotonic()
        failure = attempt(generator, contract.absolute(), into / generator.name.replace(" ", "-"))
        failed += failure is not None
        outcome = f"{'generated, checked' if generator.check else 'generated'} in {time.monotonic() - began:.1f} s"
        click.echo(f"{generator.name}: {outcome if failure is None else f'failed: {failure}'}")
    if failed:
        raise click.ClickException(f"{failed} of {len(GENERATORS)} generators failed")


if __name__ == "__main__":
    main()
