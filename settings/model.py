"""Typed settings: everything that an operator decides."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from domain.identity import GroupRefs, ServiceRole
from domain.users import Tier

DEFAULT_PORT = 7007
EMBEDDED_DATABASE = "sqlite+aiosqlite:///litellm-orchestrator.sqlite3"

MembershipSource = Literal["token", "catalog"]
Orphans = Literal["keep", "leave"]


@dataclass(frozen=True)
class LiteLLMSettings:
    """Where LiteLLM is, and the tiers: the first of `group_defaults` whose group a user is in, else `user_defaults`."""

    base_url: str
    master_key: str = field(repr=False)
    user_defaults: Tier = field(default_factory=Tier)
    group_defaults: tuple[Tier, ...] = ()

    @property
    def tiers(self) -> tuple[Tier, ...]:
        """All tiers."""
        return (*self.group_defaults, self.user_defaults)


@dataclass(frozen=True)
class BackstageSettings:
    """Where Backstage's auth and catalog are. `allowed_plugins` lists the plugins that may call; None means any."""

    base_url: str
    issuer: str | None = None
    catalog_token: str | None = field(default=None, repr=False)
    allowed_plugins: frozenset[str] | None = None


@dataclass(frozen=True)
class ConsoleSettings:
    """What the console says and does before anybody signs in.

    `models_url` is where people call models. At `refresh_url` Backstage renews a browser's token. `contact` says whom
    to ask for access.
    """

    models_url: str | None = None
    refresh_url: str | None = None
    contact: str | None = None


@dataclass(frozen=True)
class ServiceToken:
    """A caller that is not a Backstage user. `subject` is in lower case."""

    token: str = field(repr=False)
    subject: str
    role: ServiceRole


@dataclass(frozen=True)
class Timeouts:
    """Seconds. `deadline` bounds one call to an upstream, including retries."""

    connect: float = 2.0
    read: float = 8.0
    pool: float = 2.0
    deadline: float = 10.0


@dataclass(frozen=True)
class CircuitSettings:
    """After `failures` in a row, calls to an upstream are paused for `seconds`. 0 failures means never."""

    failures: int = 10
    seconds: float = 5.0


@dataclass(frozen=True)
class ConnectionLimits:
    """What a caller's connection may do. Seconds for the path and headers of a request, and for its body.

    Above `max_connections`, for each process, requests are refused, except for the probes.
    """

    head_seconds: float = 10.0
    body_seconds: float = 30.0
    max_connections: int = 1000


@dataclass(frozen=True)
class Certificate:
    """The TLS certificate of this service, with its chain, and its key, both in PEM."""

    chain: str
    key: str = field(repr=False)


@dataclass(frozen=True)
class Cors:
    """What browsers on other origins may do. Without origins, nothing. `max_age` is in seconds."""

    origins: tuple[str, ...] = ()
    methods: tuple[str, ...] = ("GET", "HEAD", "PUT", "PATCH", "POST", "DELETE")
    allowed_headers: tuple[str, ...] = (
        "Authorization",
        "Content-Type",
        "Idempotency-Key",
        "If-Match",
        "If-None-Match",
        "X-Request-Id",
    )
    exposed_headers: tuple[str, ...] = ()
    credentials: bool = False
    max_age: int = 600


@dataclass(frozen=True)
class CleanupSettings:
    """How users who left are removed. Times are in seconds.

    `max_removals` None is the larger of 10 users and 10 %, `max_deletions` None the larger of 3 users and 10 %.
    `orphans` says whether users whom the catalog has only as orphans count as present.
    """

    enabled: bool = True
    interval: float = 300.0
    grace_period: float = 7 * 86400.0
    max_removals: int | None = None
    max_deletions: int | None = None
    delete_foreign: bool = False
    orphans: Orphans = "keep"


@dataclass(frozen=True)
class DirectorySettings:
    """How the directory of users is kept.

    Up to `full_sweep_users` are read at each run. More than that are read in a rolling sweep: every user within
    `max_age` seconds, as far as `max_pages` pages at each run suffice for that.
    """

    full_sweep_users: int = 5000
    max_age: float = 3600.0
    max_pages: int = 200


@dataclass(frozen=True)
class Settings:
    """All settings. `database_url` is SQLAlchemy's.

    `known_user_seconds`, `membership_seconds`, `membership_stale_seconds`, `audit_retention` and `maintenance_interval`
    are in seconds; an interval of 0 means never. `effective_within_seconds` is how long a LiteLLM that was not told
    still accepts a key. `membership` None is the catalog if there is a token for it. Of
    `secret_keys`, the first seals what is kept, and each opens it; without any the master key does both.
    """

    litellm: LiteLLMSettings
    backstage: BackstageSettings
    groups: GroupRefs
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    certificate: Certificate | None = None
    cors: Cors = Cors()
    console: ConsoleSettings = ConsoleSettings()
    service_tokens: tuple[ServiceToken, ...] = ()
    secret_keys: tuple[str, ...] = field(default=(), repr=False)
    timeouts: Timeouts = Timeouts()
    circuit_breaker: CircuitSettings = CircuitSettings()
    connections: ConnectionLimits = ConnectionLimits()
    known_user_seconds: float = 300.0
    effective_within_seconds: int = 60
    membership: MembershipSource | None = None
    membership_seconds: float = 60.0
    membership_stale_seconds: float = 600.0
    include_nested_groups: bool = True
    database_url: str = field(default=EMBEDDED_DATABASE, repr=False)
    cleanup: CleanupSettings = CleanupSettings()
    directory: DirectorySettings = DirectorySettings()
    creates_per_minute: int = 30
    changes_per_minute: int = 120
    refusals_per_minute: int = 30
    audit_retention: float = 365 * 86400.0
    maintenance_interval: float = 10.0

    @property
    def asks_catalog(self) -> bool:
        """Whether the catalog says who is in which group, as it does for the cleanup, and not the token."""
        if self.membership is None:
            return self.backstage.catalog_token is not None
        return self.membership == "catalog"
