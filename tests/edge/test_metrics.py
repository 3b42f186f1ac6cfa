"""`GET /metrics`: what an operator sees of each request, call, change and dependency."""

from __future__ import annotations

import re

import httpx
import pytest

from clients.litellm.rows import ANNOTATIONS
from settings.model import CleanupSettings
from standalone.backstage import BackstageStandIn
from standalone.issuer import IssuerStandIn
from standalone.litellm import LiteLLMStandIn
from state.database import Database
from tests.conftest import ALICE, BASE, BOB, CAROL, Clock, MakeService, Service, keys_path, user_path
from tests.support.metrics import count, metrics_of
from tests.support.requests import NO_KEY, ended, exchange, send
from tests.support.upstreams import Hanging, Overriding, answering, hang, refuse, respond


async def test_requests_are_counted_by_operation_and_status(service: Service) -> None:
    """Refusals count under their operation, and a path that does not exist under none."""
    await service.signed_in(ALICE).get(user_path(ALICE))
    await service.client().get(user_path(ALICE))
    await service.signed_in(CAROL).get(user_path(CAROL))
    await service.signed_in(ALICE).delete(keys_path(ALICE, NO_KEY))
    await service.client().get("/no/such/path")
    await service.client().put("/metrics")
    found = await metrics_of(service)
    assert {name: value for name, value in found.items() if name.startswith("request_duration_seconds_count")} == {
        count("getUser", 200): 1,
        count("getUser", 401): 1,
        count("getUser", 403): 1,
        count("deleteUserKey", 404): 1,
        count("none", 404): 1,
        count("none", 405): 1,
    }


async def test_calls_to_upstreams_are_counted_by_outcome(make_service: MakeService) -> None:
    """Each attempt counts: a read of a LiteLLM that refuses connections is tried three times."""
    service = make_service(ports={"litellm": answering(httpx.ConnectError("refused"))}, membership="token")
    await service.signed_in(ALICE).get(user_path(ALICE))
    found = await metrics_of(service)
    assert found['upstream_call_duration_seconds_count{outcome="unreachable",upstream="LiteLLM"}'] >= 3
    # One for the signing keys, one for the scrape itself.
    assert found['upstream_call_duration_seconds_count{outcome="2xx",upstream="Backstage"}'] == 2


async def test_calls_to_issuers_are_counted_together(service: Service, issuer: IssuerStandIn) -> None:
    """Their number is the settings', not the metrics': one for the discovery document, and one for the keys."""
    assert (await exchange(service.client(), issuer.token())).status_code == 200
    found = await metrics_of(service)
    assert found['upstream_call_duration_seconds_count{outcome="2xx",upstream="issuers"}'] == 2


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (httpx.Response(500), "5xx"),
        (httpx.Response(404), "4xx"),
        (httpx.ReadTimeout("slow"), "timeout"),
        (httpx.RemoteProtocolError("not HTTP"), "not_http"),
    ],
)
async def test_the_outcome_says_what_was_wrong(
    make_service: MakeService, answer: httpx.Response | Exception, outcome: str
) -> None:
    """A status by its class, and a failure by its kind."""
    service = make_service(ports={"litellm": answering(answer)})
    await service.signed_in(ALICE).get(user_path(ALICE))
    found = await metrics_of(service)
    assert found[f'upstream_call_duration_seconds_count{{outcome="{outcome}",upstream="LiteLLM"}}'] > 0


async def test_changes_replays_and_refusals_are_counted(service: Service) -> None:
    """What the audit log has, by action and outcome; repeated requests; requests above a limit."""
    alice, named = service.signed_in(ALICE), {"Idempotency-Key": "one"}
    for _ in range(2):
        await alice.post(keys_path(ALICE), json={"alias": "laptop"}, headers=named)
    await alice.post(keys_path(ALICE), json={"alias": "laptop"})
    await alice.post(keys_path(BOB))
    while (await alice.post(keys_path(ALICE))).status_code != 429:
        pass
    found = await metrics_of(service)
    assert found['changes_total{action="key.create",outcome="done"}'] > 1
    assert found['changes_total{action="key.create",outcome="failed"}'] == 1
    assert found['changes_total{action="key.create",outcome="denied"}'] == 1
    assert found["idempotent_replays_total"] == 1
    assert found['rate_limited_total{limit="creates"}'] == 1
    assert 'rate_limited_total{limit="refusals"}' not in found


