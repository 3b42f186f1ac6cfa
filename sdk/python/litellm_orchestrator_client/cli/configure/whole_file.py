"""A file that is the command's own as a whole. Its only path is the empty one; the value is its text as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence


def value_at(text: str, path: Sequence[str]) -> str | None:  # noqa: ARG001  # as the other languages have it
    """All of it, or None for an empty file."""
    return json.dumps(text) if text else None


def with_value(text: str, path: Sequence[str], value: str) -> str:  # noqa: ARG001  # the same
    """The new content."""
    return str(json.loads(value))


def without_value(text: str, path: Sequence[str]) -> str:  # noqa: ARG001  # the same
    """Nothing."""
    return ""
