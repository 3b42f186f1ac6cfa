"""From which address a request comes, by the connection and by proxies that are trusted."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest

from edge.origin import origin_of

TRUSTED = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


@pytest.mark.parametrize(
    ("client", "forwarded", "address"),
    [
        ("192.0.2.7", [], "192.0.2.7"),
        # A stranger's word about others is nobody's.
        ("192.0.2.7", ["198.51.100.1"], "192.0.2.7"),
        ("10.1.2.3", ["198.51.100.1"], "198.51.100.1"),
        ("10.1.2.3", ["203.0.113.9, 198.51.100.1"], "198.51.100.1"),
        ("10.1.2.3", ["198.51.100.1, 10.9.9.9"], "198.51.100.1"),
        ("10.1.2.3", ["203.0.113.9", "198.51.100.1"], "198.51.100.1"),
        ("10.1.2.3", ["10.9.9.9"], "10.9.9.9"),
        ("10.1.2.3", [], "10.1.2.3"),
        ("10.1.2.3", ["unknown"], "10.1.2.3"),
        ("10.1.2.3", ["198.51.100.1, , "], "10.1.2.3"),
        ("fd00::1", ["[2001:db8::7]"], "2001:db8::7"),
        # Some proxies of clouds append the port.
        ("10.1.2.3", ["198.51.100.1:50123"], "198.51.100.1"),
        ("fd00::1", ["[2001:db8::7]:50123"], "2001:db8::7"),
        ("10.1.2.3", ["203.0.113.9, 198.51.100.1:1, [::ffff:10.9.9.9]:1"], "198.51.100.1"),
        ("10.1.2.3", ["198.51.100.1, evil.example.com:1"], "10.1.2.3"),
        ("::ffff:10.1.2.3", ["198.51.100.1"], "198.51.100.1"),
        ("not an address", [], None),
        (None, ["198.51.100.1"], None),
    ],
    ids=str,
)
def test_who_is_believed(client: str | None, forwarded: list[str], address: str | None) -> None:
    """The last address that is no trusted proxy's."""
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    scope: dict[str, Any] = {"type": "http", "headers": headers, "client": None if client is None else (client, 1)}
    found = origin_of(scope, TRUSTED).address
    assert (None if found is None else str(found)) == address


def test_networks_are_counted_and_not_addresses() -> None:
    """A household has a /64 of IPv6, and whoever is behind one address of IPv4 is one anyway."""
    scope = {"type": "http", "headers": [], "client": ("2001:db8::7", 1)}
    assert origin_of(scope, ()).network == "2001:db8::/64"
    assert origin_of(scope | {"client": ("192.0.2.7", 1)}, ()).network == "192.0.2.0/24"
    assert origin_of(scope | {"client": None}, ()).network == "unknown"
