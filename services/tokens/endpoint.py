"""`POST /oauth/token`: the grants, by their names (RFC 6749, section 3.2)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from domain.errors import TokenRequestError
from domain.sessions import Origin
from domain.workloads import IssuedToken
from services.tokens.parameters import parameters_of, required
from telemetry.metrics import Metrics

Grant = Callable[[Mapping[str, str], Origin], Awaitable[IssuedToken]]
"""Gets the parameters (`parameters_of`) of a request that has a `client_id`."""


@dataclass(frozen=True, kw_only=True)
class TokenEndpoint:
    """Gives tokens."""

    grants: Mapping[str, Grant]
    metrics: Metrics

    async def __call__(self, parameters: Mapping[str, object], origin: Origin) -> IssuedToken:
        """What the grant gives.

        Raises TokenRequestError, RateLimitedError, OverloadedError, UpstreamError.
        """
        given = parameters_of(parameters)
        grant_type, _ = required(given, "grant_type", "client_id")
        grant = self.grants.get(grant_type)
        if grant is None:
            raise TokenRequestError("unsupported_grant_type", f"grant_type must be {' or '.join(self.grants)}")
        result = "temporarily_unavailable"
        try:
            issued = await grant(given, origin)
            result = "issued"
        except TokenRequestError as error:
            result = error.code
            raise
        finally:
            self.metrics.token_requests.labels(grant_type.rpartition(":")[2], result).inc()
        return issued
