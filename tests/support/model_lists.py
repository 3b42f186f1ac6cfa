"""Lists of models, and what LiteLLM lets their user and key call."""

from __future__ import annotations

from dataclasses import dataclass

CALLS = ("gpt-fake", "claude-fake", "LLM Tier 1", "openai/gpt-fake", "gpt-4o", "own-price", "two-deployments")
"""Models of `tests/support/litellm_models.yaml`."""


@dataclass(frozen=True)
class Case:
    """A list of names, and the models of CALLS that it allows: to a user, and to a key where that differs."""

    names: tuple[str, ...]
    user: frozenset[str]
    key: frozenset[str]


def case(*names: str, allows: tuple[str, ...], to_key: tuple[str, ...] | None = None) -> Case:
    """The same for a user and a key, unless `to_key` says otherwise."""
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
