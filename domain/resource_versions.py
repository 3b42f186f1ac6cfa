"""Versions of resources, for changes on condition that nothing else has changed."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from domain.errors import PreconditionFailedError


def version_of(state: Any) -> str:
    """Identifies `state`, which can be written as JSON: 32 hex digits."""
    return hashlib.sha256(orjson.dumps(state, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]


def require_version(actual: str, expected: frozenset[str] | None, kind: str) -> None:
    """Raises PreconditionFailedError unless `actual` is one of the `expected` versions; None means any."""
    if expected is not None and actual not in expected:
        raise PreconditionFailedError(f"The {kind} has changed; read it again")
