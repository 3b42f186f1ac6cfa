"""`make spec-check`: whether the contract is valid, and keeps what the last released one promised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import yaml
from openapi_spec_validator import OpenAPIV30SpecValidator
from openapi_spec_validator.validation.exceptions import OpenAPIValidationError

from spec.comparison import Comparison
from spec.exceptions import recorded

_ROOT = Path(__file__).parent.parent
_RELEASES = _ROOT / "docs" / "releases"


class ContractError(click.ClickException):
    """What is wrong with a contract, in a sentence."""


def read_contract(path: Path) -> dict[str, Any]:
    """The parsed contract. Raises ContractError if the file is not a valid OpenAPI 3.0 document."""
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)  # a safe loader, in C
    except (OSError, UnicodeDecodeError) as error:
        raise ContractError(f"{path} cannot be read: {type(error).__name__}") from error
    except yaml.YAMLError as error:
        raise ContractError(f"{path} is not YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(document, dict) or not str(document.get("openapi", "")).startswith("3.0."):
        raise ContractError(f"{path} is not an OpenAPI 3.0 document")
    try:
        OpenAPIV30SpecValidator(document).validate()
    except OpenAPIValidationError as error:
        raise ContractError(f"{path} is not valid: {error.message[:200]}") from error
    return document


def release_of(folder: Path, version: str | None) -> Path | None:
    """The contract of the release `version`, or of the newest one. Before the first release it is None.

    Raises ContractError if there is no release `version`.
    """
    releases = {path.stem: path for path in folder.glob("*.yaml")}
    if version is None:
        return releases[max(releases, key=_numbers)] if releases else None
    if version not in releases:
        known = ", ".join(sorted(releases, key=_numbers)) or "none"
        raise ContractError(f"There is no release {version}; there are: {known}")
    return releases[version]


def _numbers(version: str) -> tuple[int, ...]:
    try:
        return tuple(map(int, version.split(".")))
    except ValueError as error:
        raise ContractError(f"{version} is not a version such as 1.0.2") from error


@click.command()
@click.argument("contract", type=click.Path(path_type=Path), default=_ROOT / "openapi.yaml")
@click.option("--against", metavar="VERSION", help="The release to compare with; the newest one if absent.")
@click.option(
    "--releases", type=click.Path(path_type=Path), default=_RELEASES, help="Where the released contracts are."
)
def main(contract: Path, against: str | None, releases: Path) -> None:
    """Check CONTRACT. Exits with 1 if it is invalid, or if it changes a release without the version that this needs."""
    new = read_contract(contract)
    release = release_of(releases, against)
    if release is None:
        click.echo("valid; there is no release yet to compare it with")
        return
    old = read_contract(release)
    versions = (str(old["info"]["version"]), str(new["info"]["version"]))
    if old != new and _numbers(versions[1]) <= _numbers(versions[0]):
        raise ContractError(f"{versions[0]} is released; a changed contract needs a newer version than {versions[1]}")
    breaking = Comparison(old, new, recorded()).breaking_changes()
    for sentence in breaking:
        click.echo(f"breaking: {sentence}")
    if breaking and _numbers(versions[1])[0] <= _numbers(versions[0])[0]:
        raise ContractError(f"Breaking changes since {versions[0]} ({len(breaking)}) need a new major version")
    click.echo(f"valid; breaking changes since {versions[0]}: {len(breaking)}")


if __name__ == "__main__":
    main()
