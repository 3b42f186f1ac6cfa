"""What LiteLLM counts, and the models that it serves (LiteLLM 1.104.5, held by `tests/conformance`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from clients.litellm.client import as_object
from clients.litellm.rows import nonsense
from clients.upstream import Upstream

_MAX_PAGES = 1000


@dataclass(frozen=True)
class Figures:
    """What calls cost in USD and tokens, and how many there were, failed ones included."""

    spend: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    requests: int = 0
    failed_requests: int = 0

    def __add__(self, other: Figures) -> Figures:
        """The sum, field by field."""
        return Figures(**{name: value + getattr(other, name) for name, value in vars(self).items()})


@dataclass(frozen=True)
class DayOfUse:
    """One day (`YYYY-MM-DD`, UTC): in all, by the model's name at the proxy, and by the key's id."""

    day: str
    figures: Figures
    models: Mapping[str, Figures]
    keys: Mapping[str, Figures]


class LiteLLMUsage:
    """Read-only calls. All raise UpstreamError."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def activity(self, user_id: str, first: date, last: date) -> list[DayOfUse]:
        """`GET /user/daily/activity`, every page: each day on which the user made a call, some perhaps in parts."""
        query = {"user_id": user_id, "start_date": first.isoformat(), "end_date": last.isoformat()}
        days: list[DayOfUse] = []
        for page in range(1, _MAX_PAGES + 1):
            answer = as_object(await self._upstream.read("/user/daily/activity", query | {"page": page}))
            results, metadata = answer.get("results"), answer.get("metadata")
            if not (isinstance(results, list) and isinstance(metadata, dict)):
                raise nonsense("usage")
            days += map(_day, results)
            if not metadata.get("has_more"):
                return days
        raise nonsense("usage")

    async def models(self) -> list[str]:
        """`GET /models`: the name of each, sorted."""
        rows = as_object(await self._upstream.read("/models")).get("data")
        if not isinstance(rows, list) or not all(
            isinstance(row, dict) and isinstance(row.get("id"), str) for row in rows
        ):
            raise nonsense("models")
        return sorted({row["id"] for row in rows})


def _day(row: Any) -> DayOfUse:
    try:
        breakdown = row["breakdown"]
        # Its names for callers; `models` has the provider's.
        models = {name: _figures(part["metrics"]) for name, part in breakdown["model_groups"].items()}
        keys = {key_id: _figures(part["metrics"]) for key_id, part in breakdown["api_keys"].items()}
        return DayOfUse(str(row["date"]), _figures(row["metrics"]), models, keys)
    except (TypeError, KeyError, AttributeError) as error:
        raise nonsense("usage") from error


def _figures(metrics: Mapping[str, Any]) -> Figures:
    return Figures(
        spend=float(metrics["spend"]),
        prompt_tokens=int(metrics["prompt_tokens"]),
        completion_tokens=int(metrics["completion_tokens"]),
        total_tokens=int(metrics["total_tokens"]),
        requests=int(metrics["api_requests"]),
        failed_requests=int(metrics["failed_requests"]),
    )
