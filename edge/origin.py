"""From which address a request comes: that of the connection, or what a trusted proxy says."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

from starlette.datastructures import Headers
from starlette.types import Scope

from domain.sessions import Address, Origin

Networks = Sequence[IPv4Network | IPv6Network]


def origin_of(scope: Scope, trusted: Networks) -> Origin:
    """The origin of a request: the last address in `X-Forwarded-For` that is no trusted proxy's.

    Each proxy appends whom it hears, so that what is before the first stranger is only that stranger's word.
    """
    client = scope.get("client")
    address = _parsed(client[0]) if client else None
    forwarded = [part for value in Headers(scope=scope).getlist("x-forwarded-for") for part in value.split(",")]
    while address is not None and forwarded and any(address in network for network in trusted):
        said = _parsed(forwarded.pop().strip())
        if said is None:
            break
        address = said
    return Origin(address)


def _parsed(text: str) -> Address | None:
    """The address, also with a port behind it, as some proxies write it: `192.0.2.7:1`, `[2001:db8::7]:1`."""
    host = text.partition(":")[0] if text.count(":") == 1 else text.partition("]")[0].removeprefix("[")
    try:
        address = ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
