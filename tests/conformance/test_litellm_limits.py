"""What LiteLLM makes of limits, metadata and usage, as far as this service relies on it or guards against it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from clients.litellm.rows import ANNOTATIONS, UNLIMITED_RATE
from domain.models import ALL_MODELS
from tests.conformance.conftest import Proxy
from tests.support.litellm_versions import USER_RATES

UNKNOWN_KEY = "0" * 64
_PATIENCE, _POLL = 150, 3


async def listed_user(proxy: Proxy, user_id: str) -> Any:
    rows = (await proxy.get("/user/list", user_ids=f"{user_id},{user_id}", page=1, page_size=100)).json()["users"]
    assert [row["user_id"] for row in rows] == [user_id]
    return rows[0]


async def test_an_id_given_twice_matches_exactly(proxy: Proxy) -> None:
    """And the row has the rates, which the calls for one user lack or come with all keys for."""
    jo = await proxy.user("jo", tpm_limit=5, rpm_limit=6, models=["gpt-fake"], user_alias="Jo", metadata={"a": 1})
    await proxy.user("john")
    row = await listed_user(proxy, jo)
    assert (row["tpm_limit"], row["rpm_limit"], row["models"], row["user_alias"]) == (5, 6, ["gpt-fake"], "Jo")
    assert row["metadata"] == {"a": 1}
    single = (await proxy.get("/v2/user/info", user_id=jo)).json()
    assert ("tpm_limit" in single) is (proxy.version >= USER_RATES)


async def test_what_null_does_not_clear_on_a_user(proxy: Proxy) -> None:
    """Models need LiteLLM's name for all models, and rates a rate that nobody reaches, except in new versions."""
    user_id = await proxy.user("a", tpm_limit=5, rpm_limit=6, models=["claude-fake"])
    secret = (await proxy.key(user_id))["key"]
    await proxy.post("/user/update", user_id=user_id, tpm_limit=None, rpm_limit=None, models=None)
    row = await listed_user(proxy, user_id)
    rates = (None, None) if proxy.version >= USER_RATES else (5, 6)
    assert (row["tpm_limit"], row["rpm_limit"], row["models"]) == (*rates, ["claude-fake"])
    await proxy.post(
        "/user/update", user_id=user_id, tpm_limit=UNLIMITED_RATE, rpm_limit=UNLIMITED_RATE, models=[ALL_MODELS]
    )
    row = await listed_user(proxy, user_id)
    assert (row["tpm_limit"], row["rpm_limit"], row["models"]) == (UNLIMITED_RATE, UNLIMITED_RATE, [ALL_MODELS])
    assert await proxy.chat((await proxy.key(user_id))["key"], "gpt-fake") == 200
    assert secret


async def test_zero_is_a_rate_and_a_spend(proxy: Proxy) -> None:
    """Spend can be reset to 0."""
    user_id = await proxy.user("a", max_budget=5)
    await proxy.post("/user/update", user_id=user_id, tpm_limit=0, spend=3)
    assert (await listed_user(proxy, user_id))["tpm_limit"] == 0
    await proxy.post("/user/update", user_id=user_id, spend=0)
    assert (await listed_user(proxy, user_id))["spend"] == 0


async def test_an_address_belongs_to_one_user(proxy: Proxy) -> None:
    """409, as for an id that is taken."""
    address = f"{proxy.prefix}@example.com"
    await proxy.user("a", user_email=address)
    taken = await proxy.post("/user/new", user_id=proxy.id("b"), user_email=address.upper(), auto_create_key=False)
    assert (taken.status_code, "email" in taken.text) == (409, True)


async def test_the_models_of_a_user_bind_their_keys(proxy: Proxy) -> None:
    """A key without models of its own may call what its owner may."""
    secret = (await proxy.key(await proxy.user("a", models=["gpt-fake"])))["key"]
    assert (await proxy.chat(secret, "gpt-fake"), await proxy.chat(secret, "claude-fake")) == (200, 403)


async def test_one_key_of_a_user(proxy: Proxy) -> None:
    """By its hash; another's, an unknown and a deleted one are not there."""
    user_id, other = await proxy.user("a"), await proxy.user("b")
    token = (await proxy.key(user_id))["token"]
    assert (await proxy.listed_key(user_id, token))["token"] == token
    assert await proxy.listed_key(other, token) is None
    assert await proxy.listed_key(user_id, UNKNOWN_KEY) is None
    await proxy.post("/key/delete", keys=[token])
    assert await proxy.listed_key(user_id, token) is None


