"""Reads the parameters of a request strictly: rejects what could be read in two ways."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_to_bytes

import inflection
from starlette.datastructures import Headers
from starlette.types import Scope

from domain import refs
from domain.errors import InputError
from edge.checks import ContractValidator, check
from edge.paths import decode_segment

_REMEMBERED = 1024
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}")


class Parameters:
    """The parameters of one operation, by their names in snake_case; `from` becomes `from_`."""

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        if others := {row["in"] for row in rows} - {"path", "query", "header"}:
            raise NotImplementedError(f"parameters in {others}")
        self._path = [_Parameter(row) for row in rows if row["in"] == "path"]
        self._query = {row["name"]: _Parameter(row) for row in rows if row["in"] == "query"}
        self._headers = [_Parameter(row) for row in rows if row["in"] == "header"]

    @property
    def names(self) -> set[str]:
        """The argument names of what `read` returns."""
        return {row.argument for row in (*self._path, *self._query.values(), *self._headers)}

    def read(self, scope: Scope) -> dict[str, Any]:
        """The values by argument name; None for an absent parameter without a default. Raises InputError."""
        given = self._given(scope["query_string"])
        headers = Headers(scope=scope)
        found = {row.argument: row.checked(decode_segment(str(scope["path_params"][row.name]))) for row in self._path}
        found |= {row.argument: row.checked(given.get(name)) for name, row in self._query.items()}
        return found | {row.argument: row.checked(_only(headers, row.name)) for row in self._headers}

    def _given(self, query: bytes) -> dict[str, str]:
        given: dict[str, str] = {}
        for pair in query.split(b"&") if query else []:
            name, _, value = (_text(part) for part in pair.partition(b"="))
            if name not in self._query:
                accepted = ", ".join(self._query) or "none"
                raise InputError(f"The query has an unknown parameter; this operation accepts: {accepted}")
            if name in given:
                raise InputError(f"The query has {name} more than once")
            given[name] = value
        return given


class _Parameter:
    """One parameter with its schema."""

    def __init__(self, row: Mapping[str, Any]) -> None:
        self.name: str = row["name"]
        argument = inflection.underscore(row["name"])
        self.argument = f"{argument}_" if keyword.iskeyword(argument) else argument
        self._is_number = row["schema"]["type"] == "integer"
        self._is_owner = row["schema"].get("x-entity-ref") == "owner"
        self._default = row["schema"].get("default")
        self._validator = ContractValidator(row["schema"])
        # The same ids come again and again, and jsonschema is slow for a short string.
        self._parse = lru_cache(_REMEMBERED)(self._checked)

    def checked(self, text: str | None) -> Any:
        """The parsed value, the id of an owner in lower case, or the default. Raises InputError."""
        return self._default if text is None else self._parse(text)

    def _checked(self, text: str) -> Any:
        value = int(text) if self._is_number and _WHOLE_NUMBER.fullmatch(text) else text
        check(self._validator, value, self.name)
        return refs.owner_id(text, self.name) if self._is_owner else value


def _text(part: bytes) -> str:
    try:
        return unquote_to_bytes(part.replace(b"+", b" ")).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError("The query is not UTF-8 once percent-decoded") from error


def _only(headers: Headers, name: str) -> str | None:
    values = headers.getlist(name)
    if len(values) > 1:
        raise InputError(f"The header {name} appears more than once")
    return values[0] if values else None
