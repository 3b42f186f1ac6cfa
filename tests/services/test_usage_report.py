"""What a user spent, by day, model and key."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import httpx
import pytest

from standalone.environment import CHECKOUT, PIPELINE
from standalone.issuer import IssuerStandIn
from standalone.litellm import LiteLLMStandIn
from standalone.litellm_usage import CALL_COST
from tests.conftest import ALICE, BOB, Clock, MakeService, Service, keys_path, user_path
from tests.services.tokens.test_devices import DAVE
from tests.support.devices import renewed, revoke, sign_in
from tests.support.keys import chat, id_of, made, refusal
from tests.support.litellm_versions import UNATTRIBUTED_WORDS
from tests.support.requests import exchange
from tests.support.upstreams import Overriding
from tests.support.usage import USAGE, one_day, reading


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
        "cacheReadInputTokens": 12,
        "cacheCreationInputTokens": 6,
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
        [{"group": id_of(one), "spend": pytest.approx(2 * CALL_COST)}],
        [{"group": id_of(other), "spend": pytest.approx(CALL_COST)}],
    ]
    models = (await alice.get(USAGE, params={"groupBy": "model"})).json()["groups"]
    assert [(row["group"], row["figures"]["requests"]) for row in models] == [("gpt-fake", 3)]
    keys = (await alice.get(USAGE, params={"groupBy": "key"})).json()["groups"]
    assert [(row["group"], row["alias"], row["figures"]["requests"]) for row in keys] == [
        (id_of(one), "laptop", 2),
        (id_of(other), None, 1),
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


def added_up(report: Any) -> bool:
    """Whether the groups, and the parts of each, add up to what they are parts of, field by field."""
    figures = [row["figures"] for row in report["groups"]]
    sums = {name: sum(row[name] for row in figures) for name in report["total"]}
    parts = [
        (row["figures"]["spend"], sum(part["spend"] for part in row["parts"]))
        for row in report["groups"]
        if "parts" in row
    ]
    return sums == pytest.approx(report["total"], abs=1e-9) and all(
        total == pytest.approx(spend, abs=1e-9) for total, spend in parts
    )


@pytest.mark.parametrize("words", [("", ""), UNATTRIBUTED_WORDS])
@pytest.mark.parametrize("by", ["model", "key"])
async def test_parts_add_up_to_the_total(
    bob: httpx.AsyncClient, litellm: LiteLLMStandIn, by: str, words: tuple[str, str]
) -> None:
    """Alice's calls of pass-through endpoints have no model, no key, or neither: one group has them all."""
    litellm.rows.usage.words = words
    litellm.rows.add_user({"user_id": ALICE})
    key_id = litellm.rows.add_key({"user_id": ALICE, "key_alias": "laptop"})[0]["token"]
    for day in ("2027-01-14", "2027-01-15"):
        for model, key in [("gpt-fake", key_id), ("", key_id), ("gpt-fake", ""), ("", ""), ("", "")]:
            litellm.rows.usage.add(ALICE, day, model, key)
    groups = (await bob.get(USAGE, params={"groupBy": by})).json()
    assert added_up(groups)
    assert [(row["group"], row["figures"]["requests"]) for row in groups["groups"]] == [
        ("unattributed", 6),
        ({"model": "gpt-fake", "key": id_of(key_id)}[by], 4),
    ]
    days = (await bob.get(USAGE, params={"splitBy": by})).json()
    assert added_up(days)
    assert [part["group"] for part in days["groups"][0]["parts"]] == sorted(row["group"] for row in groups["groups"])


@pytest.mark.parametrize("by", ["model", "key"])
async def test_rounding_is_no_group(make_service: MakeService, litellm: LiteLLMStandIn, by: str) -> None:
    """0.1 + 0.2 is not 0.3, and LiteLLM adds up in another order; a missing call without costs is one."""
    day = one_day(litellm)
    body = {"results": [day], "metadata": {"has_more": False}}
    bob = reading(make_service, litellm, lambda: json.dumps(body))
    day["metrics"] |= {"spend": CALL_COST + 9e-10}
    assert len((await bob.get(USAGE, params={"groupBy": by})).json()["groups"]) == 1
    day["metrics"] |= {"api_requests": 2, "failed_requests": 1}
    report = (await bob.get(USAGE, params={"groupBy": by})).json()
    assert added_up(report)
    assert report["groups"][1]["group"] == "unattributed"
    assert report["groups"][1]["figures"]["spend"] == 0


