"""Issuers of tokens of workloads whose answers the test may change, and which sign whatever it asks for."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable
from typing import Any

import httpx
from joserfc.jwk import ECKey, RSAKey

from clients.algorithms import Algorithms, Key
from clients.oidc.issuers import Issuers
from settings.model import Issuer, Timeouts
from tests.conftest import no_sleep
from tests.support.upstreams import Answer

URL, AUDIENCE = "https://issuer.example.com", "litellm-orchestrator"
DISCOVERY, JWKS = "/.well-known/openid-configuration", "/jwks"
SUBJECT = "repo:acme/shop:ref:refs/heads/main"
RSA = RSAKey.generate_key(2048)


def encoded(content: bytes) -> str:
    """As base64url without padding."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def signed(header: dict[str, Any] | bytes, claims: dict[str, Any] | bytes, key: Key | bytes, algorithm: str) -> str:
    """A compact JWS, whatever its header and claims are; bytes are taken as they are. Bytes are a key for HMAC."""
    parts = [encoded(part if isinstance(part, bytes) else json.dumps(part).encode()) for part in (header, claims)]
    content = ".".join(parts)
    if isinstance(key, bytes):
        signature = hmac.digest(key, content.encode(), f"sha{algorithm[2:]}")
    else:
        signature = Algorithms.algorithms[algorithm].sign(content.encode(), key)
    return f"{content}.{encoded(signature)}"


class SigningIssuer(httpx.AsyncBaseTransport):
    """An issuer at `url`, and the way to it. It has one key, until it rotates; `answers` are by path.

    `now` is in seconds since the epoch. `seen` are the addresses that it was asked for.
    """

    def __init__(self, now: Callable[[], float], url: str = URL, key: Key | None = None) -> None:
        self.url = url
        self.now = now
        self.answers: dict[str, Answer] = {}
        self.seen: list[str] = []
        self.key: Key = key or ECKey.generate_key("P-256")
        self.kid = "key-1"

    @property
    def algorithm(self) -> str:
        """With which it signs."""
        return "RS256" if isinstance(self.key, RSAKey) else "ES256"

    @property
    def jwks(self) -> dict[str, Any]:
        """The keys that it publishes."""
        return {"keys": [{**self.key.as_dict(private=False), "kid": self.kid, "use": "sig", "alg": self.algorithm}]}

    def rotate(self) -> None:
        """Signs with another key of the same kind from now on, and publishes no other."""
        self.key = RSAKey.generate_key(2048) if isinstance(self.key, RSAKey) else ECKey.generate_key("P-256")
        self.kid = f"key-{int(self.kid.rpartition('-')[2]) + 1}"

    def header(self, **changes: Any) -> dict[str, Any]:
        """That of its tokens."""
        return {"typ": "JWT", "alg": self.algorithm, "kid": self.kid} | changes

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Those of its tokens; without those that are None."""
        now = int(self.now())
        usual = {"iss": self.url, "sub": SUBJECT, "aud": AUDIENCE, "iat": now, "exp": now + 300, "jti": "token-1"}
        return {name: value for name, value in (usual | changes).items() if value is not None}

    def signed(self, header: dict[str, Any] | bytes, claims: dict[str, Any] | bytes) -> str:
        """What it signed, whatever it is."""
        return signed(header, claims, self.key, self.algorithm)

    def token(self, **changes: Any) -> str:
        """A genuine token with these claims."""
        return self.signed(self.header(), self.claims(**changes))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(str(request.url))
        if answer := self.answers.get(request.url.path):
            return answer(request)
        if request.url.path.endswith(DISCOVERY):
            return httpx.Response(200, json={"issuer": self.url, "jwks_uri": self.url.rstrip("/") + JWKS})
        return httpx.Response(200, json=self.jwks)


def issuers_of(at: SigningIssuer, **settings: Any) -> Issuers:
    """The issuers of settings with this one, named `ci`."""
    issuer = Issuer(**{"name": "ci", "url": at.url, "audience": AUDIENCE} | settings)
    return Issuers([issuer], timeouts=Timeouts(), now=at.now, transport=at, sleep=no_sleep)
