"""A rotation never sheds what an operator put on a key, and does not mistake LiteLLM's own defaults for that."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BASE, Clock, MakeService, keys_path
from tests.support.keys import LAPTOP, made, refusal, rotated
from tests.support.upstreams import Overriding, respond

PUT_BY_OPERATORS: dict[str, Any] = {
    "budget_id": "shared-budget",
    "object_permission_id": "permission-1",
    "project_id": "project-1",
    "organization_id": "organisation-1",
    "agent_id": "agent-1",
    "team_id": "team-1",
    "permissions": {"get_spend_routes": True},
    "config": {"a": 1},
    "router_settings": {"num_retries": 3},
    "rotation_interval": "30d",
    "auto_rotate": True,
    "policies": ["policy-1"],
    "tpd_limit": 0,
    "max_parallel_requests": 4,
    "aliases": {"a": "b"},
    "access_group_ids": ["group-1"],
    "allowed_routes": ["/chat/completions"],
    "invented_by_a_later_version": "x",
}


@pytest.mark.parametrize("name", PUT_BY_OPERATORS)
async def test_a_key_with_an_operators_value_is_not_rotated(
    alice: httpx.AsyncClient, litellm: LiteLLMStandIn, name: str
) -> None:
    """409 that names the property, whatever it is; the key stays as it is, works, and no other is left."""
    key_id = await made(alice, **LAPTOP)
    litellm.rows.keys[key_id][name] = PUT_BY_OPERATORS[name]
    before = {token: dict(row) for token, row in litellm.rows.keys.items()}
    answer = await alice.post(f"{keys_path(ALICE, key_id)}/regenerate", json={"overlap": 60})
    expected = f"A new key would lose properties that were set elsewhere: {name}"
    assert await refusal(answer) == (409, expected)
    assert litellm.rows.keys == before
    assert (await alice.get(keys_path(ALICE, key_id))).json()["revokeAt"] is None


async def test_a_plain_loss_is_refused_before_a_key_is_created(
    make_service: MakeService, litellm: LiteLLMStandIn
) -> None:
    """What LiteLLM never fills in by itself needs no trial; all of it is named at once."""
    wire = Overriding(httpx.ASGITransport(litellm.app), {})
    alice = make_service(ports={"litellm": wire}).signed_in(ALICE)
    key_id = await made(alice)
    litellm.rows.keys[key_id] |= {"budget_id": "shared-budget", "agent_id": "agent-1"}
    wire.seen.clear()
    status, message = await refusal(await alice.post(f"{keys_path(ALICE, key_id)}/regenerate"))
    assert (status, message.endswith("elsewhere: agent_id, budget_id")) == (409, True)
    assert "/key/generate" not in [request.url.path for request in wire.seen]


async def test_what_litellm_fills_in_for_everybody_is_no_loss(
    alice: httpx.AsyncClient, litellm: LiteLLMStandIn
) -> None:
    """Each key has it, the new one too; where an operator changed it for one key, that key is not rotated."""
    older = await made(alice)
    litellm.rows.defaults = {
        "max_parallel_requests": 5,
        "team_id": "everybody",
        "object_permission": {"vector_stores": ["handbook"]},
    }
    plain, changed = await made(alice), await made(alice)
    litellm.rows.update_key(changed, {"max_parallel_requests": 7})
    for key_id in (older, plain):
        new = litellm.rows.keys[(await rotated(alice, key_id))["keyId"]]
        assert (new["max_parallel_requests"], new["team_id"]) == (5, "everybody")
    status, message = await refusal(await alice.post(f"{keys_path(ALICE, changed)}/regenerate"))
    assert (status, message.endswith("elsewhere: max_parallel_requests")) == (409, True)


async def test_the_plugins_keys_are_rotated(alice: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """They have no type and may call every route; the new one may call models, and keeps their metadata and name."""
    await alice.get(keys_path(ALICE))
    old, _ = litellm.rows.add_key(
        {"user_id": ALICE, "key_alias": "mine", "max_budget": 5, "metadata": {"guardrails": ["pii"], "tags": ["a"]}}
    )
    new = litellm.rows.keys[(await rotated(alice, old["token"]))["keyId"]]
    assert (old["key_type"], new["key_type"], new["allowed_routes"]) == ("default", "llm_api", ["llm_api_routes"])
    assert (new["max_budget"], new["metadata"]["guardrails"], new["metadata"]["tags"]) == (5, ["pii"], ["a"])
    assert (await alice.get(keys_path(ALICE, new["token"]))).json()["key_alias"] == "mine"


async def test_a_key_that_is_older_than_a_column_is_rotated(alice: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """LiteLLM has null there; such a key is listed, after those whose age is known, and replaced."""
    old, newer = await made(alice, alias="old"), await made(alice)
    litellm.rows.keys[old] |= {"created_at": None, "key_type": None, "router_settings": None, "budget_fallbacks": None}
    listed = (await alice.get(keys_path(ALICE))).json()["keys"]
    assert ([row["token"] for row in listed], "created_at" in listed[1]) == ([newer, old], False)
    assert (await alice.get(keys_path(ALICE), params={"limit": 1})).json()["nextCursor"] is not None
    new = await rotated(alice, old)
    assert (await alice.get(keys_path(ALICE, new["keyId"]))).json()["key_alias"] == "old"


async def test_a_reported_key_with_an_operators_value_stays_blocked(
    alice: httpx.AsyncClient, litellm: LiteLLMStandIn
) -> None:
    """Its owner creates a new one instead; a reported key without such a value is replaced."""
    leaked = (await alice.post(keys_path(ALICE))).json()
    litellm.rows.keys[leaked["keyId"]]["agent_id"] = "agent-1"
    await alice.post(f"{BASE}/keys/report", json={"key": leaked["keySecret"]})
    assert (await alice.post(f"{keys_path(ALICE, leaked['keyId'])}/regenerate")).status_code == 409
    assert [(token, row["blocked"]) for token, row in litellm.rows.keys.items()] == [(leaked["keyId"], True)]


async def test_a_value_that_is_put_there_meanwhile_is_not_lost(
    make_service: MakeService, litellm: LiteLLMStandIn
) -> None:
    """The old key is looked at again once the new one exists."""
    wire = Overriding(httpx.ASGITransport(litellm.app), {})
    alice = make_service(ports={"litellm": wire}).signed_in(ALICE)
    key_id = await made(alice)

    def generate(request: httpx.Request) -> httpx.Response:
        litellm.rows.update_key(key_id, {"budget_id": "shared-budget"})
        row, secret = litellm.rows.add_key(json.loads(request.content))
        return httpx.Response(200, json=row | {"key": secret})

    wire.answers["/key/generate"] = generate
    status, message = await refusal(await alice.post(f"{keys_path(ALICE, key_id)}/regenerate"))
    assert (status, message.endswith("elsewhere: budget_id")) == (409, True)
    assert list(litellm.rows.keys) == [key_id]


async def test_a_copied_limit_that_litellm_does_not_take_is_a_loss(
    make_service: MakeService, litellm: LiteLLMStandIn
) -> None:
    """LiteLLM ignores some values silently; a value that the caller changes is theirs to see."""
    wire = Overriding(httpx.ASGITransport(litellm.app), {})
    alice = make_service(ports={"litellm": wire}).signed_in(ALICE)
    key_id = await made(alice, **LAPTOP)

    def generate(request: httpx.Request) -> httpx.Response:
        row, secret = litellm.rows.add_key(json.loads(request.content) | {"rpm_limit": None})
        return httpx.Response(200, json=row | {"key": secret})

    wire.answers["/key/generate"] = generate
    path = f"{keys_path(ALICE, key_id)}/regenerate"
    assert (await refusal(await alice.post(path)))[1].endswith("elsewhere: rpm_limit")
    assert (await alice.post(path, json={"rpmLimit": 9})).status_code == 201


async def test_a_new_key_that_cannot_be_deleted_is_deleted_later(
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """The refusal of a rotation leaves nothing, also where LiteLLM fails in between."""
    wire = Overriding(httpx.ASGITransport(litellm.app), {"/key/delete": respond(500, json={})})
    service = make_service(ports={"litellm": wire})
    alice = service.signed_in(ALICE)
    key_id = await made(alice)
    litellm.rows.keys[key_id]["invented_by_a_later_version"] = "x"
    answer = await alice.post(f"{keys_path(ALICE, key_id)}/regenerate", json={"overlap": 60})
    assert (answer.status_code, len(litellm.rows.keys)) == (502, 2)
    wire.answers.clear()
    clock.advance(301)
    await service.run_background_jobs()
    assert list(litellm.rows.keys) == [key_id]
    assert (await alice.get(keys_path(ALICE, key_id))).json()["revokeAt"] is None
