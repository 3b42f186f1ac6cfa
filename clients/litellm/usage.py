"""LiteLLM's usage figures. Facts are from LiteLLM 1.104.5; `tests/conformance` checks them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from clients.litellm.client import as_object
from clients.litellm.rows import unexpected_response
from clients.upstream import Upstream
from domain.usage import DailyUsage, UsageFigures

_MAX_PAGES = 1000


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
        models = {name: _figures(part["metrics"]) for name, part in breakdown["model_groups"].items()}
        keys = {key_id: _figures(part["metrics"]) for key_id, part in breakdown["api_keys"].items()}
        return DailyUsage(str(row["date"]), _figures(row["metrics"]), models, keys)
    except (TypeError, KeyError, AttributeError) as error:
        raise unexpected_response("usage") from error


def _figures(metrics: Mapping[str, Any]) -> UsageFigures:
    return UsageFigures(
        spend=float(metrics["spend"]),
        prompt_tokens=int(metrics["prompt_tokens"]),
        completion_tokens=int(metrics["completion_tokens"]),
        total_tokens=int(metrics["total_tokens"]),
        requests=int(metrics["api_requests"]),
        failed_requests=int(metrics["failed_requests"]),
    )
