"""Backstage's clock, for `check`: tokens and their end are compared with ours."""

from __future__ import annotations

import httpx
import pytest

from domain.errors import UpstreamError, UpstreamFaultError, UpstreamTimeoutError, UpstreamUnavailableError
from tests.clients.backstage.conftest import JWKS, Setup
from tests.support.upstreams import Answer, hang, refuse, respond


@pytest.mark.parametrize(
    ("date", "ahead"), [("Fri, 15 Jan 2027 08:01:30 GMT", 90.0), ("Fri, 15 Jan 2027 07:59:59 GMT", -1.0)]
)
async def test_how_far_it_is_ahead(setup: Setup, date: str, ahead: float) -> None:
    """By the date of the answer that every Backstage gives without a token, whatever it answers."""
    setup.transport.answers[JWKS] = respond(404, headers={"Date": date})
    assert await setup.tokens.clock_difference() == ahead
    assert [(request.method, request.url.path) for request in setup.transport.seen] == [("GET", JWKS)]


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        (refuse, UpstreamUnavailableError, "Backstage cannot be reached"),
        (hang, UpstreamTimeoutError, "Backstage did not answer in time"),
    ],
)
async def test_backstage_out_of_reach(setup: Setup, fault: Answer, error: type[UpstreamError], message: str) -> None:
    """The error says so, and whether nobody listens or nobody answers."""
    setup.transport.answers[JWKS] = fault
    with pytest.raises(error, match=message):
        await setup.tokens.clock_difference()


@pytest.mark.parametrize("headers", [{}, {"Date": "yesterday"}])
async def test_an_answer_without_a_date(setup: Setup, headers: dict[str, str]) -> None:
    """A proxy may have taken it away, or written one that is none."""
    setup.transport.answers[JWKS] = lambda _: httpx.Response(200, headers=headers)
    with pytest.raises(UpstreamFaultError, match="Backstage's response has no date"):
        await setup.tokens.clock_difference()
