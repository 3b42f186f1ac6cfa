"""What operators put on a key, who blocked it, and what is left of it after rotations, on the real products.

Dave is the member here, in a group of his own, so this runs beside the tests of the others.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import BASE, keys_path
from tests.live.conftest import Live
from tests.support.processes import listening
from tests.support.real_products import RealProducts

pytestmark = pytest.mark.live

DAVE = "user:default/dave"
WEEK = 604_800
PUT_THERE: list[tuple[str, Any]] = [
    ("budget_id", "keys-kept-live"),
    ("object_permission", {"vector_stores": ["v"]}),
    ("agent_id", "agent-1"),
    ("permissions", {"get_spend_routes": True}),
    ("config", {"a": 1}),
    ("router_settings", {"num_retries": 3}),
    ("rotation_interval", "30d"),
    ("aliases", {"a": "b"}),
    ("max_parallel_requests", 4),
    ("allowed_routes", ["/v1/chat/completions"]),
]


@pytest.fixture
def shop_config(config: Path) -> Path:
    """The service for dave's group, with one key for each."""
    text = config.read_text().replace("group:default/litellm-users", "group:default/team-a")
    config.write_text(text.replace("{group: litellm-users, maxKeys: 60,", "{group: team-a, maxKeys: 1,"))
    return config


@pytest.fixture
async def shop(shop_config: Path, products: RealProducts) -> AsyncIterator[Live]:
    """The service, and dave without a LiteLLM user."""
    async with listening("serve", "--config", str(shop_config)) as running:
        await products.litellm.post("/user/delete", json={"user_ids": [DAVE]})
        yield Live(products, running)
    await products.litellm.post("/user/delete", json={"user_ids": [DAVE]})