async def test_a_key_with_all_that_we_ask_for(proxy: Proxy) -> None:
    """Metadata nested and whole, and with something spent already."""
    user_id = await proxy.user("a")
    note = {ANNOTATIONS: {"alias": "laptop", "metadata": {"temp_budget_increase": "5"}, "operation": "x"}}
    limits: dict[str, Any] = {
        "max_budget": 5,
        "budget_duration": "7d",
        "tpm_limit": 1000,
        "rpm_limit": 10,
        "spend": 2.5,
    }
    key = await proxy.key(
        user_id, key_alias=f"{proxy.prefix}-x", models=["gpt-fake"], duration="90s", metadata=note, **limits
    )
    row = await proxy.listed_key(user_id, key["token"])
    assert {name: row[name] for name in limits} == limits
    assert (row["models"], row["metadata"]) == (["gpt-fake"], note)
    assert datetime.fromisoformat(row["expires"]) - datetime.now(UTC) < timedelta(seconds=91)


async def test_clearing_the_limits_of_a_key(proxy: Proxy) -> None:
    """Null does, and an empty list for models, for which null is refused; metadata is replaced whole."""
    user_id = await proxy.user("a")
    limits: dict[str, Any] = {"max_budget": 5, "budget_duration": "7d", "tpm_limit": 1000, "rpm_limit": 10}
    token = (await proxy.key(user_id, models=["gpt-fake"], metadata={"a": 1, "b": 2}, **limits))["token"]
    assert (await proxy.post("/key/update", key=token, models=None)).status_code == 400
    cleared = dict.fromkeys(limits)
    assert (await proxy.post("/key/update", key=token, models=[], metadata={"c": 3}, **cleared)).status_code == 200
    row = await proxy.listed_key(user_id, token)
    assert {name: row[name] for name in limits} == cleared
    assert (row["models"], row["metadata"]) == ([], {"c": 3})


async def test_an_update_blocks_a_key_at_once(proxy: Proxy) -> None:
    """As `/key/block` does, with metadata in the same call."""
    key = await proxy.key(await proxy.user("a"))
    assert await proxy.chat(key["key"]) == 200
    await proxy.post("/key/update", key=key["token"], blocked=True, metadata={"by": "x"})
    assert await proxy.chat(key["key"]) == 401
    await proxy.post("/key/update", key=key["token"], blocked=False)
    assert await proxy.chat(key["key"]) == 200


@pytest.mark.parametrize("duration", ["999s", "999m", "999h", "999d", "999w", "1mo"])
async def test_the_longest_durations_that_we_take(proxy: Proxy, duration: str) -> None:
    """LiteLLM takes them, too."""
    key = await proxy.key(await proxy.user("a"))
    assert (await proxy.post("/key/update", key=key["token"], budget_duration=duration)).status_code == 200


async def test_the_longest_life_of_a_key_that_we_take(proxy: Proxy) -> None:
    """Ten years, in seconds."""
    key = await proxy.key(await proxy.user("a"), duration="315360000s")
    assert datetime.fromisoformat(str(key["expires"])).year == (datetime.now(UTC) + timedelta(days=3650)).year


async def test_usage_by_model_and_key(proxy: Proxy) -> None:
    """Under the models' names at the proxy, and the keys' hashes; counted a little after the calls."""
    user_id = await proxy.user("a")
    key = await proxy.key(user_id)
    for model in ("gpt-fake", "claude-fake", "gpt-fake"):
        assert await proxy.chat(key["key"], model) == 200
    today = datetime.now(UTC).date()
    span = {"start_date": (today - timedelta(days=1)).isoformat(), "end_date": (today + timedelta(days=1)).isoformat()}
    for _ in range(_PATIENCE // _POLL):
        answer = (await proxy.get("/user/daily/activity", user_id=user_id, page=1, **span)).json()
        if answer["metadata"]["total_api_requests"] == 3:
            break
        await asyncio.sleep(_POLL)
    day = answer["results"][0]
    assert {name: part["metrics"]["api_requests"] for name, part in day["breakdown"]["model_groups"].items()} == {
        "gpt-fake": 2,
        "claude-fake": 1,
    }
    assert [*day["breakdown"]["api_keys"]] == [key["token"]]
    assert day["metrics"].keys() >= {"spend", "prompt_tokens", "completion_tokens", "total_tokens", "failed_requests"}
    assert answer["metadata"]["has_more"] is False
