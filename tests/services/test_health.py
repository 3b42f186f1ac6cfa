"""Readiness: what this replica can do about its requests, and which dependencies answer."""

from __future__ import annotations

import httpx
import pytest

from settings.model import CircuitSettings
from standalone.backstage import BackstageStandIn
from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BASE, Clock, MakeService
from tests.support.upstreams import Holding, Overriding, answering, hang, refuse, respond

READINESS = "/.backstage/health/v1/readiness"
PROBED = {"litellm": "/health/readiness", "backstage": "/api/auth/.well-known/jwks.json"}
FAULTS = {
    "refused": refuse,
    "hangs": hang,
    "500": respond(500),
    "503": respond(503),
    "a page": respond(200, html="<p>"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("dependency", PROBED)
async def test_a_dependency_that_is_down_takes_no_replica_out(
    make_service: MakeService, clock: Clock, dependency: str, fault: str
) -> None:
    """All replicas share it: callers get 502 to 504 from this service, and not the page of an ingress."""
    transport = Overriding(getattr(make_service().ports, dependency), {PROBED[dependency]: FAULTS[fault]})
    probe = make_service(ports={dependency: transport}).client()
    down = await probe.get(READINESS)
    assert (down.status_code, down.json()["status"]) == (200, "degraded")
    everything = {"litellm": "up", "backstage": "up", "database": "up"}
    assert down.json()["dependencies"] == everything | {dependency: "down"}
    transport.answers.clear()
    clock.advance(2)
    up = await probe.get(READINESS)
    assert (up.status_code, up.json()["status"], up.json()["dependencies"]) == (200, "ok", everything)


async def test_without_any_dependency_a_replica_is_ready(make_service: MakeService) -> None:
    """It has an answer to everybody: a 503 with `Retry-After`."""
    gone = answering(httpx.ConnectError("refused"))
    service = make_service(
        ports={"litellm": gone, "backstage": gone}, database_url="postgresql+psycopg://user:canary@127.0.0.1:9/state"
    )
    ready = await service.client().get(READINESS)
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    assert ready.json()["dependencies"] == {"litellm": "down", "backstage": "down", "database": "down"}
    asked = await service.signed_in(ALICE).get(f"{BASE}/me")
    assert (asked.status_code, asked.headers["retry-after"]) == (503, "5")
    service._app = None


async def test_readiness_asks_every_two_seconds(
    make_service: MakeService, clock: Clock, litellm: LiteLLMStandIn
) -> None:
    """And not for each probe: anybody may ask."""
    transport = Overriding(httpx.ASGITransport(litellm.app), {})
    probe = make_service(ports={"litellm": transport}).client()
    for _ in range(5):
        await probe.get(READINESS)
    assert len(transport.seen) == 1
    clock.advance(2)
    await probe.get(READINESS)
    assert len(transport.seen) == 2


async def test_readiness_does_not_wait_for_a_dependency_that_hangs(
    make_service: MakeService, clock: Clock, litellm: LiteLLMStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A probe that waits a second would take every replica out: it gets what was known, and the next one the news."""
    holding = Holding(httpx.ASGITransport(litellm.app))
    probe = make_service(ports={"litellm": holding, "dependency_patience": 60}).client()
    assert (await probe.get(READINESS)).json()["status"] == "ok"
    holding.held = {"/health/readiness"}
    clock.advance(2)
    with monkeypatch.context() as patch:
        patch.setattr("services.health._PROBE_SECONDS", 0)
        ready = await probe.get(READINESS)
    assert (ready.status_code, ready.json()["status"]) == (200, "ok")
    await holding.arrived.wait()
    holding.released.set()
    assert (await probe.get(READINESS)).json()["status"] == "ok"


@pytest.mark.parametrize("path", PROBED.values())
async def test_what_only_a_probe_asks_for_opens_no_circuit(
    make_service: MakeService, clock: Clock, backstage: BackstageStandIn, litellm: LiteLLMStandIn, path: str
) -> None:
    """Callers are served in spite of it, and their calls are not paused."""
    to_litellm = Overriding(httpx.ASGITransport(litellm.app), {})
    to_backstage = Overriding(httpx.ASGITransport(backstage.app), {})
    service = make_service(
        ports={"litellm": to_litellm, "backstage": to_backstage}, circuit_breaker=CircuitSettings(failures=2)
    )
    alice = service.signed_in(ALICE)
    assert (await alice.get(f"{BASE}/models")).status_code == 200
    to_litellm.answers[path] = to_backstage.answers[path] = refuse
    for _ in range(5):
        clock.advance(2)
        ready = await service.client().get(READINESS)
        assert (ready.json()["status"], set(ready.json()["circuits"].values())) == ("degraded", {"closed"})
    assert (await alice.get(f"{BASE}/models")).status_code == 200
