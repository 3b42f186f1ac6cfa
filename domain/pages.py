"""Pages of a list. A cursor names the last item of a page, so items that come and go do not shift the next page."""

from __future__ import annotations

import base64
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
    text = json.dumps(position, ensure_ascii=False, separators=(", ", ": "))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def position_in(cursor: str | None, *types: type) -> tuple[Any, ...] | None:
    """The position that `cursor` names, or None without a cursor.

    Raises InputError for a cursor that no list made: of other parts, of values that no database has, or spelled
    otherwise than `cursor_of` does.
    """
    if cursor is None:
        return None
    try:
        position = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        is_ours = (
            isinstance(position, list)
            and [type(part) for part in position] == list(types)
            and all(map(_is_storable, position))
            and cursor_of(*position) == cursor
        )
    except (ValueError, RecursionError) as error:
        raise _invalid_cursor() from error
    if not is_ours:
        raise _invalid_cursor()
    return tuple(position)


def _is_storable(part: str | float) -> bool:
    return "\0" not in part if isinstance(part, str) else abs(part) < _MAX_INTEGER


def _invalid_cursor() -> InputError:
    return InputError("cursor must be the nextCursor of an earlier page of this list")
