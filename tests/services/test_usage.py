"""Usage, and leaked keys."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from standalone.litellm import LiteLLMStandIn
from standalone.litellm_usage import CALL_COST
from tests.conftest import ALICE, BASE, BOB, CAROL, Clock, MakeService, Service, keys_path, user_path
from tests.services.keys.test_keys import made, refusal
from tests.services.keys.test_rotate import chat
from tests.support.upstreams import Overriding

USAGE = f"{user_path(ALICE)}/usage"
REPORT = f"{BASE}/keys/report"


async def called(client: httpx.AsyncClient, litellm: LiteLLMStandIn, times: int, **body: Any) -> str:
    """A new key of alice's with `calls` model calls."""
    key = (await client.post(keys_path(ALICE), json=body)).json()
    for _ in range(times):
        assert await chat(litellm, key["keySecret"]) == 200
    return str(key["keyId"])


async def test_usage_by_day_model_and_key(
    alice: httpx.AsyncClient, litellm: LiteLLMStandIn, service: Service, clock: Clock
) -> None:
    """In USD, tokens and calls, with what is left of the budget."""
    one = await called(alice, litellm, 2, alias="laptop")
    clock.advance(86_400)
    alice = service.signed_in(ALICE)
    other = await called(alice, litellm, 1)
    report = (await alice.get(USAGE)).json()
    assert (report["from"], report["to"], report["groupBy"]) == ("2026-12-18", "2027-01-16", "day")
    total = report["total"]
    assert total == {
        "spend": pytest.approx(3 * CALL_COST),
        "promptTokens": 30,
        "completionTokens": 60,
        "totalTokens": 90,
        "requests": 3,
        "failedRequests": 0,
    }
    assert [(row["group"], row["figures"]["requests"]) for row in report["groups"]] == [
        ("2027-01-15", 2),
        ("2027-01-16", 1),
    ]
    assert report["budget"] == {
        "maxBudget": 100,
        "budgetDuration": "30d",
        "spend": pytest.approx(3 * CALL_COST),
        "remaining": pytest.approx(100 - 3 * CALL_COST),
        "resetsAt": "2027-02-01T00:00:00Z",
    }
    split = (await alice.get(USAGE, params={"splitBy": "key"})).json()["groups"]
    assert [row["parts"] for row in split] == [
        [{"group": one, "spend": pytest.approx(2 * CALL_COST)}],
        [{"group": other, "spend": pytest.approx(CALL_COST)}],
    ]
    models = (await alice.get(USAGE, params={"groupBy": "model"})).json()["groups"]
    assert [(row["group"], row["figures"]["requests"]) for row in models] == [("gpt-fake", 3)]
    keys = (await alice.get(USAGE, params={"groupBy": "key"})).json()["groups"]
    assert [(row["group"], row["alias"], row["figures"]["requests"]) for row in keys] == [
        (one, "laptop", 2),
        (other, None, 1),
    ]
    first = (await alice.get(USAGE, params={"from": "2027-01-15", "to": "2027-01-15"})).json()
    assert first["total"]["requests"] == 2


async def test_every_page_of_usage(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """Also if a day is split between two pages."""
    litellm.rows.add_user({"user_id": ALICE, "max_budget": 1})
    for day in ("2027-01-01", "2027-01-02"):
        litellm.rows.usage.add(ALICE, day, "gpt-fake", "ab" * 32)
    days = litellm.rows.usage.days(ALICE, "2027-01-01", "2027-01-31")
    pages = [[days[0]], [days[0]], [days[1]]]

    def one_a_page(request: httpx.Request) -> httpx.Response:
        page = int(request.url.params["page"])
        return httpx.Response(200, json={"results": pages[page - 1], "metadata": {"has_more": page < 3}})

    paged = Overriding(httpx.ASGITransport(litellm.app), {"/user/daily/activity": one_a_page})
    report = (await make_service(ports={"litellm": paged}).signed_in(BOB).get(USAGE)).json()
    assert [(row["group"], row["figures"]["requests"]) for row in report["groups"]] == [
        ("2027-01-01", 1),
        ("2027-01-02", 2),
    ]


async def test_an_exceeded_budget_leaves_zero(bob: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """Not a negative number; without a budget there is no number."""
    litellm.rows.add_user({"user_id": ALICE, "max_budget": 1})["spend"] = 1.5
    assert (await bob.get(USAGE)).json()["budget"]["remaining"] == 0
    litellm.rows.users[ALICE]["max_budget"] = None
    assert (await bob.get(USAGE)).json()["budget"]["remaining"] is None


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"from": "2027-01-02", "to": "2027-01-01"}, "from must not be after to"),
        ({"from": "2025-01-01", "to": "2027-01-01"}, "at most 366 days"),
        ({"from": "2027-02-30"}, "a day such as"),
        ({"to": "today"}, "a day such as"),
        ({"groupBy": "team"}, "one of day, model, key"),
        ({"splitBy": "day"}, "one of model, key"),
        ({"groupBy": "model", "splitBy": "key"}, "splitBy needs groupBy=day"),
    ],
)
async def test_invalid_spans_are_refused(
    alice: httpx.AsyncClient, litellm: LiteLLMStandIn, query: dict[str, str], says: str
) -> None:
    """400, before LiteLLM is called."""
    status, message = await refusal(await alice.get(USAGE, params=query))
    assert (status, says in message) == (400, True), message
    assert litellm.requests == []


