"""Logs, counts and traces each request, with the id that the response carries."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import structlog
from connexion.middleware.routing import ROUTING_CONTEXT
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from domain.redaction import Redaction
from edge.binding import PRINCIPAL
from edge.browsers import FOR_BROWSERS
from edge.redacted_path import redacted_path
from telemetry.metrics import Metrics
from telemetry.tracing import Tracing

log = structlog.get_logger(__name__)

HEADER = "X-Request-Id"
_ACCEPTABLE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_FOR_BROWSERS = [(name.lower().encode(), value.encode()) for name, value in FOR_BROWSERS.items()]


class RequestLog:
    """ASGI middleware. It is outside of error handling, so it must not raise. `now` is a clock in seconds.

    A caller's own id is kept unless it has characters that a log or a header may not have, or is a secret.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        new_id: Callable[[], str],
        now: Callable[[], float],
        metrics: Metrics,
        tracing: Tracing | None,
        redaction: Redaction,
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._tracing = tracing
        self._new_id = new_id
        self._now = now
        self._redaction = redaction

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        offered = headers.get(HEADER, "")
        is_kept = _ACCEPTABLE.fullmatch(offered) and self._redaction.text(offered) == offered
        request_id = offered if is_kept else self._new_id()
        extensions: dict[str, Any] = scope.setdefault("extensions", {})
        status, started = 0, self._now()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = (HEADER.lower().encode(), request_id.encode())
                message["headers"] = [*message.get("headers", ()), own, *_FOR_BROWSERS]
            await send(message)

        traced = self._tracing.request(headers) if self._tracing else nullcontext()
        with structlog.contextvars.bound_contextvars(request_id=request_id), traced as span:
            try:
                await self._app(scope, receive, send_with_id)
            finally:
                seconds = self._now() - started
                operation = extensions.get(ROUTING_CONTEXT, {}).get("operation_id") or "none"
                self._metrics.requests.observe((operation, str(status or "none")), seconds)
                principal = extensions.get(PRINCIPAL)
                described = {
                    "operation": operation,
                    "method": scope["method"],
                    "path": self._redaction.text(redacted_path(scope["raw_path"])),
                    "status": status,
                }
                if span is not None:
                    span.describe(**described)
                log.info(
                    "request",
                    **described,
                    milliseconds=round(seconds * 1000, 1),
                    principal=principal.subject if principal else None,
                )
                structlog.contextvars.unbind_contextvars("key_stable_id")