async def test_the_keys_of_a_workload_are_one_group(
    service: Service, issuer: IssuerStandIn, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """Also those that have ended, and beside the other keys of its owner."""
    nobody, bob = service.client(), service.signed_in(BOB)
    for number in range(3):
        given = (await exchange(nobody, issuer.token(jti=f"run-{number}"))).json()
        assert await chat(litellm, given["access_token"]) == 200
    clock.advance(303)
    await service.run_background_jobs()
    assert litellm.rows.keys == {}
    given = (await exchange(nobody, issuer.token(jti="late"))).json()
    other = (await bob.post(keys_path(CHECKOUT), json={"alias": "by hand"})).json()
    for secret in (given["access_token"], other["keySecret"]):
        assert await chat(litellm, secret) == 200
    report = (await bob.get(f"{user_path(CHECKOUT)}/usage", params={"groupBy": "key"})).json()
    assert [(row["group"], row.get("keyId"), row["figures"]["requests"]) for row in report["groups"]] == [
        (f"workload:{PIPELINE}", None, 4),
        (other["id"], other["keyId"], 1),
    ]


async def test_the_keys_of_a_device_are_one_group(service: Service, litellm: LiteLLMStandIn, clock: Clock) -> None:
    """Under its own words, with who signed it in, also after it was signed out."""
    nobody, bob = service.client(), service.signed_in(BOB)
    first, second = await sign_in(service, DAVE, CHECKOUT), await sign_in(service, BOB, CHECKOUT)
    clock.advance(60)
    newer = await renewed(nobody, first["refresh_token"])
    for got in (first, newer, second):
        assert await chat(litellm, got["access_token"]) == 200
    await revoke(nobody, newer["refresh_token"])
    expected = [
        (f"device:{first['session_id']}", "laptop claude-code", DAVE, 2),
        (f"device:{second['session_id']}", "laptop claude-code", BOB, 1),
    ]
    report = (await bob.get(f"{user_path(CHECKOUT)}/usage", params={"groupBy": "key"})).json()
    assert [
        (row["group"], row["alias"], row["userId"], row["figures"]["requests"]) for row in report["groups"]
    ] == expected


async def test_a_deleted_key_keeps_its_alias(alice: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """The last that alice gave it, though LiteLLM does not have the key any more."""
    first, second = await called(alice, litellm, 2, alias="laptop"), await called(alice, litellm, 1, alias="ci")
    await alice.patch(keys_path(ALICE, first), json={"alias": "old laptop"})
    for key_id in (first, second):
        assert (await alice.delete(keys_path(ALICE, key_id))).status_code == 204
    groups = (await alice.get(USAGE, params={"groupBy": "key"})).json()["groups"]
    assert [(row["group"], row["alias"]) for row in groups] == [(id_of(first), "old laptop"), (id_of(second), "ci")]


async def test_a_key_deleted_elsewhere_keeps_its_alias(alice: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """A name that alice asked for in vain does not count."""
    key_id = await called(alice, litellm, 1, alias="laptop")
    await made(alice, alias="ci")
    assert (await alice.patch(keys_path(ALICE, key_id), json={"alias": "ci"})).status_code == 409
    litellm.rows.delete_key(key_id)
    groups = (await alice.get(USAGE, params={"groupBy": "key"})).json()["groups"]
    assert [(row["group"], row["alias"]) for row in groups] == [(id_of(key_id), "laptop")]


async def test_a_key_made_elsewhere_keeps_its_alias(alice: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """It was LiteLLM's; alice deleted the key through this service."""
    await alice.get(user_path(ALICE))
    row, secret = litellm.rows.add_key({"user_id": ALICE, "key_alias": "from elsewhere"})
    assert await chat(litellm, secret) == 200
    await alice.delete(keys_path(ALICE, row["token"]))
    groups = (await alice.get(USAGE, params={"groupBy": "key"})).json()["groups"]
    assert [(row["group"], row["alias"]) for row in groups] == [(id_of(row["token"]), "from elsewhere")]


@pytest.mark.parametrize("is_remembered", [True, False])
async def test_a_rotated_key_is_one_row(
    service: Service, litellm: LiteLLMStandIn, tmp_path: Path, *, is_remembered: bool
) -> None:
    """Under its id, with the alias and its last hash, in parts of days too: by the audit log, or by the annotation."""
    alice = service.signed_in(ALICE)
    first = await called(alice, litellm, 1, alias="laptop")
    ids = [first]
    for body in ({}, {"overlap": 3600}):
        new = (await alice.post(f"{keys_path(ALICE, ids[-1])}/regenerate", json=body)).json()
        assert await chat(litellm, new["keySecret"]) == 200
        ids.append(new["keyId"])
    other = await called(alice, litellm, 1)
    if not is_remembered:
        with sqlite3.connect(tmp_path / "state.sqlite3") as connection:
            connection.execute("delete from change where key_id <> ? or action <> 'key.regenerate'", [ids[0]])
        connection.close()
    groups = (await alice.get(USAGE, params={"groupBy": "key"})).json()["groups"]
    assert [(row["group"], row["keyId"], row["alias"], row["figures"]["requests"]) for row in groups] == [
        (id_of(first), ids[-1], "laptop", 3),
        (id_of(other), other, None, 1),
    ]
    [day] = (await alice.get(USAGE, params={"splitBy": "key"})).json()["groups"]
    assert {part["group"] for part in day["parts"]} == {id_of(first), id_of(other)}
    if is_remembered:
        await alice.delete(keys_path(ALICE, ids[-1]))
        groups = (await alice.get(USAGE, params={"groupBy": "key"})).json()["groups"]
        assert [(row["group"], row["keyId"], row["alias"]) for row in groups] == [
            (id_of(first), ids[-1], "laptop"),
            (id_of(other), other, None),
        ]


async def test_usage_without_the_database(service: Service, litellm: LiteLLMStandIn, tmp_path: Path, log: Any) -> None:
    """Bob still gets a report, without the aliases of keys that are gone, and the log says so."""
    one_day(litellm)
    (tmp_path / "state.sqlite3").rename(tmp_path / "away")
    (tmp_path / "state.sqlite3").mkdir()
    answer = await service.signed_in(BOB).get(USAGE, params={"groupBy": "key"})
    assert [(row["group"], row["alias"]) for row in answer.json()["groups"]] == [(id_of("ab" * 32), None)]
    assert "without the aliases" in log.getvalue()
    (tmp_path / "state.sqlite3").rmdir()


async def test_what_usage_costs_litellm(alice: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """The keys are listed only if their names are asked for."""
    await called(alice, litellm, 1)
    for query, calls in (
        ({"groupBy": "model"}, ["GET /user/list", "GET /user/daily/activity"]),
        ({"splitBy": "model"}, ["GET /user/list", "GET /user/daily/activity"]),
        ({"groupBy": "key"}, ["GET /user/list", "GET /user/daily/activity", "GET /key/list"]),
    ):
        litellm.requests.clear()
        await alice.get(USAGE, params=query)
        assert litellm.requests == calls


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
