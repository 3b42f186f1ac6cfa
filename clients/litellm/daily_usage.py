"""LiteLLM's usage figures. Facts are from LiteLLM 1.104.5 and 1.109.3; `tests/conformance` checks them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date
from typing import Any

from clients.litellm.client import as_object
from clients.litellm.rows import unexpected_response
from clients.upstream import Upstream
from domain.usage import DailyUsage, UsageFigures

_MAX_PAGES = 1000
_MOST = 10**15
_NO_MODEL, _NO_KEY = frozenset({"", "unknown-model-group"}), frozenset({"", "unattributed"})
"""What stands for no model and for no key: LiteLLM 1.109 has words for them."""
_CACHED = ("cache_read_input_tokens", "cache_creation_input_tokens")


class LiteLLMUsage:
    """Reads usage. Every call raises UpstreamError."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def activity(self, user_id: str, first: date, last: date) -> list[DailyUsage]:
        """`GET /user/daily/activity`, every page: the days with calls. A day may come in several parts."""
        query = {"user_id": user_id, "start_date": first.isoformat(), "end_date": last.isoformat()}
        days: list[DailyUsage] = []
        for page in range(1, _MAX_PAGES + 1):
            answer = as_object(await self._upstream.read("/user/daily/activity", query | {"page": page}))
            results, metadata = answer.get("results"), answer.get("metadata")
            if not (isinstance(results, list) and isinstance(metadata, dict)):
                raise unexpected_response("usage")
            days += map(_day, results)
            if not metadata.get("has_more"):
                return days
        raise unexpected_response("usage")


def _day(row: Any) -> DailyUsage:
    try:
        breakdown = row["breakdown"]
        # `model_groups` has the names that callers use, `models` the provider's.
        models, keys = _parts(breakdown["model_groups"], _NO_MODEL), _parts(breakdown["api_keys"], _NO_KEY)
        return DailyUsage(date.fromisoformat(row["date"]).isoformat(), _figures(row["metrics"]), models, keys)
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise unexpected_response("usage") from error


def _parts(rows: Mapping[str, Any], without: Collection[str]) -> dict[str, UsageFigures]:
    return {name: _figures(part["metrics"]) for name, part in rows.items() if name not in without}


def _figures(metrics: Mapping[str, Any]) -> UsageFigures:
    # Older versions do not count what the provider's cache read and wrote.
    cached = {name: _count(metrics.get(name, 0)) for name in _CACHED}
    return UsageFigures(
        spend=_number(metrics["spend"]),
        prompt_tokens=_count(metrics["prompt_tokens"]),
        completion_tokens=_count(metrics["completion_tokens"]),
        total_tokens=_count(metrics["total_tokens"]),
        requests=_count(metrics["api_requests"]),
        failed_requests=_count(metrics["failed_requests"]),
        **cached,
    )


def _count(value: Any) -> int:
    number = _number(value)
    if number != int(number):
        raise ValueError(value)
    return int(number)


def _number(value: Any) -> float:
    """Raises ValueError for what is no number, and for one whose sums could not be returned."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= _MOST:
        raise ValueError(value)
    return value
