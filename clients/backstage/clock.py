"""Backstage's clock, by the `Date` of a response (RFC 9110, section 6.6.1)."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import parsedate_to_datetime

import httpx

from domain.errors import UpstreamFaultError, UpstreamUnavailableError
from settings.model import Timeouts

_PATH = "/api/auth/.well-known/jwks.json"


async def clock_difference(
    base_url: str, timeouts: Timeouts, now: Callable[[], float], transport: httpx.AsyncBaseTransport | None
) -> float:
    """The seconds by which Backstage's clock is ahead of `now`. Raises UpstreamError."""
    timeout = httpx.Timeout(timeouts.read, connect=timeouts.connect)
    try:
        async with httpx.AsyncClient(transport=transport, timeout=timeout) as client:
            response = await client.get(base_url + _PATH)
    except httpx.HTTPError as error:
        raise UpstreamUnavailableError("Backstage cannot be reached") from error
    try:
        return parsedate_to_datetime(response.headers["Date"]).timestamp() - now()
    except (KeyError, ValueError) as error:
        raise UpstreamFaultError("Backstage's response has no date") from error
