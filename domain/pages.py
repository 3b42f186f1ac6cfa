"""Pages of a list. A cursor names the last item of a page, so items that come and go do not shift the next page."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from domain.errors import InputError

T = TypeVar("T")

DEFAULT_PAGE_SIZE = 50
_MAX_INTEGER = 2**63
"""The range of a database's integers. No time is beyond it either, and NaN is not below it."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a list. `next_cursor` is None on the last page."""

    items: Sequence[T]
    next_cursor: str | None


def cursor_of(*position: str | float) -> str:
    """The cursor of the page after `position`."""
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode().rstrip("=")


def position_in(cursor: str | None, *types: type) -> tuple[Any, ...] | None:
    """The position that `cursor` names, or None without a cursor. Raises InputError."""
    if cursor is None:
        return None
    try:
        position = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, binascii.Error, RecursionError) as error:
        raise _invalid_cursor() from error
    if not isinstance(position, list) or [type(part) for part in position] != list(types):
        raise _invalid_cursor()
    if any(isinstance(part, (int, float)) and not abs(part) < _MAX_INTEGER for part in position):
        raise _invalid_cursor()
    return tuple(position)


def _invalid_cursor() -> InputError:
    return InputError("cursor must be the nextCursor of an earlier page of this list")
