"""The metrics of one process, in Prometheus' text format.

With several workers, the folder that `PROMETHEUS_MULTIPROC_DIR` names is where their values meet
(https://prometheus.github.io/client_python/multiprocess/); `cli/serve.py` makes it.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from telemetry.batches import Counts, Durations

NAMESPACE = "litellm_orchestrator"
SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The instruments. No label contains a user, a key, or anything else that a caller chooses.

    Levels, such as connections in use, are only read when they are published, so that they cost requests nothing.
    """

    def __init__(self, version: str) -> None:
        registry = self._registry = CollectorRegistry()
        self._levels: defaultdict[Gauge, list[Callable[[], float]]] = defaultdict(list)
        counter = partial(Counter, namespace=NAMESPACE, registry=registry)
        histogram = partial(Histogram, namespace=NAMESPACE, registry=registry, buckets=_BUCKETS_SECONDS)
        level = partial(Gauge, namespace=NAMESPACE, registry=registry, multiprocess_mode="livesum")
        requests = histogram("request_duration_seconds", "Requests by operation and status.", ["operation", "status"])
        upstream_calls = histogram(
            "upstream_call_duration_seconds",
            "Calls to LiteLLM and Backstage by outcome; each attempt counts.",
            ["upstream", "outcome"],
        )
        self.upstream_connections = level("upstream_connections", "Connections in use.", ["upstream"])
        self.upstream_waiting = level("upstream_waiting_calls", "Calls waiting for a connection.", ["upstream"])
        self.upstream_paused = level("upstream_paused", "Workers that pause their calls.", ["upstream"])
        self.database_connections = level("database_connections", "Connections to the database in use.")
        token_checks = counter("token_checks", "Bearer tokens by result of the check.", ["result"])
        self.cached_tokens = level("cached_tokens", "Verified tokens in the cache.")
        self.changes = counter("changes", "Changes that ended, as in the audit log.", ["action", "outcome"])
        self.idempotent_replays = counter("idempotent_replays", "Requests that got the answer to an earlier one.")
        self.rate_limited = counter("rate_limited", "Requests above a rate limit.", ["limit"])
        self.token_exchanges = counter(
            "token_exchanges", "Exchanges of tokens for keys, by rule and result.", ["rule", "result"]
        )
        self.token_requests = counter(
            "token_requests", "Requests for tokens, by grant and by issued or the error.", ["grant", "result"]
        )
        self.stolen_sessions = counter("stolen_sessions", "Devices signed out because a refresh token was used again.")
        self.cleanup_runs = counter("cleanup_runs", "Runs and dry runs of the cleanup.", ["kind", "outcome"])
        self.cleanup_planned = counter("cleanup_planned_users", "Users in the plans of runs, by step.", ["step"])
        self.cleanup_users = counter("cleanup_users", "Users by step that a run took, or failed.", ["step"])
        self.odd_rows = counter(
            "odd_rows",
            "Odd values that were read in LiteLLM's tables; the column * is a whole row.",
            ["table", "column"],
        )
        self.requests, self.upstream_calls = Durations(requests), Durations(upstream_calls)
        self.token_checks = Counts(token_checks)
        build = Gauge("build_info", "Always 1.", ["version"], NAMESPACE, registry=registry, multiprocess_mode="max")
        build.labels(version).set(1)
        if _shared_folder() is None:
            ProcessCollector(namespace=NAMESPACE, registry=registry)

    @property
    def are_shared(self) -> bool:
        """Whether several workers share them."""
        return _shared_folder() is not None

    def track(self, gauge: Gauge, level: Callable[[], float]) -> None:
        """Publishes `level` as `gauge` from now on, or adds it to what is published there."""
        self._levels[gauge].append(level)

    def publish(self) -> None:
        """Reads the levels of this process and flushes its batches. Another worker may answer the next scrape."""
        for batch in (self.requests, self.upstream_calls, self.token_checks):
            batch.flush()
        for gauge, levels in self._levels.items():
            gauge.set(sum(level() for level in levels))

    def exposition(self, families: Sequence[Metric]) -> bytes:
        """The metrics of all workers, and `families`, as text."""
        self.publish()
        registry, folder = self._registry, _shared_folder()
        if folder is not None:
            _forget_dead_workers(folder)
            registry = CollectorRegistry()
            MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
        return generate_latest(registry) + generate_latest(_Collected(families))


class _Collected:
    """Metrics that were collected before."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _shared_folder() -> Path | None:
    folder = os.environ.get(SHARED_FOLDER)
    return None if folder is None else Path(folder)


def _forget_dead_workers(folder: Path) -> None:
    """Removes the levels of workers that were killed. Their counters stay: a counter must not fall."""
    for pid in {int(file.stem.rpartition("_")[2]) for file in folder.glob("gauge_live*.db")}:
        if not Path(f"/proc/{pid}").exists():
            mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