async def test_refusals_above_their_rate_are_counted_apart(service: Service) -> None:
    """An outsider who tries and tries: each refusal is in the audit log, until the rate of refusals is spent."""
    carol = service.signed_in(CAROL)
    statuses = [(await carol.post(keys_path(CAROL))).status_code for _ in range(32)]
    found = await metrics_of(service)
    assert found['changes_total{action="key.create",outcome="denied"}'] == statuses.count(403) == 30
    assert found['rate_limited_total{limit="refusals"}'] == statuses.count(429) == 2


async def test_checks_of_tokens_are_counted(service: Service) -> None:
    """By result; the cache is a level."""
    token = service.backstage.user_token(ALICE)
    for attempt in (token, token, "nonsense"):
        await send(service.client(attempt), "getMe")
    found = await metrics_of(service)
    results = {
        result: found[f'token_checks_total{{result="{result}"}}'] for result in ("accepted", "cached", "refused")
    }
    assert results == {"accepted": 1, "cached": 1, "refused": 1}
    assert found["cached_tokens"] == 1


async def test_pending_and_overdue_revocations(service: Service, clock: Clock) -> None:
    """A replaced key is pending until its time, and then overdue until it is gone."""
    alice = service.signed_in(ALICE)
    key_id = (await alice.post(keys_path(ALICE))).json()["keyId"]
    await alice.post(f"{keys_path(ALICE, key_id)}/regenerate", json={"overlap": 3600})
    found = await metrics_of(service)
    assert (found["pending_revocations"], found["overdue_revocations"], found["longest_overdue_seconds"]) == (1, 0, 0)
    clock.advance(3600 + 90)
    found = await metrics_of(service)
    assert (found["pending_revocations"], found["overdue_revocations"], found["longest_overdue_seconds"]) == (1, 1, 90)
    await service.run_background_jobs()
    clock.advance(10)
    found = await metrics_of(service)
    assert (found["pending_revocations"], found["overdue_revocations"], found["longest_overdue_seconds"]) == (0, 0, 0)


async def test_open_changes_and_their_age(make_service: MakeService, clock: Clock, litellm: LiteLLMStandIn) -> None:
    """A change that LiteLLM left without an answer is open until it is reconciled."""
    service = make_service(ports={"litellm": Overriding(httpx.ASGITransport(litellm.app), {"/key/generate": hang})})
    await service.signed_in(ALICE).post(keys_path(ALICE))
    clock.advance(30)
    found = await metrics_of(service)
    assert (found["open_changes"], found["oldest_open_change_seconds"]) == (1, 30)


async def test_the_cleanup_and_the_directory(service: Service, clock: Clock) -> None:
    """Runs by kind and outcome, users by step, and when a snapshot was last accepted."""
    bob = service.signed_in(BOB)
    service.litellm.rows.add_user({"user_id": "user:default/somebody.who.left"})
    await send(bob, "runCleanup", json={"dryRun": True})
    await send(bob, "runCleanup", json={"dryRun": False})
    await ended(bob)
    clock.advance(60)
    found = await metrics_of(service)
    assert found['cleanup_runs_total{kind="dry_run",outcome="planned"}'] == 1
    assert found['cleanup_runs_total{kind="run",outcome="done"}'] == 1
    assert found['cleanup_planned_users_total{step="block"}'] == 1
    assert found['cleanup_users_total{step="block"}'] == 1
    assert found['cleanup_users_total{step="failed"}'] == 0
    assert found["users_offboarding"] == 1
    assert found["directory_users"] == 1
    assert found["cleanup_accepted_timestamp_seconds"] == clock() - 60
    assert found["directory_swept_timestamp_seconds"] == clock() - 60
    outcomes = [found[f'cleanup_last_run{{outcome="{outcome}"}}'] for outcome in ("done", "refused", "failed")]
    assert outcomes == [1, 0, 0]


