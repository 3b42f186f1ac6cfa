"""The instruments by themselves."""

from __future__ import annotations

from telemetry.metrics import Metrics

COUNT = 'litellm_orchestrator_request_duration_seconds_count{operation="getMe",status="200"}'


def test_levels_of_one_gauge_are_added_up() -> None:
    """There are two pools of connections to Backstage."""
    metrics = Metrics("1.0.0")
    for level in (2, 3):
        metrics.track(metrics.upstream_connections.labels("Backstage"), lambda level=level: level)  # type: ignore[misc]
    text = metrics.exposition([]).decode()
    assert 'litellm_orchestrator_upstream_connections{upstream="Backstage"} 5.0' in text


def test_batches_lose_nothing() -> None:
    """Whether a batch is full, or a scrape comes before it is."""
    metrics = Metrics("1.0.0")
    for number in range(1, 1203):
        metrics.requests.observe(("getMe", "200"), 0.001)
        if number in (1, 500, 501, 1202):
            assert f"{COUNT} {number}.0\n" in metrics.exposition([]).decode()
    for _ in range(3):
        metrics.token_checks.add(("cached",))
    for _ in range(2):
        assert 'token_checks_total{result="cached"} 3.0' in metrics.exposition([]).decode()
