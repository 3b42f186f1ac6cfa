"""People whom the real LiteLLM had before become the users of their refs in the real Backstage."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ALICE, BASE, BOB, ERIN, keys_path, user_path
from tests.live.conftest import Live
from tests.support.adoption import ADOPTIONS, adopted, planned
from tests.support.processes import output
from tests.support.real_products import RealProducts

pytestmark = pytest.mark.live

OLD, MIXED = "ALICE@example.com", "User:Default/Erin.Mixed"
LIMITS = {"max_budget": 10, "budget_duration": "30d", "models": ["gpt-fake"], "rpm_limit": 500, "spend": 3.5}


@pytest.fixture
async def old(live: Live) -> AsyncIterator[dict[str, list[Any]]]:
    """Alice under her address and erin in mixed case, each with two keys, the second of which is blocked."""
    await forget(live.products)
    keys: dict[str, list[Any]] = {}
    for user_id, fields in ((OLD, {**LIMITS, "user_email": OLD}), (MIXED, LIMITS)):
        body = {"user_id": user_id, "auto_create_key": False, **fields}
        assert (await live.products.litellm.post("/user/new", json=body)).status_code == 200
        for limit in (2, 1):
            key = {"user_id": user_id, "max_budget": limit, "key_type": "llm_api"}
            made = (await live.products.litellm.post("/key/generate", json=key)).json()
            keys.setdefault(user_id, []).append(made)
        await live.products.litellm.post("/key/block", json={"key": keys[user_id][1]["token"]})
        assert await live.products.chat(keys[user_id][0]["key"]) == 200
    yield keys
    await forget(live.products)


async def forget(products: RealProducts) -> None:
    for user_id in (OLD, MIXED, ALICE, ERIN):
        await products.litellm.post("/user/delete", json={"user_ids": [user_id]})


async def require_theirs(live: Live, name: str, ref: str, keys: list[Any]) -> None:
    """The person sees both keys, limits and spend under the ref; the secrets do what they did."""
    async with live.caller(await live.products.token(name)) as person:
        shown = (await person.get(keys_path(ref))).json()["keys"]
        assert {row["token"]: (row["max_budget"], bool(row["blocked"])) for row in shown} == {
            keys[0]["token"]: (2, False),
            keys[1]["token"]: (1, True),
        }
        user = (await person.get(user_path(ref))).json()
        assert (user["maxBudget"], user["budgetDuration"], user["models"]) == (10, "30d", ["gpt-fake"])
        assert (user["rpmLimit"], 3.5 <= user["spend"] < 4) == (500, True)
    assert [await live.products.chat(key["key"]) for key in keys] == [200, 401]


async def command(config: Path, *options: str) -> Any:
    """What `adopt` reports, as JSON."""
    code, printed = await output("adopt", "--config", str(config), *options, "--json")
    assert code == 0, printed
    return json.loads(printed[printed.index("{\n") : printed.rindex("\n}") + 2])


async def test_alice_had_an_address_for_an_id(live: Live, config: Path, old: dict[str, list[Any]]) -> None:
    """By the command line: a plan, its execution, and the emptied user is gone; her secret works all the time."""
    plan = (await command(config, "--by", "email", "--delete-emptied", "--limit", "1"))["plan"]
    assert [(row["userId"], row["account"]) for row in plan["entries"]] == [(ALICE, OLD)]
    assert await live.products.chat(old[OLD][0]["key"]) == 200
    options = ("--by", "email", "--delete-emptied", "--limit", "1", "--apply", "--plan-hash", plan["hash"])
    report = await command(config, *options)
    assert report["done"]["adopted"] == [
        {"userId": ALICE, "account": OLD, "keys": 2, "deleted": True, "keptBecause": None}
    ]
    await require_theirs(live, "alice", ALICE, old[OLD])
    assert (await live.products.litellm.get("/v2/user/info", params={"user_id": OLD})).status_code == 404
    row = (await live.products.litellm.get("/v2/user/info", params={"user_id": ALICE})).json()
    assert (row["user_email"], row["user_role"]) == (OLD, "internal_user")


async def test_erin_was_there_in_mixed_case(live: Live, old: dict[str, list[Any]]) -> None:
    """By the API, as bob; the old user stays, emptied. The audit log says who did it."""
    async with live.caller(await live.products.token("bob")) as bob:
        plan = (await planned(bob, by="spelling", wait=0.5))["plan"]
        assert (ERIN, MIXED) in [(row["userId"], row["account"]) for row in plan["entries"]]
        report = await adopted(bob, plan["hash"], by="spelling", wait=0.5)
        assert (report["outcome"], report["trigger"]) == ("done", BOB)
        await require_theirs(live, "erin.mixed", ERIN, old[MIXED])
        assert (await live.products.litellm.get("/v2/user/info", params={"user_id": MIXED})).status_code == 200
        events = (await bob.get(f"{BASE}/audit", params={"action": "user.adopt", "target": ERIN})).json()["events"]
        assert [(row["actor"], row["outcome"]) for row in events] == [(BOB, "done")]
        assert (await bob.get(f"{ADOPTIONS}/{report['adoptionId']}")).json() == report
