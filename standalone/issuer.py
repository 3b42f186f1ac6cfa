"""Stands in for an issuer of workloads' tokens, such as a forge: discovery, keys, and tokens for anybody."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx
from joserfc import jwt
from joserfc.jwk import ECKey

URL, AUDIENCE = "https://issuer.standalone", "litellm-orchestrator"
SUBJECT = "repo:acme/checkout:ref:refs/heads/main"
_SECONDS = 300
_KEY_ID = "standalone-1"


class IssuerStandIn(httpx.AsyncBaseTransport):
    """An issuer at `URL`, and the way to it. `now` is in seconds since the epoch."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self.is_away = False
        self._key = ECKey.generate_key("P-256")

    def token(self, **changes: Any) -> str:
        """A token for this service with these claims, without those that are None."""
        now = int(self._now())
        usual = {"iss": URL, "sub": SUBJECT, "aud": AUDIENCE, "iat": now, "exp": now + _SECONDS, "jti": f"run-{now}"}
        claims = {name: value for name, value in (usual | changes).items() if value is not None}
        return jwt.encode({"alg": "ES256", "kid": _KEY_ID}, claims, self._key)

    @property
    def jwks(self) -> dict[str, Any]:
        """The keys that it publishes."""
        return {"keys": [self._key.as_dict(private=False, kid=_KEY_ID, use="sig", alg="ES256")]}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answers for its discovery document and its keys, unless it `is_away`."""
        if self.is_away:
            raise httpx.ConnectError("away")
        if request.url.path == "/jwks":
            return httpx.Response(200, json=self.jwks)
        return httpx.Response(200, json={"issuer": URL, "jwks_uri": f"{URL}/jwks"})
