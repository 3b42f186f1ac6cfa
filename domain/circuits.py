"""The circuit breakers towards LiteLLM and Backstage."""

from __future__ import annotations

from enum import StrEnum


class Circuit(StrEnum):
    """Whether calls are made: all of them, none, or one that finds out whether the upstream is back."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"
