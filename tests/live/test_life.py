"""The whole life of a user and a key, each operation on the real LiteLLM with genuine tokens."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from playwright.async_api import expect

from tests.conftest import ALICE, BASE, BOB, keys_path, user_path
from tests.live.conftest import Live, opened, sign_in
from tests.support.litellm_versions import BUDGET_DURATIONS

pytestmark = pytest.mark.live

USERS, AUDIT = f"{BASE}/users", f"{BASE}/audit"
_PATIENCE, _POLL = 150.0, 0.5


async def until_ended(live: Live, secret: str) -> None:
    """Until LiteLLM refuses the key."""
    for _ in range(int(_PATIENCE / _POLL)):
        if await live.products.chat(secret) == 401:
            return
        await asyncio.sleep(_POLL)
    pytest.fail("the key never ended")


async def test_an_auditor_reads_and_changes_nothing(live: Live) -> None:
    """Dave is in a group of auditors: he sees alice, her keys and her events, and LiteLLM keeps her key as it is."""
    async with (
        live.caller(await live.products.token("alice")) as alice,
        live.caller(await live.products.token("dave")) as dave,
    ):
        key = (await alice.post(keys_path(ALICE), json={"alias": "audited"})).json()
        me = (await dave.get(f"{BASE}/me")).json()
        assert me["roles"] == ["auditor", "member"]
        assert {"name": "keys.read", "scope": "any"} in me["permissions"]
        assert [row["key_alias"] for row in (await dave.get(keys_path(ALICE))).json()["keys"]] == ["audited"]
        assert ALICE in [row["userId"] for row in (await dave.get(USERS)).json()["users"]]
        assert (await dave.get(AUDIT)).json()["events"][0]["actor"] == ALICE
        refused = [
            await dave.delete(keys_path(ALICE, key["keyId"])),
            await dave.patch(keys_path(ALICE, key["keyId"]), json={"blocked": True}),
            await dave.delete(user_path(ALICE)),
            await dave.post(f"{BASE}/cleanup", json={"dryRun": False}),
        ]
        assert [response.status_code for response in refused] == [403] * 4
        assert await live.products.chat(key["keySecret"]) == 200


async def test_alice_looks_after_her_keys(live: Live) -> None:
    """Who she is, what she may use; a key with limits, read, changed, blocked, unblocked, and what others may not."""
    async with (
        live.caller(await live.products.token("alice")) as alice,
        live.caller(await live.products.token("bob")) as bob,
    ):
        me = (await alice.get(f"{BASE}/me")).json()
        assert (me["tier"], me["limits"]["maxKeys"], me["roles"]) == ("group:default/litellm-users", 60, ["member"])
        user = (await alice.get(user_path(ALICE))).json()
        assert (user["tier"], user["maxBudget"], user["rpmLimit"]) == ("group:default/litellm-users", 100, 1000)
        row = (await live.products.litellm.get("/v2/user/info", params={"user_id": ALICE})).json()
        assert (row["user_alias"], row["user_email"]) == ("Alice", "alice@example.com")
        assert [m["id"] for m in (await alice.get(f"{BASE}/models")).json()["models"]] == ["claude-fake", "gpt-fake"]

        body = {
            "alias": "laptop",
            "models": ["gpt-fake"],
            "maxBudget": 5,
            "budgetDuration": "7d",
            "metadata": {"a": "b"},
        }
        named = {"Idempotency-Key": "live-one"}
        key = (await alice.post(keys_path(ALICE), json=body, headers=named)).json()
        assert (await alice.post(keys_path(ALICE), json=body, headers=named)).json() == key
        assert (await alice.post(keys_path(ALICE), json={}, headers=named)).status_code == 422
        assert (await alice.post(keys_path(ALICE), json={"alias": "laptop"})).status_code == 409
        assert (await bob.post(keys_path(BOB), json={"alias": "laptop"})).status_code == 201
        assert (await alice.post(keys_path(ALICE), json={"rpmLimit": 1001})).status_code == 403
        assert await live.products.chat(key["keySecret"]) == 200

        path = keys_path(ALICE, key["keyId"])
        read = await alice.get(path)
        row = read.json()
        assert (row["key_alias"], row["models"], row["max_budget"], row["metadata"]) == (
            "laptop",
            ["gpt-fake"],
            5,
            {"a": "b"},
        )
        assert row["expires"] is not None
        changes: dict[str, Any] = {
            "alias": "desktop",
            "models": None,
            "maxBudget": None,
            "rpmLimit": 5,
            "metadata": {},
            "blocked": True,
        }
        changed = await alice.patch(path, json=changes, headers={"If-Match": read.headers["etag"]})
        row = changed.json()
        assert (row["key_alias"], row["models"], row["max_budget"], row["rpm_limit"]) == ("desktop", [], None, 5)
        assert await live.products.chat(key["keySecret"]) == 401
        stale = {"If-Match": read.headers["etag"]}
        assert (await alice.patch(path, json={"blocked": False}, headers=stale)).status_code == 412
        assert (await alice.patch(path, json={"blocked": False})).status_code == 200
        assert await live.products.chat(key["keySecret"]) == 200
        listed = (await alice.get(keys_path(ALICE), params={"alias": "desktop", "limit": 1})).json()
        assert [row["token"] for row in listed["keys"]] == [key["keyId"]]


async def test_bob_looks_after_users(live: Live) -> None:
    """Lists them, changes alice's limits and takes them back, off-boards her, and reads who did what."""
    async with (
        live.caller(await live.products.token("alice")) as alice,
        live.caller(await live.products.token("bob")) as bob,
    ):
        secrets = [(await alice.post(keys_path(ALICE))).json()["keySecret"] for _ in range(2)]
        page = (await bob.get(USERS, params={"query": "ALICE@example", "limit": 1})).json()
        assert [(row["userId"], row["displayName"], row["status"]) for row in page["users"]] == [
            (ALICE, "Alice", "active")
        ]
        limits: dict[str, Any] = {
            "maxBudget": 7,
            "budgetDuration": "7d",
            "models": ["claude-fake"],
            "tpmLimit": 100_000,
        }
        changed = (await bob.patch(user_path(ALICE), json=limits | {"spend": 0})).json()
        assert {name: changed[name] for name in limits} == limits
        assert await live.products.chat(secrets[0]) == 403
        if await live.products.litellm_version() < BUDGET_DURATIONS:
            refused = await bob.patch(user_path(ALICE), json={"budgetDuration": None})
            assert (refused.status_code, "budget_duration" in refused.text) == (502, True)
            del limits["budgetDuration"]
        cleared = (await bob.patch(user_path(ALICE), json=dict.fromkeys(limits))).json()
        assert {name: cleared[name] for name in limits} == dict.fromkeys(limits) | {"models": []}
        assert (await bob.patch(user_path("user:default/nobody"), json={"maxBudget": 1})).status_code == 404
        assert (await alice.delete(user_path(ALICE))).status_code == 403
        assert (await bob.delete(user_path(ALICE))).json() == {"userId": ALICE, "keysDeleted": 2}
        assert [await live.products.chat(secret) for secret in secrets] == [401, 401]
        events = (await bob.get(AUDIT, params={"target": ALICE, "limit": 100})).json()["events"]
        # Her keys are new: the check of their owner may come last, and finds nothing to delete.
        told = [(row["actor"], row["action"], row["outcome"]) for row in events if row["actor"] in (ALICE, BOB)]
        assert told[:3] == [
            (BOB, "user.delete", "done"),
            (BOB, "user.block", "done"),
            (ALICE, "user.delete", "denied"),
        ]
        mine = (await alice.get(AUDIT)).json()["events"]
        assert {ALICE} <= {row["target"] for row in mine} <= {ALICE}