@pytest.mark.parametrize("body", [{"results": [{}], "metadata": {}}, {"results": {}}, {"results": [5], "metadata": {}}])
async def test_an_unexpected_usage_response_is_a_fault(
    make_service: MakeService, litellm: LiteLLMStandIn, body: Any
) -> None:
    """502."""
    litellm.rows.add_user({"user_id": ALICE})
    odd = Overriding(
        httpx.ASGITransport(litellm.app), {"/user/daily/activity": lambda _: httpx.Response(200, json=body)}
    )
    assert (await make_service(ports={"litellm": odd}).signed_in(BOB).get(USAGE)).status_code == 502


async def test_a_leaked_key_is_blocked_at_once(
    alice: httpx.AsyncClient, bob: httpx.AsyncClient, litellm: LiteLLMStandIn
) -> None:
    """Anybody may report it; its owner cannot unblock it, and learns why."""
    key = (await bob.post(keys_path(BOB))).json()
    assert (await alice.post(REPORT, json={"key": key["keySecret"]})).status_code == 202
    assert await chat(litellm, key["keySecret"]) == 401
    status, message = await refusal(await bob.patch(keys_path(BOB, key["keyId"]), json={"blocked": False}))
    assert (status, "reported as leaked" in message) == (403, True)
    event = (await bob.get(f"{BASE}/audit", params={"action": "key.report"})).json()["events"][0]
    assert (event["actor"], event["target"], event["keyId"]) == (ALICE, BOB, key["keyId"])


async def test_the_response_does_not_reveal_whether_the_key_exists(service: Service) -> None:
    """Every authenticated caller may report."""
    alice, carol = service.signed_in(ALICE), service.signed_in(CAROL)
    real = (await alice.post(keys_path(ALICE))).json()["keySecret"]
    answers = [await carol.post(REPORT, json={"key": key}) for key in (real, "sk-nobody-has-this-one")]
    assert [(answer.status_code, answer.json()) for answer in answers] == [(202, {"received": True})] * 2
    assert (await service.client().post(REPORT, json={"key": real})).status_code == 401


@pytest.mark.parametrize("key", ["", "canary", "sk-", "sk-a b c d", "sk-" + "x" * 300, "Bearer sk-canary-1", 5, None])
async def test_a_value_that_is_not_a_secret_is_refused(
    alice: httpx.AsyncClient, litellm: LiteLLMStandIn, log: Any, key: Any
) -> None:
    """400 that does not repeat the value."""
    status, message = await refusal(await alice.post(REPORT, json={"key": key}))
    assert (status, "canary" in message, litellm.requests) == (400, False, [])
    assert "canary" not in log.getvalue()


async def test_the_cleanup_does_not_unblock_a_leaked_key(service: Service, litellm: LiteLLMStandIn) -> None:
    """A user who returns gets their other keys back."""
    bob = service.signed_in(BOB)
    leaver = "user:default/alice"
    leaked = (await service.signed_in(ALICE).post(keys_path(ALICE))).json()
    fine = await made(service.signed_in(ALICE))
    groups, service.backstage.org.users[leaver] = service.backstage.org.users[leaver], set()
    await run_cleanup(bob)
    assert {row["blocked"] for row in litellm.rows.keys.values()} == {True}
    await bob.post(REPORT, json={"key": leaked["keySecret"]})
    service.backstage.org.users[leaver] = groups
    await run_cleanup(bob)
    assert {key_id: row["blocked"] for key_id, row in litellm.rows.keys.items()} == {leaked["keyId"]: True, fine: False}
    told = (await bob.get(f"{BASE}/audit", params={"actor": "cleanup"})).json()["events"]
    assert [(row["action"], row["target"], row["after"]) for row in told] == [
        ("user.restore", ALICE, {"keys": 1}),
        ("user.block", ALICE, {"keys": 2}),
    ]


async def run_cleanup(bob: httpx.AsyncClient) -> None:
    assert (await bob.post(f"{BASE}/cleanup", json={"dryRun": False})).status_code == 202
    while (await bob.get(f"{BASE}/cleanup")).json()["running"]:
        pass
