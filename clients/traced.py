"""An exchange with a span for each request."""

from __future__ import annotations

from collections.abc import Mapping

from clients.exchange import Exchange, Reply
from telemetry.tracing import Tracing


class TracedExchange:
    """Traces the requests of `exchange` to the upstream `name`, and tells the upstream about the trace."""

    def __init__(self, name: str, exchange: Exchange, tracing: Tracing) -> None:
        self._name = name
        self._exchange = exchange
        self._tracing = tracing

    async def __call__(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Reply:
        """See `Exchange`."""
        with self._tracing.call(self._name, method, url) as span:
            reply = await self._exchange(method, url, {**headers, **span.headers()}, body)
            span.answered(reply.status)
            return reply

    @property
    def in_use(self) -> int:
        """The number of connections in use."""
        return self._exchange.in_use

    @property
    def waiting(self) -> int:
        """The number of calls that wait for one."""
        return self._exchange.waiting

    async def aclose(self) -> None:
        """Closes every connection."""
        await self._exchange.aclose()
