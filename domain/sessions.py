"""Devices that a person signs in: their codes (RFC 8628), and the sessions that these become."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_network

BUILT_IN_CLIENT = "litellm-key"
"""The `client_id` of the command line that comes with this service."""
CODE_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
"""Of user codes (RFC 8628, section 6.1): no vowels, so no words, and nothing that looks like a digit."""
CODE_LENGTH = 8
_NEIGHBOURS = {4: 24, 6: 64}
"""By the version of an address: how many bits of it name the network."""

Address = IPv4Address | IPv6Address


class CodeState(StrEnum):
    """What became of a device code."""

    PENDING = "pending"
    APPROVED = "approved"
    REFUSED = "refused"
    SIGNED_IN = "signed-in"


@dataclass(frozen=True, slots=True)
class Origin:
    """From which address a request comes, None if that is not known."""

    address: Address | None = None

    @property
    def network(self) -> str:
        """The network around it, under which requests are counted: /24 for IPv4, /64 for IPv6."""
        return "unknown" if self.address is None else network_of(self.address)


@dataclass(frozen=True, slots=True)
class Device:
    """What asks to be signed in: the name by which its program asks, its own words, and its network address."""

    client_id: str
    name: str | None
    tool: str | None
    address: str | None

    @property
    def words(self) -> str:
        """Its own words, for the alias of its keys."""
        return " ".join(filter(None, (self.name, self.tool))) or self.client_id


@dataclass(frozen=True, slots=True)
class CodeDecision:
    """What `principal` decided about a device: see `DeviceCode`."""

    state: CodeState
    principal: str
    owner: str | None = None
    life: float | None = None
    session_id: str | None = None


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """A device that asks. Times are in seconds since the epoch, `age` and `left` in seconds from now on.

    `principal` decided it. If it is approved, the device gets keys of `owner`, in the session `session_id`, which lasts
    `life` seconds from its last use on.
    """

    device_hash: str
    device: Device
    created_at: float
    expires_at: float
    age: float
    left: float
    state: CodeState
    principal: str | None = None
    owner: str | None = None
    life: float | None = None
    session_id: str | None = None

    @property
    def is_over(self) -> bool:
        """Whether it is too late for it."""
        return self.left <= 0


@dataclass(frozen=True, slots=True)
class Session:
    """A signed-in device. Times are in seconds since the epoch, `life` in seconds, `left` in seconds from now on.

    `principal` signed it in, and it gets keys of `owner`. `living_keys` have not ended.
    """

    id: str
    principal: str
    owner: str
    device: Device
    life: float
    created_at: float
    used_at: float
    expires_at: float
    left: float
    is_ended: bool = False
    living_keys: int = 0


@dataclass(frozen=True, slots=True)
class DeviceAuthorization:
    """The codes of a device that asks, and where its person enters theirs. Times are in seconds."""

    device_code: str = field(repr=False)
    user_code: str = field(repr=False)
    verification_uri: str
    verification_uri_complete: str = field(repr=False)
    expires_in: int
    interval: int


@dataclass(frozen=True, slots=True)
class SessionTokens:
    """What a session gives: a key until `key_ends_at`, and what renews it; in seconds since the epoch."""

    session_id: str
    key: str = field(repr=False)
    key_ends_at: float
    refresh_token: str = field(repr=False)
    session_ends_at: float


def plain_code(given: str) -> str:
    """A user code as it is compared, however somebody typed it."""
    return re.sub(r"[^A-Z]", "", given.upper())


def shown_code(code: str) -> str:
    """A user code as a device shows it: `WDJB-MJHT`."""
    half = CODE_LENGTH // 2
    return f"{code[:half]}-{code[half:]}"


def source_of_session(session_id: str) -> str:
    """The source of a session's keys, and the actor of their creation."""
    return f"device:{session_id}"


def session_of_source(source: str) -> str | None:
    """The id of the session whose keys have this source; None for those of workloads."""
    kind, _, session_id = source.partition(":")
    return session_id if kind == "device" else None


def network_of(address: Address) -> str:
    """The network around an address."""
    return str(ip_network(f"{address}/{_NEIGHBOURS[address.version]}", strict=False))
