"""What the LiteLLM stand-in counts, in the form in which LiteLLM 1.104 answers it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Row = dict[str, Any]

CALL_COST = 0.000225
"""USD for a call of 10 and 20 tokens, as the real one counts for its first model."""
_CALL = {
    "spend": CALL_COST,
    "prompt_tokens": 10,
    "completion_tokens": 20,
    "total_tokens": 30,
    "api_requests": 1,
    "failed_requests": 0,
    "cache_read_input_tokens": 4,
    "cache_creation_input_tokens": 2,
}


@dataclass
class Usage:
    """Calls, as (user, day, model, key). Those of a pass-through endpoint have the model "" or the key ""."""

    calls: list[tuple[str, str, str, str]] = field(default_factory=list)
    words: tuple[str, str] | None = None
    """What stands for no model group and for no key in LiteLLM 1.109."""

    def add(self, user_id: str, day: str, model: str, token: str) -> None:
        """One more."""
        self.calls.append((user_id, day, model, token))

    def days(self, user_id: str, first: str, last: str) -> list[Row]:
        """`results` of `/user/daily/activity`, the latest day first."""
        mine = [call[1:] for call in self.calls if call[0] == user_id and first <= call[1] <= last]
        return [
            self._day(day, [call[1:] for call in mine if call[0] == day]) for day in sorted({c[0] for c in mine})[::-1]
        ]

    def totals(self, days: Sequence[Row]) -> Row:
        """The sums in its `metadata`."""
        return {f"total_{name.removeprefix('total_')}": sum(day["metrics"][name] for day in days) for name in _CALL}

    def _day(self, day: str, calls: Sequence[tuple[str, str]]) -> Row:
        if self.words is not None:
            calls = [(model or self.words[0], token or self.words[1]) for model, token in calls]
        models = sorted({model for model, _ in calls if model})
        by_model = {model: _part(len([c for c in calls if c[0] == model])) for model in models}
        by_key = {token: _part(len([c for c in calls if c[1] == token])) for _, token in calls}
        breakdown = {"models": by_model, "model_groups": by_model, "api_keys": by_key}
        return {"date": day, "metrics": _metrics(len(calls)), "breakdown": breakdown}


def _metrics(calls: int) -> Row:
    return {name: value * calls for name, value in _CALL.items()}


def _part(calls: int) -> Row:
    return {"metrics": _metrics(calls), "metadata": {}}
