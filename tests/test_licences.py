"""What this repository is built and tested with may be used and passed on."""

from __future__ import annotations

import json
import re
from importlib import metadata
from pathlib import Path

import pytest

from tests.support.processes import ROOT

ALLOWED = {
    "0BSD", "Apache-2.0", "BlueOak-1.0.0", "BSD-2-Clause", "BSD-3-Clause", "CC-BY-4.0", "CC0-1.0", "ISC", "MIT",
    "MIT-0", "MPL-2.0", "LGPL-3.0-only", "LGPL-3.0-or-later", "PSF-2.0", "Python-2.0", "Unlicense",
}  # fmt: skip
"""By their SPDX identifiers. Whoever adds one has read what it demands of those who publish an image."""
OLD_NAMES = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "BSD": "BSD-3-Clause",
    "GNU Lesser General Public License v3 or later (LGPLv3+)": "LGPL-3.0-or-later",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
"""How metadata before PEP 639 names them."""
READ_BY_HAND = {
    "httpx-aiohttp": "BSD-3-Clause",
    **dict.fromkeys(["compute-gcd", "compute-lcm", "pastable", "reserved", "validate.io-function"], "MIT"),
    **dict.fromkeys(["validate.io-integer", "validate.io-integer-array", "validate.io-number"], "MIT"),
}
"""Their metadata do not say it; their licence file does."""
LOCK_FILES = [path for path in ROOT.rglob("package-lock.json") if "node_modules" not in path.parts]


def python_licence(distribution: metadata.Distribution) -> str:
    """As SPDX expression, if its metadata lead to one."""
    fields = distribution.metadata
    classifiers = [name.rpartition(" :: ")[2] for name in fields.get_all("Classifier", []) if "License" in name]
    plain = [OLD_NAMES.get(name, name) for name in classifiers or fields.get_all("License", [])]
    by_hand = READ_BY_HAND.get(fields["Name"].lower())
    return by_hand or " AND ".join(fields.get_all("License-Expression", plain))


def refused(licences: dict[str, str]) -> dict[str, str]:
    """Those that name anything that is not allowed, also as one of several to choose from."""
    words = {name: set(re.split(r"[\s()]+", text)) - {"AND", "OR", ""} for name, text in licences.items()}
    return {name: licences[name] for name, named in words.items() if not named or not named <= ALLOWED}


def test_python_packages() -> None:
    """All that are installed beside this service: those of its image, and those of its tests."""
    installed = {row.metadata["Name"]: python_licence(row) for row in metadata.distributions()}
    assert {"connexion", "psycopg", "pytest"} <= installed.keys()
    assert refused(installed) == {}


@pytest.mark.parametrize("path", LOCK_FILES, ids=lambda path: str(path.parent.relative_to(ROOT)))
def test_npm_packages(path: Path) -> None:
    """All that a lock file names: for the console, the checks of the contract, the clients and their matrix."""
    packages = json.loads(path.read_text())["packages"]
    names = {place: place.rpartition("node_modules/")[2] for place in packages if "node_modules/" in place}
    found = {name: packages[place].get("license") or READ_BY_HAND.get(name, "") for place, name in names.items()}
    assert len(found) > 10
    assert refused(found) == {}


@pytest.mark.parametrize("text", ["", "GPL-3.0-only", "MIT AND GPL-2.0-only", "(MIT OR SSPL-1.0)", "UNKNOWN", "mit"])
def test_what_is_refused(text: str) -> None:
    """A licence that nobody has decided about, also beside others, and none at all."""
    assert refused({"a": text, "b": "(MIT OR Apache-2.0) AND ISC"}) == {"a": text}
