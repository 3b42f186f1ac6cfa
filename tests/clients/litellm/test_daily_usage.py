"""LiteLLM's figures, and what is none of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, MakeService
from tests.support.usage import USAGE, one_day, reading

FIGURES = (
    "spend",
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "api_requests",
    "failed_requests",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
)


@pytest.mark.parametrize("where", ["day", "model", "key"])
@pytest.mark.parametrize("value", ['"1"', "null", "true", "-1", "NaN", "1e400", "1e16", "[]", "{}", '"x"', "-0.5"])
async def test_what_is_no_number_is_a_fault(
    make_service: MakeService, litellm: LiteLLMStandIn, where: str, value: str
) -> None:
    """502 for every figure of a day, of a model and of a key, never a 500 and never a sum that is wrong."""
    answers: list[str] = []
    bob = reading(make_service, litellm, lambda: answers[-1])
    for figure in FIGURES:
        day = one_day(litellm)
        place = {
            "day": day["metrics"],
            "model": day["breakdown"]["model_groups"]["gpt-fake"]["metrics"],
            "key": day["breakdown"]["api_keys"]["ab" * 32]["metrics"],
        }[where]
        place[figure] = "odd"
        body = json.dumps({"results": [day], "metadata": {"has_more": False}})
        answers.append(body.replace('"odd"', value))
        answer = await bob.get(USAGE)
        assert (answer.status_code, figure) == (502, figure)


@pytest.mark.parametrize("figure", ["prompt_tokens", "api_requests"])
async def test_half_a_call_is_a_fault(make_service: MakeService, litellm: LiteLLMStandIn, figure: str) -> None:
    """502; a count that is written as 10.0 is fine."""
    day = one_day(litellm)
    body = {"results": [day], "metadata": {"has_more": False}}
    bob = reading(make_service, litellm, lambda: json.dumps(body))
    for number, status in ((10.0, 200), (10.5, 502)):
        day["metrics"][figure] = number
        assert (await bob.get(USAGE)).status_code == status


@pytest.mark.parametrize("date", [None, 5, "", "today", "2027-02-30", {}])
async def test_what_is_no_day_is_a_fault(make_service: MakeService, litellm: LiteLLMStandIn, date: Any) -> None:
    """502."""
    day = one_day(litellm)
    body = {"results": [day | {"date": date}], "metadata": {"has_more": False}}
    assert (await reading(make_service, litellm, lambda: json.dumps(body)).get(USAGE)).status_code == 502


async def test_an_older_litellm_does_not_count_its_cache(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """Then none is reported."""
    day = one_day(litellm)
    parts = [part for name in ("model_groups", "api_keys") for part in day["breakdown"][name].values()]
    for place in [day["metrics"], *(part["metrics"] for part in parts)]:
        place.pop("cache_read_input_tokens", None)
        place.pop("cache_creation_input_tokens", None)
    body = {"results": [day], "metadata": {"has_more": False}}
    total = (await reading(make_service, litellm, lambda: json.dumps(body)).get(USAGE)).json()["total"]
    assert (total["requests"], total["cacheReadInputTokens"], total["cacheCreationInputTokens"]) == (1, 0, 0)


@pytest.mark.parametrize("body", [{"results": [{}], "metadata": {}}, {"results": {}}, {"results": [5], "metadata": {}}])
async def test_an_unexpected_usage_response_is_a_fault(
    make_service: MakeService, litellm: LiteLLMStandIn, body: Any
) -> None:
    """502."""
    litellm.rows.add_user({"user_id": ALICE})
    assert (await reading(make_service, litellm, lambda: json.dumps(body)).get(USAGE)).status_code == 502
