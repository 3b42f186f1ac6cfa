"""What a list of names allows: the table, which `tests/conformance/test_litellm_models.py` asks of LiteLLM too."""

from __future__ import annotations

import pytest

from domain.models import ServedModel, ServedModels, is_wildcard
from tests.support.model_lists import CASES, Case

SERVED = ServedModels(
    models=(
        ServedModel("LLM Tier 1"),
        ServedModel("claude-fake", ("all-chat",)),
        ServedModel("gpt-4o", own_name="openai/gpt-4o"),
        ServedModel("gpt-fake", ("all-chat", "beta-models")),
        ServedModel("openai/gpt-fake"),
        ServedModel("own-price"),
        ServedModel("two-deployments", ("first-half", "second-half")),
    ),
    wildcards=("own/*",),
    groups=("all-chat", "beta-models", "first-half", "second-half"),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: ",".join(case.names) or "empty")
def test_what_a_list_of_names_allows(case: Case) -> None:
    """To a user, as measured on LiteLLM."""
    assert {model.id for model in SERVED.reached(case.names)} == case.user


@pytest.mark.parametrize(
    ("name", "is_one"),
    [(good, True) for good in ("*", "**", "gpt-*", "*-fake", "g*e", "*gpt*", "openai/*", "*/*", "gpt-4.1*", "LLM *")]
    + [
        (bad, False)
        for bad in ("gpt-fake", "", "g*p*t", "***", "[*", "(a|b)*", "a+*", "a?*", "^a*", "a*$", "{2}*", "\\*")
    ],
)
def test_wildcards_that_a_caller_may_use(name: str, *, is_one: bool) -> None:
    """LiteLLM makes regular expressions of them: none that stops or delays every call."""
    assert is_wildcard(name) is is_one


@pytest.mark.parametrize(
    ("names", "unknown"),
    [
        (["gpt-fake", "LLM Tier 1", "beta-models", "gpt-*", "*", "nothing-like-that-*"], []),
        (["own/anything", "own/*"], []),
        (["gpt-9", "gpt-fake", "GPT-FAKE", "own"], ["GPT-FAKE", "gpt-9", "own"]),
        (["all-team-models", "no-default-models", "all-proxy-models"],
         ["all-proxy-models", "all-team-models", "no-default-models"]),
        (["[*", "a*b*c"], ["[*", "a*b*c"]),
        ([], []),
    ],
)  # fmt: skip
def test_names_that_mean_nothing(names: list[str], unknown: list[str]) -> None:
    """Served models, access groups, wildcards, and names of a served wildcard mean something."""
    assert SERVED.unknown(names) == unknown


@pytest.mark.parametrize(
    ("limit", "within", "beyond"),
    [
        ([], ["gpt-fake", "all-chat", "*", "gone"], []),
        (["all-proxy-models"], ["gpt-fake", "all-chat", "*"], []),
        (["*"], ["gpt-fake", "all-chat", "*", "gpt-*"], []),
        (["gpt-*"], ["gpt-fake", "gpt-4o", "gpt-*", "gpt-4*", "beta-models"], ["claude-fake", "*", "g*", "all-chat"]),
        (["gpt-fake"], ["gpt-fake", "beta-models"], ["gpt-4o", "gpt-*", "gpt-fake*", "all-chat"]),
        (["all-chat"], ["gpt-fake", "claude-fake", "beta-models", "all-chat"], ["gpt-4o", "*-fake", "first-half"]),
        (["first-half"], ["two-deployments", "second-half"], ["gpt-fake"]),
        (["openai/*"], ["openai/gpt-fake", "gpt-4o", "openai/gpt*"], ["gpt-fake", "own/x", "*"]),
        (["own/*"], ["own/x", "own/*", "own/x*"], ["gpt-fake", "*"]),
        (["no-default-models"], [], ["gpt-fake", "beta-models", "no-default-models", "*"]),
        (["no-default-models", "gpt-fake"], [], ["gpt-fake"]),
    ],
)  # fmt: skip
def test_what_a_key_may_ask_for_under_a_limit(limit: list[str], within: list[str], beyond: list[str]) -> None:
    """No more than the limit allows, today and when LiteLLM serves more: a wildcard needs a wildcard around it."""
    assert SERVED.exceeding(within, limit) == []
    assert SERVED.exceeding(beyond, limit) == sorted(beyond)
    assert SERVED.exceeding([], limit) == []
