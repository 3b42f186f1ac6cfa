"""`POST /oauth/token`: the grants, by their names (RFC 6749, section 3.2)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from domain.errors import TokenRequestError
from domain.sessions import Origin
from domain.workloads import IssuedToken
from telemetry.metrics import Metrics

Grant = Callable[[Mapping[str, str], Origin], Awaitable[IssuedToken]]
"""Gets the parameters of a request that has a `client_id`."""


@dataclass(frozen=True, kw_only=True)
class TokenEndpoint:
    """Gives tokens."""

    grants: Mapping[str, Grant]
    metrics: Metrics

    async def __call__(self, parameters: Mapping[str, object], origin: Origin) -> IssuedToken:
        """What the grant gives. Parameters are texts; an empty one counts as absent.

        Raises TokenRequestError, RateLimitedError, OverloadedError, UpstreamError.
        """
        given = {name: str(value) for name, value in parameters.items() if value}
        if missing := [name for name in ("grant_type", "client_id") if name not in given]:
            raise TokenRequestError("invalid_request", f"The form lacks {' and '.join(missing)}")
        grant = self.grants.get(given["grant_type"])
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
            self.metrics.token_requests.labels(given["grant_type"].rpartition(":")[2], result).inc()
        return issued
