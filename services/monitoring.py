"""The metrics page: what the workers counted, what the tables say, and which dependencies are available."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from domain.errors import UpstreamError
from domain.offboarding import RunOutcome
from services.health import Health
from services.repetition import Job
from services.single_flight import SingleFlight
from state.figures import Figures, StateFigures
from telemetry.metrics import NAMESPACE, Metrics

_CACHE_SECONDS = 5.0
_PUBLISH_SECONDS = 5.0
_FIGURES = "figures"
_GAUGES = {
    "open_changes": "Changes that began and did not end yet.",
    "oldest_open_change_seconds": "The age of the oldest of them.",
    "pending_revocations": "Replaced keys that still work and will be revoked.",
    "overdue_revocations": "Those of them that should be revoked by now.",
    "longest_overdue_seconds": "How long the longest of those is overdue.",
    "users_offboarding": "Users whose keys are blocked and who will be deleted.",
    "unmanaged_owners": "Groups and components with keys that nobody with a role manages, at most 100.",
    "directory_users": "LiteLLM users that are Backstage users, in the directory.",
}
_TIMES = {
    "directory_swept_at": ("directory_swept", "When the directory was last compared with LiteLLM."),
    "cleanup_accepted_at": ("cleanup_accepted", "When a run of the cleanup last accepted what Backstage said."),
}


class Monitoring:
    """Collects the metrics. The tables are read at most every 5 seconds: anybody may ask."""

    def __init__(
        self,
        *,
        metrics: Metrics,
        health: Health,
        figures: Figures,
        now: Callable[[], float],
        patience: float,
    ) -> None:
        self._metrics = metrics
        self._health = health
        self._figures = figures
        self._now = now
        self._patience = patience
        self._reads: SingleFlight[StateFigures | None] = SingleFlight()
        self._last: tuple[float, StateFigures | None] = (float("-inf"), None)

    async def exposition(self) -> bytes:
        """The metrics as text. What a dependency does not tell in time is left out."""
        dependencies, figures = await asyncio.gather(self._health.dependencies(), self._recent_figures())
        up = GaugeMetricFamily(f"{NAMESPACE}_dependency_up", "Whether it is available.", labels=["dependency"])
        for dependency, is_up in {
            "litellm": dependencies.litellm,
            "backstage": dependencies.backstage,
            "database": dependencies.database,
        }.items():
            up.add_metric([dependency], is_up)
        return self._metrics.exposition([up, *(_families(figures) if figures else ())])

    def job(self) -> Job:
        """Publishes the levels of this process every 5 seconds, for the worker that answers a scrape."""

        async def publish() -> None:
            self._metrics.publish()

        return Job("publishing of metrics", publish, _PUBLISH_SECONDS)

    async def _recent_figures(self) -> StateFigures | None:
        read_at, figures = self._last
        if self._now() - read_at < _CACHE_SECONDS:
            return figures
        return await self._reads.run(_FIGURES, self._read)

    async def _read(self) -> StateFigures | None:
        figures = None
        try:
            async with asyncio.timeout(self._patience):
                figures = await self._figures.read()
        except (UpstreamError, TimeoutError):
            pass
        self._last = (self._now(), figures)
        return figures


def _families(figures: StateFigures) -> Iterator[Metric]:
    for name, text in _GAUGES.items():
        yield GaugeMetricFamily(f"{NAMESPACE}_{name}", text, getattr(figures, name))
    for name, (metric, text) in _TIMES.items():
        if (time := getattr(figures, name)) is not None:
            yield GaugeMetricFamily(f"{NAMESPACE}_{metric}_timestamp_seconds", text, time)
    outcome = GaugeMetricFamily(
        f"{NAMESPACE}_cleanup_last_run", "1 for the outcome of the last run of the cleanup.", labels=["outcome"]
    )
    for possible in (RunOutcome.DONE, RunOutcome.REFUSED, RunOutcome.FAILED):
        outcome.add_metric([possible], figures.cleanup_outcome == possible)
    yield outcome
