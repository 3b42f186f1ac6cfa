"""Verification of tokens, on a Backstage whose answers the test may change or hold."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Collection
from typing import Any

import httpx
import pytest

from clients.backstage.tokens import TokenVerifier
from clients.upstream import Upstream
from domain.errors import AuthenticationError
from settings.model import ServiceToken, Timeouts
from standalone.backstage import BASE_URL, BackstageStandIn
from tests.conftest import ALICE, Clock, no_sleep
from tests.support.upstreams import Holding, Overriding

JWKS = "/api/auth/.well-known/jwks.json"
PLUGIN_JWKS = "/api/tokens/.backstage/auth/v1/jwks.json"
SERVICE = ServiceToken("service-token-0123", "service:ci", "member")


class Setup:
    """A verifier; `transport` is its way to Backstage, and `holding` the end of that way. It notes `results`."""

    def __init__(
        self,
        backstage: BackstageStandIn,
        clock: Clock,
        issuer: str | None = None,
        plugins: Collection[str] | None = None,
    ) -> None:
        self.holding = Holding(httpx.ASGITransport(backstage.app))
        self.transport = Overriding(self.holding, {})
        upstream = Upstream("Backstage", BASE_URL, timeouts=Timeouts(), transport=self.transport, sleep=no_sleep)
        self.results: list[str] = []
        self.tokens = TokenVerifier(
            upstream, issuer=issuer, service_tokens=[SERVICE], plugins=plugins, now=clock, observe=self.results.append
        )

    def asked(self, path: str) -> int:
        """The number of requests for `path`."""
        return sum(request.url.path == path for request in self.transport.seen)


@pytest.fixture
def setup(backstage: BackstageStandIn, clock: Clock) -> Setup:
    """The usual one."""
    return Setup(backstage, clock)


async def refused(setup: Setup, token: str) -> str:
    """The message with which `token` is refused: its holder's fault."""
    with pytest.raises(AuthenticationError) as raised:
        await setup.tokens.verify(token)
    return raised.value.message


def forged(alter: Callable[[dict[str, Any], dict[str, Any]], None]) -> Callable[[str], str]:
    """A token with its header or claims altered and its signature kept."""

    def forge(token: str) -> str:
        parts = token.split(".")
        header, claims = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in parts[:2])
        alter(header, claims)
        encoded = [
            base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, claims)
        ]
        return ".".join([*encoded, parts[2]])

    return forge


def on_behalf_of_alice(backstage: BackstageStandIn) -> str:
    return backstage.plugin_token(backstage.limited_token(ALICE))
