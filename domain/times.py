"""Times as callers write and read them."""

from __future__ import annotations

from datetime import UTC, datetime

from domain.errors import InputError


def seconds_of(moment: str, name: str) -> float:
    """A time of RFC 3339 in seconds since the epoch; beyond a microsecond it is cut off. Raises InputError.

    `name` is what the caller calls it.
    """
    try:
        return datetime.fromisoformat(moment.upper()).timestamp()
    except ValueError as error:
        raise InputError(f"{name} must be a time such as 2026-11-23T12:00:00Z") from error


def text_of(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
