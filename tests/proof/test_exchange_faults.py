"""What LiteLLM, the issuer, Backstage and the database can do to an exchange: OAuth's answer in time, and no key lost.

Each is a 503, whatever happened, and checked against the contract, as everywhere: its form, and its `Retry-After`.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from dataclasses import replace
from hashlib import sha256

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from domain.users import Tier
from settings.model import CircuitSettings, Issuer, LiteLLMSettings
from standalone.backstage import BackstageStandIn
from standalone.issuer import IssuerStandIn
from standalone.litellm import MASTER_KEY, LiteLLMStandIn
from tests.conftest import Clock, MakeService, Service
from tests.proof.conftest import Cells
from tests.proof.test_database_faults import FAULTS as DATABASE_FAULTS
from tests.proof.test_database_faults import impatient
from tests.proof.test_litellm_faults import CALLS, PATIENT, timed
from tests.proof.test_litellm_faults import FAULTS as LITELLM_FAULTS
from tests.support import faults
from tests.support.audit import nothing_is_open
from tests.support.faults import FaultyProxy, answer, faulty
from tests.support.issuers import AUDIENCE, SUBJECT, SigningIssuer
from tests.support.keys import chat
from tests.support.raw_http import serving
from tests.support.requests import exchange
from tests.support.upstreams import Overriding, hang, refuse, respond

__all__ = ["impatient"]
ISSUER_FAULTS: dict[str, faults.Respond] = {
    "never answers": faults.never_answer,
    "resets before the response": faults.reset_before,
    "resets within the response": faults.reset_during,
    "a byte at a time": faults.drip,
    "without end": answer(200, b" " * 2_000_000),
    "a page": answer(200, b"<h1>sign in</h1>", "text/html"),
    "a page that says JSON": answer(200, b"<h1>sign in</h1>"),
    "a redirect": answer(302, b"", "text/html", Location="http://127.0.0.1:9/jwks"),
    "500": answer(500, {"error": "x"}),
    "404": answer(404, {"error": "x"}),
    "429": answer(429, {"error": "x"}, Retry_After="30"),
    "another shape": answer(200, {"keys": {"kty": "EC"}, "issuer": 5}),
}
BACKSTAGE_FAULTS = {"refused": refuse, "hangs": hang, "500": respond(500), "302": respond(302)}
CATALOG = [
    "/api/catalog/entities/by-name/component/default/checkout",
    "/api/catalog/entities/by-query",
    "/api/catalog/entities/by-refs",
]


class Published(SigningIssuer):
    """An issuer on a socket. `url` is set once its address is known."""

    @property
    def app(self) -> Starlette:
        async def respond(request: Request) -> Response:
            found = await self.handle_async_request(httpx.Request("GET", f"http://127.0.0.1{request.url.path}"))
            return JSONResponse(found.json())

        return Starlette(routes=[Route("/{path:path}", respond)])


def with_issuer(service: Service, url: str) -> dict[str, object]:
    """Settings whose rule is for an issuer at `url`."""
    workloads, (rule,) = service.settings.workloads, service.settings.workloads.rules
    rule = replace(rule, match=replace(rule.match, sub=SUBJECT))
    issuers = (Issuer(rule.issuer, url, AUDIENCE),)
    return {"workloads": replace(workloads, issuers=issuers, rules=(rule,)), "circuit_breaker": CircuitSettings(0)}


@pytest.mark.parametrize("part", ["discovery", "keys"])
@pytest.mark.parametrize("fault", ISSUER_FAULTS)
async def test_issuer(  # noqa: PLR0917
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock, fault: str, part: str, cells: Cells
) -> None:
    """Its document or its keys: an error that names it and leaves nothing behind; known keys are kept through it."""
    respond = ISSUER_FAULTS[fault]
    issuer = Published(clock)

    async def does(exchanged: faults.Exchange) -> None:
        is_meant = ("well-known" in exchanged.target) is (part == "discovery")
        await (respond if is_meant else faults.pass_on)(exchanged)

    async with serving(issuer.app) as port, faulty(f"http://127.0.0.1:{port}") as proxy:
        issuer.url = proxy.origin
        changes = with_issuer(make_service(), issuer.url)
        service = make_service(ports={"issuers": None}, timeouts=PATIENT, **changes)
        client = service.client()
        proxy.fault = does
        response, took = await timed(exchange(client, issuer.token()))
        cells.record("status", [] if response.status_code == 503 else [f"{response.status_code} {response.text}"])
        cells.record("time", [] if took < PATIENT.deadline + PATIENT.read else [f"{took} s"])
        cells.record("LiteLLM", list(litellm.rows.keys))
        proxy.fault = faults.pass_on
        clock.advance(11)
        for name, seconds in (("afterwards", 0), ("known keys", 0), ("keys that are old", 700)):
            clock.advance(seconds)
            response = await exchange(client, issuer.token(jti=name))
            cells.record(name, [] if response.status_code == 200 else [f"{response.status_code} {response.text}"])
            proxy.fault = does
    assert cells.failed == {}


@pytest.fixture
async def proxy(litellm: LiteLLMStandIn) -> AsyncIterator[FaultyProxy]:
    """In front of LiteLLM."""
    async with serving(litellm.app) as port, faulty(f"http://127.0.0.1:{port}") as proxy:
        yield proxy


@pytest.mark.parametrize("applies", CALLS)
@pytest.mark.parametrize("fault", LITELLM_FAULTS)
async def test_litellm(  # noqa: PLR0917
    make_service: MakeService, litellm: LiteLLMStandIn, issuer: IssuerStandIn, clock: Clock, log: io.StringIO,
    proxy: FaultyProxy, fault: str, applies: str, cells: Cells,
) -> None:  # fmt: skip
    """For a first key, a second one, and one that ends the oldest: nothing stays that nobody got, and then it works."""
    respond, _ = LITELLM_FAULTS[fault]
    service = make_service(
        ports={"litellm": None}, litellm=LiteLLMSettings(proxy.origin, MASTER_KEY, Tier()),
        timeouts=PATIENT, circuit_breaker=CircuitSettings(failures=0),
    )  # fmt: skip
    client, received = service.client(), set[str]()
    token = issuer.token(exp=int(clock()) + 3600)
    for before in range(3):
        clock.advance(61)
        proxy.calls.clear()
        proxy.fault, proxy.applies = respond, CALLS[applies]
        response = await exchange(client, token)
        met = any(proxy.applies(method) for method, *_ in proxy.calls)
        proxy.fault = faults.pass_on
        changes = [call for call in proxy.calls if call[0] != "GET"]
        wrong = {
            f"{response.status_code}: {response.text}": response.status_code == (503 if met else 200),
            "LiteLLM was not asked": met,
            "a change was sent twice": len(changes) == len(set(changes)),
            "a secret": not any(
                secret in text
                for secret in (MASTER_KEY, "sk-canary-of-litellm", token)
                for text in (response.text, log.getvalue())
            ),
        }
        cells.record(f"with {before} keys", [what for what, holds in wrong.items() if not holds])
        for _ in range(2):
            clock.advance(170)
            await service.run_background_jobs()
        cells.record(f"left with {before} keys", sorted(set(litellm.rows.keys) - received))
        again = await exchange(client, token)
        assert again.status_code == 200, again.text
        received.add(sha256(again.json()["access_token"].encode()).hexdigest())
        cells.record(f"works with {before} keys", sorted(set(litellm.rows.keys) - received))
    await nothing_is_open(service)
    assert cells.failed == {}


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fault", DATABASE_FAULTS)
async def test_database(make_service: MakeService, litellm: LiteLLMStandIn, issuer: IssuerStandIn, fault: str) -> None:
    """A 503 that reaches nothing in LiteLLM, also for a token that is refused; afterwards it works."""
    service = make_service()
    client = service.client()
    first = await exchange(client, issuer.token(jti="first"))
    before = dict(litellm.rows.keys)
    with DATABASE_FAULTS[fault](service):
        for token in (issuer.token(jti="second"), issuer.token(sub="repo:mallory/x:main")):
            response = await exchange(client, token)
            assert (response.status_code, response.headers["retry-after"]) == (503, "5"), response.text
            assert response.json()["error"] == "temporarily_unavailable"
        assert (await exchange(client, "no-token")).status_code == 400
    assert litellm.rows.keys == before
    assert (await exchange(client, issuer.token(jti="first"))).json() == first.json()
    assert (await exchange(client, issuer.token(jti="second"))).status_code == 200


@pytest.mark.parametrize("fault", BACKSTAGE_FAULTS)
async def test_backstage(
    make_service: MakeService, backstage: BackstageStandIn, litellm: LiteLLMStandIn, issuer: IssuerStandIn, fault: str
) -> None:
    """A component whose entry in the catalog cannot be had gets nothing."""
    catalog = Overriding(httpx.ASGITransport(backstage.app), dict.fromkeys(CATALOG, BACKSTAGE_FAULTS[fault]))
    service = make_service(ports={"backstage": catalog}, circuit_breaker=CircuitSettings(failures=0))
    client = service.client()
    response = await exchange(client, issuer.token())
    assert (response.status_code, litellm.rows.keys) == (503, {}), response.text
    catalog.answers.clear()
    assert (await exchange(client, issuer.token())).status_code == 200


async def test_a_caller_who_does_not_wait(
    make_service: MakeService, litellm: LiteLLMStandIn, issuer: IssuerStandIn, clock: Clock, proxy: FaultyProxy
) -> None:
    """The key is recorded all the same, or gone: the same token gets a key, and there is one."""
    service = make_service(ports={"litellm": None}, litellm=LiteLLMSettings(proxy.origin, MASTER_KEY, Tier()))
    client, token = service.client(), issuer.token(exp=int(clock()) + 3600)
    await exchange(client, issuer.token(jti="first"))
    arrived = asyncio.Event()

    async def hold(exchanged: faults.Exchange) -> None:
        arrived.set()
        await faults.pass_on(exchanged)

    proxy.fault = hold
    call = asyncio.create_task(exchange(client, token))
    await arrived.wait()
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    proxy.fault = faults.pass_on
    for _ in range(2):
        clock.advance(20)
        await service.run_background_jobs()
    response = await exchange(client, token)
    assert response.status_code == 200, response.text
    assert await chat(litellm, response.json()["access_token"]) == 200
    assert len(litellm.rows.keys) == 2
    await nothing_is_open(service)
