"""The probes, at the paths of Backstage's own backends (`rootHealth` in `@backstage/backend-defaults`), and metrics."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from starlette.responses import Response

from handlers.responses import json_response
from services.health import Health
from services.monitoring import Monitoring

_UP = {True: "up", False: "down"}


async def get_liveness() -> Response:
    """`GET /.backstage/health/v1/liveness`: 200, the process answers."""
    return json_response({"status": "ok"})


async def get_readiness(service: Health) -> Response:
    """`GET /.backstage/health/v1/readiness`: 200 if requests can be served, else 503."""
    readiness = await service.readiness()
    dependencies = {
        "litellm": _UP[readiness.litellm],
        "backstage": _UP[readiness.backstage],
        "database": _UP[readiness.database],
    }
    circuits = {name.lower(): circuit for name, circuit in readiness.circuits.items()}
    status = "error" if not readiness.is_ready else "ok" if readiness.database else "degraded"
    body = {"status": status, "dependencies": dependencies, "circuits": circuits}
    return json_response(body, 200 if readiness.is_ready else 503)


async def get_metrics(service: Monitoring) -> Response:
    """`GET /metrics`: 200 with the metrics in Prometheus' text format."""
    return Response(await service.exposition(), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})
