"""The metrics, as Prometheus reads them."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import Service

PREFIX = "litellm_orchestrator_"


async def metrics_of(service: Service) -> dict[str, float]:
    """Each sample, by its name and labels as Prometheus writes them."""
    return parsed((await service.client().get("/metrics")).text)


def parsed(text: str) -> dict[str, float]:
    """The samples of a page of metrics, by name and labels, without the prefix of ours."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            found[sample.name.removeprefix(PREFIX) + (f"{{{labels}}}" if labels else "")] = sample.value
    return found


def count(operation: str, status: int | str) -> str:
    """The name of the sample that counts such requests."""
    return f'request_duration_seconds_count{{operation="{operation}",status="{status}"}}'
