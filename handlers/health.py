"""The probes, where Backstage's own backends have them (`rootHealth` in `@backstage/backend-defaults`)."""

from __future__ import annotations

from starlette.responses import Response

from handlers.answers import answer
from services.container import Services


async def get_liveness() -> Response:
    """200: the process answers."""
    return answer({"status": "ok"})


async def get_readiness(services: Services) -> Response:
    """200 where every dependency is up, else 503; the body says which is not."""
    readiness = await services.health.readiness()
    up = {True: "up", False: "down"}
    dependencies = {"litellm": up[readiness.litellm], "backstage": up[readiness.backstage]}
    ready = readiness.litellm and readiness.backstage
    return answer({"status": "ok" if ready else "error", "dependencies": dependencies}, 200 if ready else 503)
