"""Refuses requests on more connections than allowed, except for the probes."""

from __future__ import annotations

from http import HTTPStatus

from starlette.types import ASGIApp, Receive, Scope, Send

from edge.connection import CROWDED, RETRY_AFTER_SECONDS
from edge.errors import RoutingError

_PROBES = "/.backstage/health/"


class Capacity:
    """ASGI middleware. An orchestrator that gets no answer from a probe would kill a process that is only busy."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope.get("state", {}).get(CROWDED) and not scope["path"].startswith(_PROBES):
            headers = {"Retry-After": str(RETRY_AFTER_SECONDS), "Connection": "close"}
            message = "Too many connections; retry later"
            raise RoutingError(HTTPStatus.SERVICE_UNAVAILABLE, "ServiceUnavailableError", message, headers)
        await self._app(scope, receive, send)
