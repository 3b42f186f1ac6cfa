"""Refuses requests on more connections than allowed, except for the probes and the metrics."""

from __future__ import annotations

from http import HTTPStatus

from starlette.types import ASGIApp, Receive, Scope, Send

from edge.connection import CROWDED, RETRY_AFTER_SECONDS
from edge.errors import RoutingError

_ALWAYS_ANSWERED = ("/.backstage/health/", "/metrics")


class Capacity:
    """ASGI middleware.

    An orchestrator that gets no answer from a probe would kill a process that is only busy, and operators need to see
    that it is.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_crowded = scope["type"] == "http" and scope.get("state", {}).get(CROWDED)
        if is_crowded and not scope["path"].startswith(_ALWAYS_ANSWERED):
            headers = {"Retry-After": str(RETRY_AFTER_SECONDS), "Connection": "close"}
            message = "Too many connections; retry later"
            raise RoutingError(HTTPStatus.SERVICE_UNAVAILABLE, "ServiceUnavailableError", message, headers)
        await self._app(scope, receive, send)
