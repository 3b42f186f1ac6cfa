"""The rules that `make spec-check` applies, where they depend on the contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.support.contract import CONTRACT_DOCUMENT, operations, resolved

RULES = Path(__file__).parent.parent.parent / "spec" / "spectral.yaml"
SCHEMA = "**#/components/schemas/"


def references(node: Any) -> Iterator[str]:
    """All references below `node`, and below what they refer to."""
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
            yield from references(resolved(node))
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_only_schemas_of_responses_may_lack_limits() -> None:
    """A schema that a request can contain is not on the list, and each of the others is."""
    overrides = yaml.safe_load(RULES.read_text())["overrides"]
    [without] = [row["files"] for row in overrides if "owasp:api4:2023-string-limit" in row["rules"]]
    sent = {
        reference.rpartition("/")[2]
        for _, _, row in operations().values()
        for reference in references([row.get("parameters"), row.get("requestBody")])
        if "/schemas/" in reference
    }
    assert {"CreateUserKeyRequest", "UserRef", "KeyMetadataValue"} <= sent
    assert sorted(name.removeprefix(SCHEMA) for name in without if name.startswith(SCHEMA)) == sorted(
        CONTRACT_DOCUMENT["components"]["schemas"].keys() - sent
    )
