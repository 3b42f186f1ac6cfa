"""The same for TOML. Values are given and returned as JSON; tomlkit keeps every other byte."""

from __future__ import annotations

import json
import tomllib
from collections.abc import MutableMapping, Sequence
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

_BOM = "\ufeff"


class NotTomlError(ValueError):
    """The text is no TOML, or has something else at the path."""


def value_at(text: str, path: Sequence[str]) -> str | None:
    """A value, or None if there is none. Raises NotTomlError."""
    found: Any = _parse(text)
    for name in path:
        if not isinstance(found, MutableMapping) or name not in found:
            return None
        found = found[name]
    return json.dumps(found.unwrap() if hasattr(found, "unwrap") else found)


def with_value(text: str, path: Sequence[str], value: str) -> str:
    """The text with this value at the path, whose tables are made if they are missing. Raises NotTomlError."""
    document = _parse(text)
    parent: Any = document
    for name in path[:-1]:
        if name not in parent:
            parent[name] = tomlkit.table(is_super_table=True)
        parent = parent[name]
        if not isinstance(parent, MutableMapping):
            raise NotTomlError(f"{name} is no table")
    parent[path[-1]] = _table(json.loads(value))
    return _dumped(text, document, path, json.loads(value))


def without_value(text: str, path: Sequence[str]) -> str:
    """The text without it, if it is there. Raises NotTomlError."""
    if value_at(text, path) is None:
        return text
    document = _parse(text)
    parent: Any = document
    for name in path[:-1]:
        parent = parent[name]
    del parent[path[-1]]
    return _dumped(text, document, path, None)


def _dumped(text: str, document: tomlkit.TOMLDocument, path: Sequence[str], value: Any) -> str:
    """The new text, if it means what it should: tomlkit puts some values where they belong to another table."""
    dumped, wanted = tomlkit.dumps(document), tomllib.loads(text.removeprefix(_BOM))
    parent = wanted
    for name in path[:-1]:
        parent = parent.setdefault(name, {})
    if value is None:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    if _meaning(tomllib.loads(dumped)) != _meaning(wanted):
        raise NotTomlError(f"{'.'.join(path)} cannot be changed in it without changing more")
    return text[: len(text) - len(text.removeprefix(_BOM))] + dumped


def _meaning(table: dict[str, Any]) -> dict[str, Any]:
    """Without empty tables: the last value of one takes along the header that only it had needed."""
    inner = {name: _meaning(value) if isinstance(value, dict) else value for name, value in table.items()}
    return {name: value for name, value in inner.items() if value != {}}


def _table(value: Any) -> Any:
    """Objects are tables of their own, with a line for each value."""
    if not isinstance(value, dict):
        return value
    table = tomlkit.table()
    for name, each in value.items():
        table[name] = _table(each)
    return table


def _parse(text: str) -> tomlkit.TOMLDocument:
    try:
        return tomlkit.parse(text.removeprefix(_BOM))
    except TOMLKitError as error:
        raise NotTomlError(f"it is no TOML: {error}") from error
