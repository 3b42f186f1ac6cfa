"""The probes, at the paths of Backstage's own backends (`rootHealth` in `@backstage/backend-defaults`)."""

from __future__ import annotations

from starlette.responses import Response

from handlers.responses import json_response
from services.health import Health

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
    if not readiness.is_ready:
        return json_response({"status": "error", "dependencies": dependencies}, 503)
    return json_response({"status": "ok" if readiness.database else "degraded", "dependencies": dependencies})
