"""What a list of names allows: the table, which `tests/conformance/test_litellm_models.py` asks of LiteLLM too."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from domain.models import ServedModel, ServedModels, is_wildcard

CALLS = ("gpt-fake", "claude-fake", "LLM Tier 1", "openai/gpt-fake", "gpt-4o", "own-price", "two-deployments")
"""Models of `tests/support/litellm_models.yaml`."""
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


@dataclass(frozen=True)
class Case:
    """A list of names, and the models of CALLS that it allows: to a user, and to a key where that differs."""

    names: tuple[str, ...]
    user: frozenset[str]
    key: frozenset[str]


def case(*names: str, allows: tuple[str, ...], to_key: tuple[str, ...] | None = None) -> Case:
    return Case(names, frozenset(allows), frozenset(allows if to_key is None else to_key))


CASES = [
    case(allows=CALLS),
    case("gpt-fake", allows=("gpt-fake",)),
    case("LLM Tier 1", allows=("LLM Tier 1",)),
    case("gpt-fake", "gone", allows=("gpt-fake",)),
    case("gone", allows=()),
    case("GPT-FAKE", allows=()),
    case("beta-models", allows=("gpt-fake",)),
    case("all-chat", allows=("gpt-fake", "claude-fake")),
    case("first-half", allows=("two-deployments",)),
    case("second-half", allows=("two-deployments",)),
    case("claude-fake", "beta-models", allows=("gpt-fake", "claude-fake")),
    case("*", allows=CALLS),
    case("**", allows=CALLS),
    case("gpt*", allows=("gpt-fake", "gpt-4o")),
    case("gpt-*", allows=("gpt-fake", "gpt-4o")),
    case("g*e", allows=("gpt-fake",)),
    case("*-fake", allows=("gpt-fake", "claude-fake", "openai/gpt-fake")),
    case("*gpt*", allows=("gpt-fake", "openai/gpt-fake", "gpt-4o")),
    case("gpt.f*", allows=("gpt-fake",)),
    case("gpt.fake", allows=()),
    case("gpt-fak?", allows=()),
    case("gpt-f?ke*", allows=()),
    case("[g]pt-fake", allows=()),
    case("LLM*", allows=("LLM Tier 1",)),
    case("*/*", allows=("openai/gpt-fake", "gpt-4o")),
    # LiteLLM knows gpt-4o as a model of OpenAI's; gpt-fake is only a name here.
    case("openai/*", allows=("openai/gpt-fake", "gpt-4o")),
    case("anthropic/*", allows=()),
    case("beta-*", allows=()),
    case("all-*", allows=()),
    case("all-proxy-models", allows=CALLS),
    case("no-default-models", allows=()),
    case("no-default-models", "gpt-fake", allows=(), to_key=("gpt-fake",)),
    case("all-proxy-models", "no-default-models", allows=(), to_key=CALLS),
    case("all-team-models", allows=(), to_key=CALLS),
]


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
