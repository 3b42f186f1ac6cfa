"""Pages of a list: where one ends is told by the last of it, so that who comes and goes does not disturb the next."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from domain.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some of a list; `next_cursor` is None on the last page."""

    items: Sequence[T]
    next_cursor: str | None


def cursor_of(*position: str | int) -> str:
    """The cursor that goes on after `position`."""
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode().rstrip("=")


def position_in(cursor: str | None, *types: type) -> tuple[Any, ...] | None:
    """The position that `cursor` goes on after; None where there is none. Raises InputError."""
    if cursor is None:
        return None
    try:
        position = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, binascii.Error, RecursionError) as error:
        raise _not_ours() from error
    if not isinstance(position, list) or [type(part) for part in position] != list(types):
        raise _not_ours()
    # More than that no database counts.
    if any(isinstance(part, int) and abs(part) >= 2**63 for part in position):
        raise _not_ours()
    return tuple(position)


def _not_ours() -> InputError:
    return InputError("cursor must be what a page of this list before gave as its nextCursor")
