"""What the LiteLLM stand-in counts, in the form in which LiteLLM 1.104 answers it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Row = dict[str, Any]

CALL_COST = 0.000225
"""USD for a call of 10 and 20 tokens, as the real one counts for its first model."""
PROMPT_TOKENS, COMPLETION_TOKENS = 10, 20
_CALL = {
    "spend": CALL_COST,
    "prompt_tokens": PROMPT_TOKENS,
    "completion_tokens": COMPLETION_TOKENS,
    "total_tokens": PROMPT_TOKENS + COMPLETION_TOKENS,
    "api_requests": 1,
    "failed_requests": 0,
    "cache_read_input_tokens": 4,
    "cache_creation_input_tokens": 2,
}
_PROMPT_PRICE, _COMPLETION_PRICE = 2.5e-6, 1e-5
_LONG_CALL_COST = 0.0145
"""USD for a call of 2600 and 800 tokens."""


def calls_for(spend: float) -> Row:
    """The metrics of as many long calls as cost about `spend` USD, each with 2600 and 800 tokens; one in 60 failed."""
    calls = max(1, round(spend / _LONG_CALL_COST))
    prompt = round(spend * 2600 / _LONG_CALL_COST)
    completion = round((spend - prompt * _PROMPT_PRICE) / _COMPLETION_PRICE)
    return dict.fromkeys(_CALL, 0) | {
        "spend": spend,
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "api_requests": calls + calls // 60,
        "failed_requests": calls // 60,
    }


class Counted(NamedTuple):
    """Calls of a user with one key to one model on one day. Those of a pass-through have the model "" or the key ""."""

    user_id: str
    day: str
    model: str
    token: str
    metrics: Row


@dataclass
class Usage:
    """All calls that were counted."""

    calls: list[Counted] = field(default_factory=list)
    words: tuple[str, str] = ("", "")
    """What stands for no model group and for no key: nothing, or the words of LiteLLM 1.109."""

    def add(self, user_id: str, day: str, model: str, token: str, metrics: Row | None = None) -> None:
        """One more call, or those of `metrics`."""
        self.calls.append(Counted(user_id, day, model, token, metrics or _CALL))

    def days(self, user_id: str, first: str, last: str) -> list[Row]:
        """`results` of `/user/daily/activity`, the latest day first."""
        group, key = self.words
        mine = [
            call._replace(model=call.model or group, token=call.token or key)
            for call in self.calls
            if call.user_id == user_id and first <= call.day <= last
        ]
        days = sorted({call.day for call in mine}, reverse=True)
        return [_day(day, [call for call in mine if call.day == day]) for day in days]

    def totals(self, days: Sequence[Row]) -> Row:
        """The sums in its `metadata`."""
        return {f"total_{name.removeprefix('total_')}": sum(day["metrics"][name] for day in days) for name in _CALL}


def _day(day: str, calls: Collection[Counted]) -> Row:
    models = sorted({call.model for call in calls if call.model})
    by_model = {model: _part([call for call in calls if call.model == model]) for model in models}
    tokens = dict.fromkeys(call.token for call in calls)
    by_key = {token: _part([call for call in calls if call.token == token]) for token in tokens}
    breakdown = {"models": by_model, "model_groups": by_model, "api_keys": by_key}
    return {"date": day, "metrics": _metrics(calls), "breakdown": breakdown}


def _metrics(calls: Collection[Counted]) -> Row:
    return {name: sum(call.metrics[name] for call in calls) for name in _CALL}


def _part(calls: Collection[Counted]) -> Row:
    return {"metrics": _metrics(calls), "metadata": {}}
