"""Every forged token, and every genuine one that is not meant, at every rule: never a key, always the same answer."""

from __future__ import annotations

import json
from urllib.parse import urlencode

import httpx
import pytest
import sqlalchemy as sa

from domain.workloads import Rule
from settings.model import Issuer, WorkloadSettings
from standalone.environment import CHECKOUT
from standalone.litellm import LiteLLMStandIn
from state.database import Database
from state.tables import change, refused_exchange
from tests.clients.oidc.test_hostile_tokens import FORGED, NOT_MEANT, OWN_CLAIMS, RULES
from tests.conftest import BASE, BOB, Clock, MakeService, Service
from tests.proof.conftest import Cells
from tests.services.tokens.test_exchange import NOT_ACCEPTED
from tests.support.audit import events
from tests.support.issuers import AUDIENCE, URL, SigningIssuer
from tests.support.requests import EXCHANGE

ELSEWHERE = "https://elsewhere.example.com"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
MANY = 100_000


@pytest.fixture
def signer(clock: Clock) -> SigningIssuer:
    """Who signs."""
    return SigningIssuer(clock)


@pytest.fixture
def service(make_service: MakeService, signer: SigningIssuer) -> Service:
    """With each rule for the issuer `ci`, and one for another issuer."""
    rules = [Rule(name, "ci", CHECKOUT, match, per_minute=MANY, max_living=MANY) for name, match in RULES.items()]
    rules.append(Rule("elsewhere", "other", CHECKOUT, RULES["exact"]))
    issuers = (Issuer("ci", URL, AUDIENCE), Issuer("other", ELSEWHERE, AUDIENCE))
    return make_service(ports={"issuers": signer}, workloads=WorkloadSettings(issuers=issuers, rules=tuple(rules)))


async def answer(client: httpx.AsyncClient, rule: str, token: str) -> httpx.Response:
    """To an exchange, whose token may be no UTF-8."""
    form = urlencode(EXCHANGE | {"client_id": rule, "subject_token": token}, errors="surrogatepass")
    return await client.post(f"{BASE}/oauth/token", content=form, headers=FORM)


def seen(response: httpx.Response) -> tuple[int, bytes, list[tuple[str, str]]]:
    """All that a caller can compare."""
    own = {"date", "x-request-id"}
    return response.status_code, response.content, [row for row in response.headers.items() if row[0] not in own]


async def rows(service: Service) -> dict[str, int]:
    """How many events and counted refusals there are."""
    database = Database(service.settings.database_url, service.ports.wall_clock)
    async with database.reading() as connection:
        found = {
            table.name: int((await connection.execute(sa.select(sa.func.count()).select_from(table))).scalar_one())
            for table in (change, refused_exchange)
        }
    await database.aclose()
    return found


@pytest.mark.parametrize("rule", [*RULES, "elsewhere"])
async def test_forged(  # noqa: PLR0917
    service: Service, signer: SigningIssuer, litellm: LiteLLMStandIn, clock: Clock, cells: Cells, rule: str
) -> None:
    """The same to the byte for each, and for a verified token that does not match; no event, no address of theirs."""
    client = service.client()
    other = signer.token(sub="repo:mallory/x:main")
    refused = seen(await answer(client, "exact", other))
    assert refused[:2] == (400, json.dumps(NOT_ACCEPTED, separators=(",", ":")).encode())
    before = await rows(service)
    for name, (forge, _) in FORGED.items():
        clock.advance(11)  # keys are looked for again
        token = forge(signer)
        if not token or "\ud800" <= max(token) <= "\udfff":
            continue  # no token at all, or none that a form can have: a 400 of its own
        cells.record(name, [] if (found := seen(await answer(client, rule, token))) == refused else [str(found)])
    assert cells.failed == {}
    assert (litellm.rows.keys, await rows(service)) == ({}, before)
    assert {str(httpx.URL(address).host) for address in signer.seen} <= {"issuer.example.com", "elsewhere.example.com"}


@pytest.mark.parametrize("rule", RULES)
async def test_not_meant(  # noqa: PLR0917
    service: Service, signer: SigningIssuer, litellm: LiteLLMStandIn, clock: Clock, cells: Cells, rule: str
) -> None:
    """What verifies and is not what the rule says: the same answer, and one event a minute, without their texts."""
    client = service.client()
    refused = seen(await answer(client, rule, "no-token"))
    meant = {name: changes for name, (rules, changes) in NOT_MEANT.items() if rule in rules}
    for name, changes in meant.items():
        found = seen(await answer(client, rule, signer.token(**OWN_CLAIMS | changes)))
        cells.record(name, [] if found == refused else [str(found)])
    assert cells.failed == {}
    assert litellm.rows.keys == {}
    clock.advance(60)
    await service.run_background_jobs()
    (event,) = await events(service.signed_in(BOB), action="key.mint")
    assert event["detail"].startswith(f"{len(meant)} verified tokens were refused within a minute: ")
    assert (event["requested"], event["after"], event["actor"]) == (None, None, f"workload:{rule}")
    subjects = [changes["sub"] for changes in meant.values() if len(changes.get("sub", "")) > 1]
    assert [subject for subject in subjects if subject in event["detail"]] == []


@pytest.mark.parametrize("rule", RULES)
async def test_what_is_meant(service: Service, signer: SigningIssuer, rule: str) -> None:
    """The token of which all others are altered copies gets a key of each rule."""
    assert (await answer(service.client(), rule, signer.token(**OWN_CLAIMS))).status_code == 200
