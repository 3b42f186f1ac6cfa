"""Rows of LiteLLM that are odd: another tool or an older version wrote a null, a number for a text, an object.

An odd column is left out. Where a row must have a value, or none would mean that there is no limit, the strictest value
stands in its place: nothing odd is ever taken for more than LiteLLM may allow.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import Any

import structlog
from msgspec import Struct, ValidationError, convert
from msgspec.structs import FieldInfo, fields

from clients.litellm.fields import KeyRow, OddKeyRow, OddUserRow, UserRow
from domain.models import NO_MODELS

log = structlog.get_logger(__name__)

KEYS, USERS = "LiteLLM_VerificationToken", "LiteLLM_UserTable"
"""LiteLLM's tables."""
WHOLE_ROW = "*"
"""The column of a row that LiteLLM itself fails to show."""

_MOST_LOGGED = 1000


class OddRows:
    """Says what is odd: `count` gets table and column at each reading, and the log has each row and column once.

    The log ends after a thousand in one process; what is wrong with so many rows is known by then.
    """

    def __init__(self, count: Callable[[str, str], None] = lambda *_: None) -> None:
        self._count = count
        self._logged: set[tuple[str, str, str]] = set()

    def note(self, table: str, row: str, columns: Collection[str]) -> None:
        """`row` is the id of a user or a key, never a secret; for a key without an id it is its owner."""
        for column in sorted(columns):
            self._count(table, column)
            if (table, row, column) not in self._logged and len(self._logged) < _MOST_LOGGED:
                self._logged.add((table, row, column))
                log.warning("a row of LiteLLM is odd", table=table, row=row, column=column)


def key_row(row: Mapping[str, Any]) -> KeyRow:
    """The row of a key. Without a token or an owner that can be read, these are empty."""
    known, odd = _known(KeyRow, row)
    strict: dict[str, Any] = {"token": "", "user_id": None, "models": [NO_MODELS], "metadata": {}}
    strict["spend"] = _spend(known)
    return OddKeyRow(**{**strict, **known}, odd=odd) if odd else KeyRow(**known)


def user_row(row: Mapping[str, Any]) -> UserRow:
    """The row of a user. Without an id that can be read, it is empty."""
    known, odd = _known(UserRow, row)
    strict = {"user_id": "", "spend": _spend(known)} | {name: _STRICT[name] for name in odd & _STRICT.keys()}
    return OddUserRow(**{**strict, **known}, odd=odd) if odd else UserRow(**known)


def unreadable_user(user_id: str) -> UserRow:
    """The row of a user whom LiteLLM has and fails to show."""
    return OddUserRow(user_id=user_id, spend=0.0, **_STRICT, odd=frozenset(UserRow.__struct_fields__) - {"user_id"})


def is_over_budget(spend: Any, max_budget: Any) -> bool:
    """Whether LiteLLM refuses calls; in doubt it does."""
    if max_budget is None:
        return False
    return not (_is_number(spend) and _is_number(max_budget)) or spend >= max_budget


_STRICT: dict[str, Any] = {"max_budget": 0.0, "tpm_limit": 0, "rpm_limit": 0, "models": [NO_MODELS]}
"""What stands for an odd limit of a user, where null and an empty list would mean that there is none."""


def _known(kind: type[Struct], row: Mapping[str, Any]) -> tuple[dict[str, Any], frozenset[str]]:
    """The columns that have the types of `kind`, and the names of those that have not."""
    known: dict[str, Any] = {}
    odd = set()
    for column in _columns(kind):
        if column.encode_name not in row and not column.required:
            continue
        try:
            known[column.name] = convert(row.get(column.encode_name), column.type)
        except ValidationError:
            odd.add(column.name)
    return known, frozenset(odd)


@cache
def _columns(kind: type[Struct]) -> tuple[FieldInfo, ...]:
    """Those of `kind`. Finding their types takes fifty times as long as reading a row."""
    return fields(kind)


def _spend(known: Mapping[str, Any]) -> float:
    """What stands for an odd spend: the whole budget."""
    return known.get("max_budget") or 0.0


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
