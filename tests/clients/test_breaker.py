"""The circuit breaker: when calls to an upstream are paused, and when they go on."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import httpx
import pytest

from clients.breaker import Breaker
from clients.upstream import Upstream
from domain.errors import (
    CircuitOpenError,
    UpstreamBusyError,
    UpstreamError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from settings.model import CircuitSettings, Timeouts
from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BOB, Clock, MakeService, no_sleep, user_path
from tests.support.requests import send
from tests.support.upstreams import Answer, Hanging, Overriding, hang, refuse, respond

THREE = CircuitSettings(failures=3, seconds=5)


class Line:
    """An upstream that answers as the test says, behind a breaker."""

    def __init__(self, clock: Clock, settings: CircuitSettings = THREE) -> None:
        self.answer: Answer = respond(200)
        self.calls = 0
        self.outcomes: list[str] = []
        self.breaker = Breaker("LiteLLM", settings, clock)
        self.upstream = Upstream(
            "LiteLLM",
            "http://litellm",
            timeouts=Timeouts(),
            transport=httpx.MockTransport(self._handle),
            sleep=no_sleep,
            observe=lambda outcome, _: self.outcomes.append(outcome),
            breaker=self.breaker,
        )

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.calls += 1
        return self.answer(request)

    async def fail(self, times: int, answer: Answer = hang) -> None:
        self.answer = answer
        for _ in range(times):
            with suppress(UpstreamError):
                assert (await self.upstream.change("/x", {})).status >= 500


@pytest.fixture
def line(clock: Clock) -> Line:
    return Line(clock)


@pytest.mark.parametrize("failure", [hang, refuse, respond(502), respond(503), respond(504)])
async def test_it_opens_after_failures_in_a_row(line: Line, failure: Answer) -> None:
    """Then a call fails at once, without being made, and says when to come back."""
    await line.fail(3, failure)
    assert line.breaker.circuit == "open"
    with pytest.raises(CircuitOpenError, match="calls to it are paused; retry after 5 s") as refusal:
        await line.upstream.read("/x")
    assert (line.calls, refusal.value.retry_after) == (3, 5)
    assert line.outcomes[-1] == "paused"


@pytest.mark.parametrize("answer", [respond(200), respond(404), respond(429), respond(500)])
async def test_an_answer_in_between_keeps_it_closed(line: Line, answer: Answer) -> None:
    """Even a 500: LiteLLM answers so to odd requests, and one caller must not cut off all others."""
    await line.fail(2)
    line.answer = answer
    with suppress(UpstreamBusyError):
        await line.upstream.change("/x", {})
    await line.fail(2)
    assert line.breaker.circuit == "closed"


async def test_reads_stop_retrying_when_it_opens(line: Line) -> None:
    """The attempts of a read count like other calls."""
    await line.fail(2, refuse)
    with pytest.raises(CircuitOpenError):
        await line.upstream.read("/x")
    assert line.calls == 3


async def test_after_the_pause_one_call_finds_out(line: Line, clock: Clock) -> None:
    """Its success closes the circuit."""
    await line.fail(3)
    clock.advance(5)
    assert line.breaker.circuit == "half-open"
    line.answer = respond(200)
    assert (await line.upstream.read("/x")).status == 200
    assert line.breaker.circuit == "closed"


async def test_the_failure_of_that_call_begins_another_pause(line: Line, clock: Clock) -> None:
    """One call in each pause, not as many as it takes to open the circuit."""
    await line.fail(3)
    clock.advance(5)
    await line.fail(2)
    assert line.calls == 4
    assert line.breaker.circuit == "open"


def test_meanwhile_the_others_fail_at_once(line: Line, clock: Clock) -> None:
    """Only one call is made while nobody knows."""
    for _ in range(3):
        line.breaker.record(line.breaker.admit(), failed=True)
    clock.advance(5)
    line.breaker.admit()
    with pytest.raises(CircuitOpenError, match="retry after 1 s"):
        line.breaker.admit()


def test_a_call_that_was_not_made_after_all_decides_nothing(line: Line, clock: Clock) -> None:
    """The next one finds out instead."""
    for _ in range(3):
        line.breaker.record(line.breaker.admit(), failed=True)
    clock.advance(5)
    line.breaker.record(line.breaker.admit(), failed=None)
    assert line.breaker.circuit == "half-open"
    line.breaker.record(line.breaker.admit(), failed=False)
    assert line.breaker.circuit == "closed"


def test_calls_from_before_it_opened_decide_nothing(line: Line, clock: Clock) -> None:
    """A hundred calls that time out together are one outage, not one after the other."""
    early = [line.breaker.admit() for _ in range(6)]
    for ticket in early[:3]:
        line.breaker.record(ticket, failed=True)
    clock.advance(5)
    probe = line.breaker.admit()
    line.breaker.record(early[3], failed=True)
    line.breaker.record(early[4], failed=False)
    assert line.breaker.circuit == "half-open"
    line.breaker.record(probe, failed=False)
    for _ in range(2):
        line.breaker.record(line.breaker.admit(), failed=True)
    line.breaker.record(early[5], failed=True)
    assert line.breaker.circuit == "closed"


async def test_a_call_that_the_deadline_cuts_off_is_a_failure(clock: Clock) -> None:
    """The upstream did not answer, though nothing else went wrong."""
    breaker = Breaker("LiteLLM", CircuitSettings(failures=1), clock)
    timeouts = Timeouts(deadline=0.001)
    upstream = Upstream("LiteLLM", "http://litellm", timeouts=timeouts, transport=Hanging(), breaker=breaker)
    with pytest.raises(UpstreamTimeoutError):
        await upstream.read("/x")
    assert breaker.circuit == "open"


async def test_a_call_that_its_caller_cancels_is_not_a_failure(clock: Clock) -> None:
    """A caller who hangs up, or a probe that does not wait as long, says nothing about the upstream."""
    breaker = Breaker("LiteLLM", CircuitSettings(failures=1), clock)
    upstream = Upstream("LiteLLM", "http://litellm", timeouts=Timeouts(), transport=Hanging(), breaker=breaker)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await upstream.read("/x")
    assert breaker.circuit == "closed"


async def test_0_failures_is_never(clock: Clock) -> None:
    """An operator can turn it off."""
    line = Line(clock, CircuitSettings(failures=0))
    await line.fail(50)
    line.answer = refuse
    with pytest.raises(UpstreamUnavailableError, match="cannot be reached"):
        await line.upstream.change("/x", {})
    assert line.breaker.circuit == "closed"


async def test_callers_readiness_and_metrics_see_it(
    make_service: MakeService, clock: Clock, litellm: LiteLLMStandIn
) -> None:
    """A 503 with Retry-After at once, for every caller, until a probe finds LiteLLM again."""
    transport = Overriding(httpx.ASGITransport(litellm.app), {"/user/list": hang, "/v2/user/info": hang})
    service = make_service(ports={"litellm": transport}, circuit_breaker=CircuitSettings(failures=2, seconds=5))
    statuses = [(await send(service.signed_in(BOB), "getUser")).status_code for _ in range(2)]
    assert statuses == [504, 504]
    seen = len(transport.seen)
    refused = await service.signed_in(ALICE).get(user_path(ALICE))
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    assert len(transport.seen) == seen
    ready = await service.client().get("/.backstage/health/v1/readiness")
    assert (ready.json()["status"], ready.json()["circuits"]) == (
        "degraded",
        {"litellm": "open", "backstage": "closed"},
    )
    paused = 'litellm_orchestrator_upstream_paused{upstream="LiteLLM"}'
    assert f"{paused} 1.0" in (await service.client().get("/metrics")).text
    transport.answers = {}
    clock.advance(5)
    ready = await service.client().get("/.backstage/health/v1/readiness")
    assert (ready.json()["status"], ready.json()["circuits"]) == ("ok", {"litellm": "closed", "backstage": "closed"})
    assert f"{paused} 0.0" in (await service.client().get("/metrics")).text
    assert (await service.signed_in(ALICE).get(user_path(ALICE))).status_code == 200
