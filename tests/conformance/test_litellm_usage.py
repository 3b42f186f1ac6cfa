"""How LiteLLM reports what has no model or no key."""

from __future__ import annotations

from collections.abc import AsyncIterator

import psycopg
import pytest

from tests.conformance.conftest import Proxy, litellm_database
from tests.support.litellm_versions import UNATTRIBUTED, UNATTRIBUTED_WORDS

DAY = "2026-01-02"
KEY = "ab" * 32
_FIGURES = ("spend", "prompt_tokens", "completion_tokens", "api_requests", "successful_requests")
_INSERT = f"""
    insert into "LiteLLM_DailyUserSpend"
    (id, user_id, date, api_key, model, model_group, {", ".join(_FIGURES)}, failed_requests,
     cache_read_input_tokens, cache_creation_input_tokens, updated_at)
    values (%s, %s, %s, %s, %s, %s, 1, 10, 20, 1, 1, 0, 4, 2, now())
"""  # noqa: S608  # all of it is written here


async def spend(proxy: Proxy, user_id: str, model: str, key: str) -> None:
    """A call, as LiteLLM has counted it: through its table, because its pass-through endpoints call real providers."""
    if proxy.stand_in is not None:
        proxy.stand_in.rows.usage.add(user_id, DAY, model, key)
        return
    row = [f"{user_id} {model} {key}", user_id, DAY, key, model, model or None]
    async with await psycopg.AsyncConnection.connect(litellm_database()) as connection:
        await connection.execute(_INSERT.encode(), row)


@pytest.fixture
async def spender(proxy: Proxy) -> AsyncIterator[str]:
    """A user with calls with and without model and key."""
    user_id = await proxy.user("spender")
    for model, key in (("gpt-fake", KEY), ("", KEY), ("gpt-fake", ""), ("", "")):
        await spend(proxy, user_id, model, key)
    yield user_id
    if proxy.stand_in is None:
        async with await psycopg.AsyncConnection.connect(litellm_database()) as connection:
            await connection.execute('delete from "LiteLLM_DailyUserSpend" where user_id = %s', [user_id])


async def test_what_has_no_model_or_no_key(proxy: Proxy, spender: str) -> None:
    """It is in the total, in no group of models, and in the key with an empty id; 1.109 has words for both."""
    answer = (await proxy.get("/user/daily/activity", user_id=spender, start_date=DAY, end_date=DAY)).json()
    [day] = answer["results"]
    groups, keys = (
        {part: row["metrics"]["api_requests"] for part, row in day["breakdown"][name].items()}
        for name in ("model_groups", "api_keys")
    )
    assert day["metrics"]["api_requests"] == answer["metadata"]["total_api_requests"] == 4
    if proxy.version < UNATTRIBUTED:
        assert (groups, keys) == ({"gpt-fake": 2}, {KEY: 2, "": 2})
    else:
        no_group, no_key = UNATTRIBUTED_WORDS
        assert (groups, keys) == ({"gpt-fake": 2, no_group: 2}, {KEY: 2, no_key: 2})


async def test_what_the_cache_of_the_provider_read_and_wrote(proxy: Proxy, spender: str) -> None:
    """It is among the figures, in total and for each part."""
    answer = await proxy.get("/user/daily/activity", user_id=spender, start_date=DAY, end_date=DAY)
    [day] = answer.json()["results"]
    for metrics in (day["metrics"], day["breakdown"]["model_groups"]["gpt-fake"]["metrics"]):
        calls = metrics["api_requests"]
        cached = (metrics["cache_read_input_tokens"], metrics["cache_creation_input_tokens"])
        assert cached == (4 * calls, 2 * calls)