async def test_users_whose_deletion_waits(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """Those not created here, and those above the limit of a day, are steps of their own in the plans of runs."""
    patient = CleanupSettings(enabled=False, grace_period=0, max_deletions=0)
    service = make_service(cleanup=patient)
    litellm.rows.add_user({"user_id": "user:default/of.the.plugin"})
    litellm.rows.add_user({"user_id": "user:default/ours", "metadata": {ANNOTATIONS: {"tier": "userDefaults"}}})
    bob = service.signed_in(BOB)
    for _ in range(2):
        await send(bob, "runCleanup", json={"dryRun": False})
        await ended(bob)
    found = await metrics_of(service)
    assert found['cleanup_planned_users_total{step="foreign"}'] == 1
    assert found['cleanup_planned_users_total{step="postponed"}'] == 1
    assert found['cleanup_users_total{step="hold"}'] == 2


async def test_users_whom_a_run_fails_to_block(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """They count as failed, and the run too."""
    failing = Overriding(httpx.ASGITransport(litellm.app), {"/key/block": respond(500)})
    service = make_service(ports={"litellm": failing})
    for name in ("a", "b"):
        litellm.rows.add_user({"user_id": f"user:default/{name}"})
        litellm.rows.add_key({"user_id": f"user:default/{name}"})
    bob = service.signed_in(BOB)
    await send(bob, "runCleanup", json={"dryRun": False})
    await ended(bob)
    found = await metrics_of(service)
    assert found['cleanup_runs_total{kind="run",outcome="failed"}'] == 1
    assert (found['cleanup_users_total{step="failed"}'], found['cleanup_users_total{step="block"}']) == (2, 0)


async def test_a_hanging_dependency_does_not_cost_the_scrape(make_service: MakeService) -> None:
    """Prometheus gives up after ten seconds: what does not answer in time is down."""
    service = make_service(ports={"litellm": Hanging(), "dependency_patience": 0.05})
    found = await metrics_of(service)
    assert found['dependency_up{dependency="litellm"}'] == 0
    assert found['dependency_up{dependency="backstage"}'] == 1


async def test_backstage_is_down_although_its_keys_are_known(
    make_service: MakeService, backstage: BackstageStandIn, clock: Clock
) -> None:
    """Requests with known keys work meanwhile; the metric is for those who repair Backstage, as readiness is."""
    transport = Overriding(httpx.ASGITransport(backstage.app), {})
    service = make_service(ports={"backstage": transport})
    alice = service.signed_in(ALICE)
    assert (await alice.get(f"{BASE}/me")).status_code == 200
    assert (await metrics_of(service))['dependency_up{dependency="backstage"}'] == 1
    transport.answers = {"/api/auth/.well-known/jwks.json": refuse}
    clock.advance(2)
    assert (await metrics_of(service))['dependency_up{dependency="backstage"}'] == 0
    ready = await service.client().get("/.backstage/health/v1/readiness")
    assert (ready.status_code, ready.json()["dependencies"]["backstage"]) == (200, "down")
    assert (await alice.get(f"{BASE}/me")).status_code == 200
    transport.answers = {}
    clock.advance(2)
    assert (await metrics_of(service))['dependency_up{dependency="backstage"}'] == 1


async def test_without_the_database_the_rest_is_there(make_service: MakeService) -> None:
    """Figures of a database that is down are left out, not zero: an alert must not take them for good news."""
    service = make_service(database_url="postgresql+psycopg://user:canary@127.0.0.1:9/state")
    found = await metrics_of(service)
    assert found['dependency_up{dependency="database"}'] == 0
    assert "pending_revocations" not in found
    assert found['dependency_up{dependency="litellm"}'] == 1
    service._app = None


async def test_the_database_is_read_every_five_seconds(
    service: Service, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody may ask, and that must not load it."""
    reads = 0
    reading = Database.reading

    def counted(database: Database) -> object:
        nonlocal reads
        reads += 1
        return reading(database)

    monkeypatch.setattr(Database, "reading", counted)
    for _ in range(5):
        await metrics_of(service)
    once = reads
    clock.advance(6)
    await metrics_of(service)
    assert reads == 2 * once


async def test_no_label_names_a_user_or_a_key(service: Service) -> None:
    """Whoever scrapes learns how much is done, not by whom."""
    alice = service.signed_in(ALICE)
    key = (await alice.post(keys_path(ALICE), json={"alias": "canary-alias"})).json()
    await alice.get(keys_path(ALICE, key["keyId"]))
    await alice.get(keys_path(BOB))
    text = (await service.client().get("/metrics")).text
    for canary in ("alice", "bob", "canary", key["keyId"], key["keySecret"]):
        assert canary not in text
    assert not re.findall(r'"[^"]*[:/@][^"]*"', text)
