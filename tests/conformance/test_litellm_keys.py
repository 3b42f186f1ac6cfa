"""What LiteLLM tells and takes of a key, as far as one key is made out of another."""

from __future__ import annotations

import os
from typing import Any

import httpx
import pytest

from domain.succession import losses, plain_losses
from settings.model import LiteLLMSettings, Timeouts
from tests.conformance.conftest import PATIENCE, Proxy
from tests.conftest import BOB, MakeService, keys_path
from tests.support.keys import id_of
from tests.support.litellm_versions import KEY_FIELDS


async def info(proxy: Proxy, token: object) -> Any:
    return (await proxy.get("/key/info", key=str(token))).json()["info"]


async def test_only_the_key_itself_has_every_column(proxy: Proxy) -> None:
    """The list leaves policies out, and has another name for the organisation."""
    user_id = await proxy.user("a")
    token = (await proxy.key(user_id))["token"]
    listed, whole = await proxy.listed_key(user_id, token), await info(proxy, token)
    assert {"organization_id", "policies"} <= whole.keys() - listed.keys()
    assert "org_id" in listed
    assert whole.get("status", "active") == "active"  # LiteLLM 1.90 does not say it


async def test_a_new_key_loses_nothing_of_another(proxy: Proxy) -> None:
    """Nor does a key of this service lose anything of one that was made without a type, as the plugin did."""
    user_id = await proxy.user("a")
    common: dict[str, Any] = {"max_budget": 5, "budget_duration": "7d", "models": ["gpt-fake"], "rpm_limit": 9}
    common["metadata"] = {"tags": ["a"], "guardrails": ["pii"], "model_rpm_limit": {"gpt-fake": 3}}
    plugins = (await proxy.post("/key/generate", user_id=user_id, key_alias=f"{proxy.prefix}-x", **common)).json()
    old, other = await proxy.key(user_id, **common, duration="90s"), await proxy.key(user_id, **common, spend=3.5)
    await proxy.post("/key/block", key=old["token"])
    new = await info(proxy, other["token"])
    for token in (plugins["token"], old["token"]):
        row = await info(proxy, token)
        assert losses(row, new) == plain_losses(row) == []


PUT_THERE: list[tuple[str, Any]] = [
    ("agent_id", "agent-1"),
    ("permissions", {"get_spend_routes": True}),
    ("config", {"a": 1}),
    ("router_settings", {"num_retries": 3}),
    ("rotation_interval", "30d"),
    ("aliases", {"a": "b"}),
    ("tpd_limit", 5),
    ("allowed_cache_controls", ["no-cache"]),
    ("access_group_ids", ["group-1"]),
]


@pytest.mark.parametrize(("name", "value"), PUT_THERE)
async def test_what_an_operator_puts_on_a_key(proxy: Proxy, name: str, value: Any) -> None:
    """It stands in the key's own row, and another key does not get it by itself."""
    if name == "tpd_limit" and proxy.version < KEY_FIELDS:
        return
    user_id = await proxy.user("a")
    old, new = await proxy.key(user_id), await proxy.key(user_id)
    assert (await proxy.post("/key/update", key=old["token"], **{name: value})).status_code == 200
    row = await info(proxy, old["token"])
    assert row[name] == value
    assert losses(row, await info(proxy, new["token"])) == plain_losses(row) == [name]


async def test_a_shared_budget(proxy: Proxy) -> None:
    """The key names it, and comes with its row."""
    user_id, budget = await proxy.user("a"), f"{proxy.prefix}-budget"
    assert (await proxy.post("/budget/new", budget_id=budget, max_budget=7)).status_code == 200
    old, new = await proxy.key(user_id), await proxy.key(user_id)
    await proxy.post("/key/update", key=old["token"], budget_id=budget)
    row = await info(proxy, old["token"])
    assert (row["budget_id"], row["litellm_budget_table"]["max_budget"]) == (budget, 7)
    assert losses(row, await info(proxy, new["token"])) == plain_losses(row) == ["budget_id"]
    await proxy.post("/budget/delete", id=budget)