async def created(dave: httpx.AsyncClient, **body: Any) -> Any:
    answer = await dave.post(keys_path(DAVE), json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def listed(shop: Live) -> set[str]:
    """The ids of dave's keys in LiteLLM."""
    answer = await shop.products.litellm.get("/key/list", params={"user_id": DAVE, "size": 100})
    return set(answer.json()["keys"])


async def test_a_rotation_never_sheds_what_an_operator_set(shop: Live) -> None:
    """A shared budget, permissions, settings: 409 that names it; no other key is left, and the old one works."""
    litellm = shop.products.litellm
    await litellm.post("/budget/new", json={"budget_id": "keys-kept-live", "max_budget": 7})
    async with shop.caller(await shop.products.token("dave")) as dave:
        for name, value in PUT_THERE:
            key = await created(dave, budgetDuration="30d", maxBudget=5, metadata={"team": "a"})
            put = await litellm.post("/key/update", json={"key": key["keyId"], name: value})
            assert put.status_code == 200, put.text
            path = keys_path(DAVE, key["keyId"])
            answer = await dave.post(f"{path}/regenerate", json={"overlap": 60})
            message = answer.json()["error"]["message"]
            column = "object_permission_id" if name == "object_permission" else name
            assert (answer.status_code, message.rpartition(": ")[2]) == (409, column)
            assert (await listed(shop), await shop.products.chat(key["keySecret"])) == ({key["keyId"]}, 200)
            assert (await dave.delete(path)).status_code == 204
    await litellm.post("/budget/delete", json={"id": "keys-kept-live"})


async def test_the_plugins_keys_are_rotated(shop: Live) -> None:
    """A key without a type becomes one for models, with its limits, metadata, spend and the reset of its budget."""
    litellm = shop.products.litellm
    async with shop.caller(await shop.products.token("dave")) as dave:
        await dave.get(keys_path(DAVE))
        body = {"user_id": DAVE, "max_budget": 5, "budget_duration": "30d", "metadata": {"tags": ["a"]}, "spend": 1.5}
        old = (await litellm.post("/key/generate", json=body)).json()
        new = (await dave.post(f"{keys_path(DAVE, old['token'])}/regenerate", json={"overlap": 60})).json()
        before, after = [
            (await litellm.get("/key/info", params={"key": key_id})).json()["info"]
            for key_id in (old["token"], new["keyId"])
        ]
    kept = ("max_budget", "budget_duration", "budget_reset_at", "spend", "models")
    assert [after[name] for name in kept] == [before[name] for name in kept]
    assert after["metadata"]["tags"] == ["a"]
    # LiteLLM 1.90 has no column for the type.
    assert (before.get("key_type"), after.get("key_type")) in (("default", "llm_api"), (None, None))
    assert after["allowed_routes"] == ["llm_api_routes"]


async def test_rotations_leave_two_keys(shop: Live) -> None:
    """Of nine rotations with a week's overlap; the ones before are refused at once, also for a model call."""
    async with shop.caller(await shop.products.token("dave")) as dave:
        keys = [await created(dave, maxBudget=5)]
        for _ in range(9):
            answer = await dave.post(f"{keys_path(DAVE, keys[-1]['keyId'])}/regenerate", json={"overlap": WEEK})
            assert answer.json()["revokedAtOnce"] == [key["keyId"] for key in keys[-2:-1]]
            keys.append(answer.json())
        assert await listed(shop) == {key["keyId"] for key in keys[-2:]}
        assert [await shop.products.chat(key["keySecret"]) for key in keys] == [401] * 8 + [200, 200]
        assert (await dave.post(keys_path(DAVE), json={})).status_code == 409


async def test_an_admins_block_is_theirs(shop: Live) -> None:
    """Dave blocks, bob the admin blocks, dave cannot unblock; LiteLLM's own row says whose block it is."""
    async with (
        shop.caller(await shop.products.token("dave")) as dave,
        shop.caller(await shop.products.token("bob")) as bob,
    ):
        key = await created(dave)
        path = keys_path(DAVE, key["keyId"])
        assert (await dave.patch(path, json={"blocked": True})).json()["blockedBy"] == "owner"
        assert (await bob.patch(path, json={"blocked": True})).json()["blockedBy"] == "admin"
        assert (await dave.patch(path, json={"blocked": True})).json()["blockedBy"] == "admin"
        assert (await dave.patch(path, json={"blocked": False})).status_code == 403
        assert await shop.products.chat(key["keySecret"]) == 401
        info = (await shop.products.litellm.get("/key/info", params={"key": key["keyId"]})).json()["info"]
        note = info["metadata"]["litellm_orchestrator"]
        assert (note["blocked_by"], note["blocked_as"]) == ("user:default/bob", "admin")
        row = (await bob.patch(path, json={"blocked": False})).json()
        assert (row["blocked"], row["blockedBy"], row["blockedAt"]) == (False, None, None)
        assert await shop.products.chat(key["keySecret"]) == 200


@pytest.mark.parametrize(("query", "status"), [("", 200), ("?replaced=delete", 401)])
async def test_deleting_a_replacement(shop: Live, query: str, status: int) -> None:
    """The key in its overlap stays and works, unless it was to go too; the list agrees."""
    async with shop.caller(await shop.products.token("dave")) as dave:
        old = await created(dave)
        new = (await dave.post(f"{keys_path(DAVE, old['keyId'])}/regenerate", json={"overlap": 60})).json()
        assert (await dave.delete(f"{keys_path(DAVE, new['keyId'])}{query}")).status_code == 204
        assert [await shop.products.chat(key["keySecret"]) for key in (old, new)] == [status, 401]
        rows = (await dave.get(keys_path(DAVE))).json()["keys"]
        assert [(row["revokeAt"], row["replacedBy"]) for row in rows] == ([(None, None)] if status == 200 else [])
        (event,) = (await dave.get(f"{BASE}/audit", params={"action": "key.delete"})).json()["events"]
        assert event["after"] == {"kept" if status == 200 else "deleted": [old["keyId"]]}


async def test_list_and_key_agree_where_the_replacement_was_deleted_elsewhere(shop: Live) -> None:
    """Both say when the older key ends, and it can be rotated."""
    async with shop.caller(await shop.products.token("dave")) as dave:
        old = await created(dave)
        path = keys_path(DAVE, old["keyId"])
        new = (await dave.post(f"{path}/regenerate", json={"overlap": 600})).json()
        await shop.products.litellm.post("/key/delete", json={"keys": [new["keyId"]]})
        row = (await dave.get(path)).json()
        assert (row["replacedBy"], row["revokeAt"]) == (new["keyId"], new["revokes"]["revokeAt"])
        assert (await dave.get(keys_path(DAVE))).json()["keys"] == [row]
        assert (await dave.post(f"{path}/regenerate", json={})).status_code == 201
