"""Prints the bill of materials (CycloneDX 1.6) of the image it runs in: Debian's packages, Python and its packages."""

import json
import platform
import re
import subprocess
from importlib.metadata import distributions
from urllib.parse import quote

import yaml

_SHOWN = "${Package} ${Version} ${Architecture}\\n"


def component(name: str, version: str, purl: str) -> dict[str, str]:
    """One row, named by its package URL."""
    return {"type": "library", "name": name, "version": version, "purl": purl, "bom-ref": purl}


def debian() -> list[dict[str, str]]:
    """The packages that dpkg knows as installed."""
    listed = subprocess.check_output(["dpkg-query", "--show", "--showformat", _SHOWN], text=True)  # noqa: S603, S607
    rows = [line.split(" ") for line in listed.splitlines()]
    return [
        component(name, version, f"pkg:deb/debian/{name}@{quote(version)}?arch={arch}") for name, version, arch in rows
    ]


def python() -> list[dict[str, str]]:
    """The interpreter, and the distributions that it finds."""
    found = sorted({(re.sub(r"[-_.]+", "-", row.name).lower(), row.version) for row in distributions()})
    version = platform.python_version()
    return [
        component("python", version, f"pkg:generic/python@{version}"),
        *(component(name, version, f"pkg:pypi/{name}@{quote(version)}") for name, version in found),
    ]


if __name__ == "__main__":
    with open("/app/openapi.yaml", encoding="utf-8") as contract:  # noqa: PTH123
        described = {
            "type": "container",
            "name": "litellm-orchestrator",
            "version": yaml.safe_load(contract)["info"]["version"],
        }
    bill = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "metadata": {"component": described}}
    print(json.dumps(bill | {"components": [*debian(), *python()]}, indent=1))  # noqa: T201
