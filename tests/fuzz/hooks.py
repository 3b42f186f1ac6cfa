"""Adds bodies to the links of the contract, for schemathesis only: the most used client generator rejects them."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import schemathesis

LINK_BODIES: dict[str, Any] = {
    "createUserKey": {},
    "updateUserKey": {"alias": "renamed"},
    "regenerateUserKey": {"overlap": 60},
}


@schemathesis.hook
def filter_path_parameters(_context: Any, path_parameters: dict[str, Any] | None) -> bool:
    """Leaves out names with code points that Unicode has not assigned: no pattern says which those are."""
    return _is_assigned(path_parameters, "userId")


@schemathesis.hook
def filter_query(_context: Any, query: dict[str, Any] | None) -> bool:
    """As `filter_path_parameters`."""
    return _is_assigned(query, "userId")


@schemathesis.hook
def filter_body(_context: Any, body: Any) -> bool:
    """As `filter_path_parameters`."""
    return not isinstance(body, dict) or _is_assigned(body, "owner")


def _is_assigned(values: Mapping[str, Any] | None, name: str) -> bool:
    return all(unicodedata.category(character) != "Cn" for character in unquote(str((values or {}).get(name, ""))))


@schemathesis.hook
def before_load_schema(_context: Any, raw_schema: dict[str, Any]) -> None:
    """Called by schemathesis with the parsed contract."""
    for item in raw_schema["paths"].values():
        for operation in (row for row in item.values() if isinstance(row, dict)):
            for response in operation["responses"].values():
                for link in response.get("links", {}).values():
                    if link["operationId"] in LINK_BODIES:
                        link["requestBody"] = LINK_BODIES[link["operationId"]]
