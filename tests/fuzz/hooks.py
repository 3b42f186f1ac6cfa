"""Adds bodies to the links of the contract, for schemathesis only: the most used client generator rejects them."""

from __future__ import annotations

import unicodedata
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
    user_id = unquote(str((path_parameters or {}).get("userId", "")))
    return all(unicodedata.category(character) != "Cn" for character in user_id)


@schemathesis.hook
def before_load_schema(_context: Any, raw_schema: dict[str, Any]) -> None:
    """Called by schemathesis with the parsed contract."""
    for item in raw_schema["paths"].values():
        for operation in (row for row in item.values() if isinstance(row, dict)):
            for response in operation["responses"].values():
                for link in response.get("links", {}).values():
                    if link["operationId"] in LINK_BODIES:
                        link["requestBody"] = LINK_BODIES[link["operationId"]]
