"""Rate limits as callers see them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RateLimit:
    """The state of one rate limit of one caller.

    `limit` requests are allowed in `window` seconds; `remaining` are left, and all are back in `reset` seconds.
    `retry_after` is 0 if the request was allowed, else the seconds until the next one is.
    """

    name: str
    limit: int
    window: int
    remaining: int
    reset: int
    retry_after: int
