"""Backstage's clock, for `check`: tokens and their end are compared with ours."""

from __future__ import annotations

import httpx
import pytest

from clients.backstage.clock import clock_difference
from domain.errors import UpstreamFaultError, UpstreamUnavailableError
from settings.model import Timeouts
from standalone.backstage import BASE_URL
from tests.clients.backstage.conftest import JWKS
from tests.support.upstreams import Answer, answering, hang, refuse

NOW = 1_800_000_000.0
TIMEOUTS = Timeouts(connect=2.0, read=3.0)


async def difference(transport: httpx.AsyncBaseTransport) -> float:
    return await clock_difference(BASE_URL, TIMEOUTS, lambda: NOW, transport)


@pytest.mark.parametrize(
    ("date", "ahead"), [("Fri, 15 Jan 2027 08:01:30 GMT", 90.0), ("Fri, 15 Jan 2027 07:59:59 GMT", -1.0)]
)
async def test_how_far_it_is_ahead(date: str, ahead: float) -> None:
    """By the date of the answer that every Backstage gives without a token, as patiently as all others are awaited."""
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(404, headers={"Date": date})

    assert await difference(answering(answer)) == ahead
    assert [(row.method, str(row.url)) for row in asked] == [("GET", BASE_URL + JWKS)]
    assert asked[0].extensions["timeout"] == {"connect": 2.0, "read": 3.0, "write": 3.0, "pool": 3.0}


@pytest.mark.parametrize("fault", [refuse, hang])
async def test_backstage_out_of_reach(fault: Answer) -> None:
    """The error says so, whether nobody listens or nobody answers."""
    with pytest.raises(UpstreamUnavailableError, match="Backstage cannot be reached"):
        await difference(answering(fault))


@pytest.mark.parametrize("headers", [{}, {"Date": "yesterday"}])
async def test_an_answer_without_a_date(headers: dict[str, str]) -> None:
    """A proxy may have taken it away, or written one that is none."""
    with pytest.raises(UpstreamFaultError, match="Backstage's response has no date"):
        await difference(answering(httpx.Response(200, headers=headers)))
