"""Where the keys of an issuer are published: where its discovery document says, or at an address of the settings.

Both are read again for each set, over a connection of its own: what a document, a file of authorities or a name says
may have changed in the ten minutes since. No address comes from a token, and no redirect is followed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass

from clients.exchange import Reply
from clients.upstream import Upstream
from domain.errors import UpstreamFaultError
from domain.workloads import is_loopback, is_trustworthy

Connect = Callable[[str], Upstream]
"""Gets an address, and makes the upstream that is asked there."""

_DISCOVERY = "/.well-known/openid-configuration"


@dataclass(frozen=True)
class AtAddress:
    """Keys at the address `url`. Errors call their issuer `name`."""

    name: str
    url: str
    connect: Connect

    async def read(self) -> Reply:
        """See `Source`."""
        return await self._read(self.url)

    async def watch(self) -> Reply:
        """See `Source`."""
        return await self.read()

    async def _read(self, url: str) -> Reply:
        async with aclosing(self.connect(url)) as upstream:
            return await upstream.read("")


class Discovered(AtAddress):
    """Keys where the issuer `url` says in its discovery document (OpenID Connect Discovery 1.0, section 4)."""

    async def read(self) -> Reply:
        """See `Source`. Raises UpstreamFaultError if the document is not that of the issuer."""
        reply = await self._read(self.url.rstrip("/") + _DISCOVERY)
        body = reply.parsed()
        if reply.status != 200 or not isinstance(body, dict):
            raise reply.unexpected(self.name, "its discovery document")
        if body.get("issuer") != self.url:
            raise UpstreamFaultError(f"{self.name} has a discovery document of another issuer than its url")
        address = body.get("jwks_uri")
        if not isinstance(address, str) or not is_trustworthy(address):
            raise UpstreamFaultError(f"{self.name} has a discovery document whose jwks_uri is no https URL")
        if is_loopback(address) and not is_loopback(self.url):
            raise UpstreamFaultError(f"{self.name} has a discovery document whose jwks_uri is on this machine")
        return await self._read(address)
