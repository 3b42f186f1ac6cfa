"""The models of the LiteLLM stand-in, and who may call them, decided as LiteLLM 1.104 does it."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Row = dict[str, Any]
Holder = Literal["user", "key"]

TWO_MODELS: Sequence[Row] = (
    {"model_name": "gpt-fake", "litellm_params": {"model": "openai/gpt-4o"}},
    {"model_name": "claude-fake", "litellm_params": {"model": "anthropic/claude-sonnet-4-5"}},
)
"""What it serves unless told otherwise, in the form of `model_list` in LiteLLM's configuration."""

_FACTS = ("key", "litellm_provider", "max_input_tokens", "input_cost_per_token", "output_cost_per_token")
_KNOWN = {
    row[0]: dict(zip(_FACTS, row, strict=True))
    for row in (
        ("gpt-4o", "openai", 128_000, 2.5e-06, 1e-05),
        ("gpt-4o-mini", "openai", 128_000, 1.5e-07, 6e-07),
        ("claude-sonnet-4-5", "anthropic", 1_000_000, 3e-06, 1.5e-05),
    )
}
"""A few rows of LiteLLM's own list of models."""


@dataclass(frozen=True)
class Deployments:
    """The deployments of LiteLLM's `model_list`. Unlike LiteLLM it lists no models for a wildcard."""

    rows: Sequence[Row] = TWO_MODELS

    def names(self, *, with_wildcards: bool) -> list[str]:
        """Those of `GET /models`."""
        names = dict.fromkeys(row["model_name"] for row in self.rows)
        return [name for name in names if with_wildcards or "*" not in name]

    def info(self) -> list[Row]:
        """`data` of `GET /model/info`, without the providers' keys."""
        return [self._info(row) for row in self.rows if "*" not in row["model_name"]]

    def serve(self, model: str) -> bool:
        """Whether a call for `model` goes anywhere."""
        return bool(self._deployments_of(model))

    def allow(self, names: Collection[str], model: str, holder: Holder) -> bool:
        """Whether the list `names` of a user or a key lets a call for `model` pass. Raises re.error as LiteLLM does."""
        if holder == "user" and "no-default-models" in names:
            return False
        if holder == "key" and "all-team-models" in names:  # a key without a team
            return True
        groups = {group for row in self._deployments_of(model) for group in _groups(row)}
        if not names or "all-proxy-models" in names or model in names or groups & set(names):
            return True
        known = _KNOWN.get(model)
        asked = [model] if known is None else [model, f"{known['litellm_provider']}/{model}"]
        patterns = [f"^{name.replace('*', '.*')}$" for name in names if "*" in name]
        return any(re.match(pattern, name) for pattern in patterns for name in asked)

    def _deployments_of(self, model: str) -> list[Row]:
        exact = [row for row in self.rows if row["model_name"] == model]
        wild = [row for row in self.rows if "*" in row["model_name"] and _is_routed(row["model_name"], model)]
        return exact or wild

    def _info(self, row: Row) -> Row:
        params = row["litellm_params"]
        provider, _, name = params["model"].partition("/")
        known = _KNOWN.get(name, dict.fromkeys(_FACTS) | {"key": params["model"], "litellm_provider": provider})
        own = {fact: params[fact] for fact in _FACTS if fact in params}
        facts = known | own | {"access_groups": _groups(row) or None}
        return {"model_name": row["model_name"], "litellm_params": {"model": params["model"]}, "model_info": facts}


def _groups(row: Row) -> list[str]:
    return list(row.get("model_info", {}).get("access_groups", []))


def _is_routed(wildcard: str, model: str) -> bool:
    return re.fullmatch(re.escape(wildcard).replace(r"\*", ".*"), model) is not None
