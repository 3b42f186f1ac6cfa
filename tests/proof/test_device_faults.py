"""What LiteLLM, Backstage and the database can do to a sign-in or a refresh: OAuth's answer, and nobody signed out."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from hashlib import sha256

import httpx
import pytest

from domain.users import Tier
from settings.model import CircuitSettings, LiteLLMSettings
from standalone.backstage import BackstageStandIn
from standalone.litellm import MASTER_KEY, LiteLLMStandIn
from tests.conftest import ALICE, BASE, BOB, Clock, MakeService
from tests.proof.conftest import Cells
from tests.proof.test_database_faults import FAULTS as DATABASE_FAULTS
from tests.proof.test_database_faults import impatient
from tests.proof.test_exchange_faults import BACKSTAGE_FAULTS
from tests.proof.test_litellm_faults import CALLS, PATIENT
from tests.proof.test_litellm_faults import FAULTS as LITELLM_FAULTS
from tests.support import faults
from tests.support.audit import nothing_is_open
from tests.support.devices import CLIENT, approve, ask, poll, refresh, renewed, revoke, sessions, sign_in
from tests.support.faults import FaultyProxy, faulty
from tests.support.raw_http import serving
from tests.support.upstreams import Overriding

__all__ = ["impatient"]
GROUP = "/api/catalog/entities/by-name/group/default/litellm-users"
PERSON = "/api/catalog/entities/by-name/user/default/alice"


@pytest.fixture
async def proxy(litellm: LiteLLMStandIn) -> AsyncIterator[FaultyProxy]:
    """A proxy in front of LiteLLM."""
    async with serving(litellm.app) as port, faulty(f"http://127.0.0.1:{port}") as proxy:
        yield proxy


@pytest.mark.parametrize("applies", CALLS)
@pytest.mark.parametrize("fault", LITELLM_FAULTS)
async def test_litellm(  # noqa: PLR0917
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock, log: io.StringIO, proxy: FaultyProxy,
    fault: str, applies: str, cells: Cells,
) -> None:  # fmt: skip
    """For a second key and one that ends the oldest: the token is good afterwards, and no key is left over."""
    respond, _ = LITELLM_FAULTS[fault]
    service = make_service(
        ports={"litellm": None}, litellm=LiteLLMSettings(proxy.origin, MASTER_KEY, Tier()),
        timeouts=PATIENT, circuit_breaker=CircuitSettings(failures=0),
    )  # fmt: skip
    client, got = service.client(), await sign_in(service, ALICE)
    received = {sha256(got["access_token"].encode()).hexdigest()}
    for before in (1, 2):
        clock.advance(61)
        proxy.calls.clear()
        proxy.fault, proxy.applies = respond, CALLS[applies]
        response = await refresh(client, got["refresh_token"])
        met = any(proxy.applies(method) for method, *_ in proxy.calls)
        proxy.fault = faults.pass_on
        shown = (MASTER_KEY, "sk-canary-of-litellm", got["refresh_token"])
        wrong = {
            f"{response.status_code}: {response.text}": response.status_code == (503 if met else 200),
            "LiteLLM was not asked": met,
            "a secret": not any(secret in text for secret in shown for text in (response.text, log.getvalue())),
        }
        cells.record(f"with {before} keys", [what for what, holds in wrong.items() if not holds])
        for _ in range(2):
            clock.advance(170)
            await service.run_background_jobs()
        cells.record(f"left with {before} keys", sorted(set(litellm.rows.keys) - received))
        got = await renewed(client, got["refresh_token"])
        received.add(sha256(got["access_token"].encode()).hexdigest())
        cells.record(f"works with {before} keys", sorted(set(litellm.rows.keys) - received))
    await nothing_is_open(service)
    assert cells.failed == {}


@pytest.mark.parametrize("where", [GROUP, PERSON])
@pytest.mark.parametrize("fault", BACKSTAGE_FAULTS)
async def test_backstage(make_service: MakeService, backstage: BackstageStandIn, fault: str, where: str) -> None:
    """Whether a member is one cannot be told: nobody gets a key by an old answer, and nobody is signed out."""
    catalog = Overriding(httpx.ASGITransport(backstage.app), {})
    service = make_service(ports={"backstage": catalog}, circuit_breaker=CircuitSettings(failures=0))
    client, got = service.client(), await sign_in(service, ALICE)
    catalog.answers[where] = BACKSTAGE_FAULTS[fault]
    response = await refresh(client, got["refresh_token"])
    assert response.status_code == 503, response.text
    assert len(service.litellm.rows.keys) == 1
    catalog.answers.clear()
    await renewed(client, got["refresh_token"])


async def test_a_group_that_is_missing_signs_nobody_out(make_service: MakeService, backstage: BackstageStandIn) -> None:
    """A group of the settings that the catalog does not have is a fault of the catalog, or of the settings."""
    service = make_service()
    got = await sign_in(service, ALICE)
    backstage.org.hidden.add("group:default/litellm-users")
    assert (await refresh(service.client(), got["refresh_token"])).status_code == 503
    backstage.org.hidden.clear()
    await renewed(service.client(), got["refresh_token"])


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fault", DATABASE_FAULTS)
async def test_database(make_service: MakeService, litellm: LiteLLMStandIn, fault: str) -> None:
    """Each step of a device is a 503 that reaches nothing in LiteLLM; afterwards each works."""
    service = make_service()
    client, got = service.client(), await sign_in(service, ALICE)
    codes = await ask(client)
    await approve(service.signed_in(BOB), codes, BOB)
    before = dict(litellm.rows.keys)
    with DATABASE_FAULTS[fault](service):
        for response in (
            await client.post(f"{BASE}/oauth/device_authorization", data={"client_id": CLIENT}),
            await poll(client, codes),
            await refresh(client, got["refresh_token"]),
            await revoke(client, got["refresh_token"]),
        ):
            assert (response.status_code, response.headers["retry-after"]) == (503, "5"), response.text
            assert response.json()["error"] == "temporarily_unavailable"
    assert litellm.rows.keys == before
    await ask(client)
    assert (await poll(client, codes)).status_code == 200
    got = await renewed(client, got["refresh_token"])
    assert (await revoke(client, got["refresh_token"])).status_code == 200
    assert await sessions(service.signed_in(ALICE)) == []