async def test_a_rotation(live: Live) -> None:
    """Both work during the overlap; then the old one ends by itself."""
    async with live.caller(await live.products.token("alice")) as alice:
        old = (await alice.post(keys_path(ALICE), json={"alias": "ci", "maxBudget": 5})).json()
        path = f"{keys_path(ALICE, old['keyId'])}/regenerate"
        new = (await alice.post(path, json={"overlap": 3})).json()
        assert [await live.products.chat(key["keySecret"]) for key in (old, new)] == [200, 200]
        row = (await alice.get(keys_path(ALICE, new["keyId"]))).json()
        assert (row["key_alias"], row["max_budget"], row["pendingRevocations"]) == ("ci", 5, [new["revokes"]])
        await until_ended(live, old["keySecret"])
        assert await live.products.chat(new["keySecret"]) == 200
        now = (await alice.post(f"{keys_path(ALICE, new['keyId'])}/regenerate")).json()
        assert [await live.products.chat(key["keySecret"]) for key in (new, now)] == [401, 200]


async def test_a_leak(live: Live) -> None:
    """A reported key is dead at once, and its owner rotates it."""
    async with (
        live.caller(await live.products.token("alice")) as alice,
        live.caller(await live.products.token("carol")) as carol,
    ):
        key = (await alice.post(keys_path(ALICE))).json()
        for secret in (key["keySecret"], "sk-nobody-has-this-one"):
            answer = await carol.post(f"{BASE}/keys/report", json={"key": secret})
            assert (answer.status_code, answer.json()) == (202, {"received": True})
        assert await live.products.chat(key["keySecret"]) == 401
        assert (await alice.patch(keys_path(ALICE, key["keyId"]), json={"blocked": False})).status_code == 403
        new = (await alice.post(f"{keys_path(ALICE, key['keyId'])}/regenerate")).json()
        assert await live.products.chat(new["keySecret"]) == 200


