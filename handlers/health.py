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
    """`GET /.backstage/health/v1/readiness`: 200, this replica takes requests; which of its dependencies answer."""
    found = await service.known_soon()
    names = ("litellm", "backstage", "database")
    body = {
        "status": "ok" if found.all_answer else "degraded",
        "dependencies": {name: _UP[getattr(found, name)] for name in names},
        "circuits": {name.lower(): circuit for name, circuit in found.circuits.items()},
    }
    return json_response(body)


async def get_metrics(service: Monitoring) -> Response:
    """`GET /metrics`: 200 with the metrics in Prometheus' text format."""
    return Response(await service.exposition(), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})