async def test_permissions_to_objects(proxy: Proxy) -> None:
    """Each key has a row of its own for them; what it permits is compared."""
    user_id = await proxy.user("a")
    one, same, differs = [
        await info(proxy, (await proxy.key(user_id, object_permission={"vector_stores": [name]}))["token"])
        for name in ("v", "v", "w")
    ]
    assert one["object_permission_id"] != same["object_permission_id"]
    assert (losses(one, same), losses(one, differs)) == ([], ["object_permission_id"])
    assert losses(one, await info(proxy, (await proxy.key(user_id))["token"])) == ["object_permission_id"]


async def test_the_reset_of_a_budget_cannot_be_set(proxy: Proxy) -> None:
    """Neither for a new key nor for an old one; most durations reset on a date of the calendar for every key."""
    user_id = await proxy.user("a")
    asked = "2099-01-01T00:00:00Z"
    key = await proxy.key(user_id, budget_duration="30d", budget_reset_at=asked)
    first = (await info(proxy, key["token"]))["budget_reset_at"]
    await proxy.post("/key/update", key=key["token"], budget_reset_at=asked)
    other = await proxy.key(user_id, budget_duration="30d", spend=3.5)
    resets = {(await info(proxy, token))["budget_reset_at"] for token in (key["token"], other["token"])}
    assert (len(resets), first in resets, first[:4] != "2099") == (1, True, True)


@pytest.fixture
def bob(make_service: MakeService, proxy: Proxy) -> httpx.AsyncClient:
    """An admin of the service on that LiteLLM."""
    if proxy.stand_in is not None:
        return make_service(ports={"litellm": httpx.ASGITransport(proxy.stand_in.app)}).signed_in(BOB)
    address = LiteLLMSettings(os.environ["LITELLM_URL"], os.environ["LITELLM_MASTER_KEY"])
    patient = Timeouts(read=PATIENCE, deadline=PATIENCE)
    return make_service(ports={"litellm": None}, litellm=address, timeouts=patient).signed_in(BOB)


async def test_the_id_of_a_key_that_was_made_elsewhere(proxy: Proxy, bob: httpx.AsyncClient) -> None:
    """It outlives two rotations here; by it, a block and a deletion reach the version in its overlap too."""
    owner = await proxy.user("a")
    made = await proxy.key(owner)
    stable_id = id_of(made["token"])
    by_id = keys_path(owner, stable_id)
    shown = (await bob.get(by_id)).json()
    assert (shown["token"], shown["id"], shown["version"]) == (made["token"], stable_id, 1)
    new = []
    for overlap in (0, 3600):
        answer = await bob.post(f"{by_id}/regenerate", json={"overlap": overlap})
        assert answer.status_code == 201, answer.text
        new.append(answer.json())
    assert [(row["id"], row["version"]) for row in new] == [(stable_id, 2), (stable_id, 3)]
    listed = (await bob.get(keys_path(owner))).json()["keys"]
    assert {(row["token"], row["id"], row["version"]) for row in listed} == {
        (row["keyId"], stable_id, row["version"]) for row in new
    }
    body = (await bob.get(f"{by_id}/versions")).json()
    assert [(row["version"], row["token"], row["status"], row["isRecorded"]) for row in body["versions"]] == [
        (3, new[1]["keyId"], "active", True),
        (2, new[0]["keyId"], "active", True),
        (1, made["token"], "deleted", False),
    ]
    assert body["versions"][1]["revokeAt"] == new[1]["revokes"]["revokeAt"]
    assert [await proxy.chat(row["keySecret"]) for row in new] == [200, 200]
    assert (await bob.patch(by_id, json={"blocked": True})).json()["token"] == new[1]["keyId"]
    assert [await proxy.chat(row["keySecret"]) for row in new] == [401, 401]
    assert (await bob.patch(by_id, json={"blocked": False})).status_code == 200
    assert [await proxy.chat(row["keySecret"]) for row in new] == [200, 200]
    assert (await bob.delete(by_id)).status_code == 204
    assert [await proxy.chat(row["keySecret"]) for row in new] == [401, 401]
    assert (await bob.get(by_id)).status_code == 404