async def test_usage(live: Live) -> None:
    """LiteLLM counts what alice's key did, a little later; the console draws it."""
    async with live.caller(await live.products.token("alice")) as alice:
        key = (await alice.post(keys_path(ALICE), json={"alias": "counted"})).json()
        assert [await live.products.chat(key["keySecret"]) for _ in range(3)] == [200] * 3
    token = {"Authorization": f"Bearer {await live.products.token('alice')}"}
    async with httpx.AsyncClient(base_url=live.running.origin, headers=token, timeout=60) as alice:
        for _ in range(int(_PATIENCE / _POLL)):
            report = (await alice.get(f"{user_path(ALICE)}/usage", params={"groupBy": "key"})).json()
            mine = [row for row in report["groups"] if row["group"] == key["id"]]
            if mine and mine[0]["figures"]["requests"] == 3:
                break
            await asyncio.sleep(_POLL)
        models = (await alice.get(f"{user_path(ALICE)}/usage", params={"groupBy": "model"})).json()
    live.products.narrate(f"  GET …/usage -> {mine[0]['alias']}: {mine[0]['figures']}")
    figures = mine[0]["figures"]
    assert (mine[0]["alias"], figures["totalTokens"]) == (
        "counted",
        figures["promptTokens"] + figures["completionTokens"],
    )
    assert min(figures["spend"], figures["totalTokens"]) > 0
    assert "gpt-fake" in [row["group"] for row in models["groups"]]
    assert report["budget"]["maxBudget"] == 100
    async with opened(f"{live.running.origin}{BASE}/console#/spending") as page:
        await sign_in(page, live, "alice")
        await expect(page.locator(".chart title").filter(has_text="gpt-fake").last).to_be_attached()
        await page.get_by_text("Key", exact=True).click()
        await expect(page.locator("tbody tr", has_text="counted").locator("td").nth(2)).to_have_text("3")


async def test_fifty_posts_with_one_idempotency_key(live: Live) -> None:
    """One key, whatever the concurrency."""
    token = {"Authorization": f"Bearer {await live.products.token('alice')}", "Idempotency-Key": "fifty"}
    async with httpx.AsyncClient(base_url=live.running.origin, headers=token, timeout=60) as alice:
        answers = await asyncio.gather(*(alice.post(keys_path(ALICE)) for _ in range(50)))
        keys = (await alice.get(keys_path(ALICE))).json()["keys"]
    statuses = sorted({answer.status_code for answer in answers})
    live.products.narrate(f"  50 x POST …/keys with one Idempotency-Key -> {statuses}, {len(keys)} key")
    assert set(statuses) <= {201, 409}
    assert [row["token"] for row in keys] == list({a.json()["keyId"] for a in answers if a.status_code == 201})


async def test_alices_rate(live: Live) -> None:
    """Thirty a minute, then 429 that says when again: ten at a time, because more wait longer for each other."""
    answers: list[httpx.Response] = []
    token = {"Authorization": f"Bearer {await live.products.token('alice')}"}
    async with httpx.AsyncClient(base_url=live.running.origin, headers=token, timeout=60) as alice:
        while len(answers) < 200 and not any(answer.status_code == 429 for answer in answers):
            answers += await asyncio.gather(*(alice.post(keys_path(ALICE)) for _ in range(10)))
    assert sorted({answer.status_code for answer in answers}) == [201, 429]
    assert answers[0].headers["ratelimit-policy"] == '"creates";q=30;w=60'
    refused = [answer for answer in answers if answer.status_code == 429]
    live.products.narrate(
        f"  {len(answers)} x POST …/keys -> {len(refused)} x 429, Retry-After {refused[0].headers['retry-after']}"
    )
    assert int(refused[0].headers["retry-after"]) in (1, 2)
