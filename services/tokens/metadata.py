"""The metadata of this service as an authorization server (RFC 8414)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from domain.errors import NotFoundError


@dataclass(frozen=True, slots=True)
class AuthorizationServer:
    """Where this service gives tokens, and for what. `issuer` is its address, with its path."""

    issuer: str
    grant_types: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class AuthorizationMetadata:
    """Tells it. No address is ever taken from a request. `service_url` is None if nobody said it."""

    service_url: str | None
    grant_types: Sequence[str]

    def server(self) -> AuthorizationServer:
        """The server. Raises NotFoundError."""
        if self.service_url is None:
            raise NotFoundError("There is no metadata without litellmOrchestrator.publicUrl")
        return AuthorizationServer(self.service_url, self.grant_types)
