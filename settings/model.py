"""Typed settings, built from a checked `app-config.yaml` tree.

`schema.json` is the one description of what is read; the README documents every key of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote

from settings.problems import port_of, problems_of

_DEFAULT_PORT = 7007
PLUGIN_DATABASE = "backstage_plugin_litellm-orchestrator"
"""What Backstage calls a plugin's database."""

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "mo": 30 * 86400}
_EMBEDDED_DATABASE = "sqlite+aiosqlite:///litellm-orchestrator.sqlite3"
_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg"}

MembershipSource = Literal["token", "catalog"]
ServiceRole = Literal["member", "admin"]


class SettingsError(Exception):
    """Settings that the service cannot run with. `problems` has one sentence for each, all of them."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Tier:
    """What a new user gets, and what their keys may have at most.

    USD, LiteLLM's durations, rates a minute, seconds. None, and no `models`, is no limit. `name` is the full ref of the
    group whose it is, in lower case, or `userDefaults`.
    """

    name: str = "userDefaults"
    max_budget: float | None = None
    budget_duration: str | None = None
    models: tuple[str, ...] = ()
    tpm_limit: int | None = None
    rpm_limit: int | None = None
    max_keys: int | None = None
    max_key_life: int | None = None


@dataclass(frozen=True)
class LiteLLMSettings:
    """Where LiteLLM is, and what a new user gets: the first of `group_defaults` whose group they are in, or else."""

    base_url: str
    master_key: str = field(repr=False)
    user_defaults: Tier = Tier()
    group_defaults: tuple[Tier, ...] = ()


@dataclass(frozen=True)
class BackstageSettings:
    """Where Backstage's auth and catalog are, and how to speak to them."""

    base_url: str
    issuer: str | None = None
    catalog_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class ServiceToken:
    """A caller that is no Backstage user."""

    token: str = field(repr=False)
    subject: str
    role: ServiceRole


@dataclass(frozen=True)
class Timeouts:
    """Seconds; `deadline` bounds one call to an upstream in all, retries included."""

    connect: float = 2.0
    read: float = 8.0
    pool: float = 2.0
    deadline: float = 10.0


@dataclass(frozen=True)
class Cors:
    """What browsers on other origins may do. No origins: nothing. `max_age` is seconds."""

    origins: tuple[str, ...] = ()
    methods: tuple[str, ...] = ("GET", "HEAD", "PUT", "PATCH", "POST", "DELETE")
    allowed_headers: tuple[str, ...] = ("Authorization", "Content-Type", "Idempotency-Key", "If-Match", "X-Request-Id")
    exposed_headers: tuple[str, ...] = ()
    credentials: bool = False
    max_age: int = 600


@dataclass(frozen=True)
class CleanupSettings:
    """How users who left are removed. Seconds; `max_removals` None is the larger of 10 users and 10 %."""

    enabled: bool = True
    interval: float = 300.0
    grace_period: float = 0.0
    max_removals: int | None = None


@dataclass(frozen=True)
class Settings:
    """Everything that an operator decides. Group refs are full and in lower case; `database_url` is SQLAlchemy's.

    `audit_retention` and `maintenance_interval` are in seconds; an interval of 0 is never.
    """

    litellm: LiteLLMSettings
    backstage: BackstageSettings
    admin_group: str
    allowed_group: str
    host: str = "127.0.0.1"
    port: int = _DEFAULT_PORT
    cors: Cors = Cors()
    service_tokens: tuple[ServiceToken, ...] = ()
    timeouts: Timeouts = Timeouts()
    known_user_seconds: float = 300.0
    membership: MembershipSource = "token"
    membership_seconds: float = 60.0
    include_nested_groups: bool = True
    database_url: str = field(default=_EMBEDDED_DATABASE, repr=False)
    cleanup: CleanupSettings = CleanupSettings()
    creates_per_minute: int = 30
    audit_retention: float = 365 * 86400.0
    maintenance_interval: float = 10.0


def from_app_config(tree: Mapping[str, Any]) -> Settings:
    """Check `tree` and build settings from it. Raises SettingsError with every problem at once."""
    problems = sorted(set(problems_of(tree)))
    if problems:
        raise SettingsError(problems)
    litellm, backend = tree["liteLLM"], tree.get("backend", {})
    ours = tree.get("litellmOrchestrator", {})
    backstage, defaults = ours.get("backstage", {}), litellm.get("userDefaults", {})
    host, port = _listen(backend.get("listen"))
    return Settings(
        litellm=LiteLLMSettings(
            base_url=litellm["baseUrl"].rstrip("/"),
            master_key=litellm["masterKey"],
            user_defaults=_tier(defaults),
            group_defaults=tuple(_tier(defaults | row) for row in litellm.get("groupDefaults", [])),
        ),
        backstage=BackstageSettings(
            base_url=backstage.get("baseUrl", backend.get("baseUrl")).rstrip("/"),
            issuer=backstage.get("issuer"),
            catalog_token=backstage.get("catalogToken"),
        ),
        admin_group=full_group_ref(litellm["adminGroup"]),
        allowed_group=full_group_ref(litellm["allowedGroup"]),
        host=host,
        port=port,
        cors=_cors(backend.get("cors", {})),
        service_tokens=tuple(ServiceToken(**row) for row in ours.get("serviceTokens", [])),
        timeouts=Timeouts(**ours.get("timeouts", {})),
        known_user_seconds=ours.get("knownUserSeconds", Settings.known_user_seconds),
        membership=ours.get("membership", Settings.membership),
        membership_seconds=ours.get("membershipSeconds", Settings.membership_seconds),
        include_nested_groups=ours.get("includeNestedGroups", Settings.include_nested_groups),
        database_url=_database_url(ours.get("database", {}).get("url"), backend.get("database", {})),
        cleanup=_cleanup(ours.get("cleanup", {})),
        creates_per_minute=ours.get("rateLimit", {}).get("createsPerMinute", Settings.creates_per_minute),
        audit_retention=ours.get("audit", {}).get("retentionDays", Settings.audit_retention / 86400) * 86400.0,
        maintenance_interval=ours.get("maintenanceInterval", Settings.maintenance_interval),
    )


def full_group_ref(ref: str) -> str:
    """`ref` in full and in lower case: `admins` is `group:default/admins`.

    Backstage fills in kind and namespace the same way where a field is known to name a group
    (https://backstage.io/docs/features/software-catalog/references).
    """
    kind, _, rest = ref.rpartition(":")
    namespace, _, name = rest.rpartition("/")
    return f"{kind or 'group'}:{namespace or 'default'}/{name}".lower()


def litellm_duration(duration: str | None) -> str | None:
    """`duration` as LiteLLM takes it: it refuses years and several months, so `1y` is `365d` and `3mo` is `90d`."""
    if duration is None:
        return None
    match = re.fullmatch(r"(\d+)(\D+)", duration)
    count, unit = (int(match[1]), match[2]) if match else (0, "")
    if unit == "y":
        return f"{count * 365}d"
    if unit == "mo" and count > 1:
        return f"{count * 30}d"
    return duration


def _listen(listen: Any) -> tuple[str, int]:
    """Host and port; Backstage's `:7007` means every address (https://backstage.io/docs/conf/writing/)."""
    port = port_of(listen)
    host = listen.get("host", "") if isinstance(listen, dict) else (listen or "127.0.0.1:").rpartition(":")[0]
    return host.strip("[]") or "0.0.0.0", _DEFAULT_PORT if port is None else port  # noqa: S104


def _database_url(given: str | None, backstages: Mapping[str, Any]) -> str:
    """SQLAlchemy's URL for our own setting, or for Backstage's `backend.database` where that is PostgreSQL."""
    if given is None and backstages.get("client") == "pg":
        connection = backstages.get("connection", {})
        if isinstance(connection, str):
            given = connection
        else:
            user, password = quote(connection.get("user", "postgres"), ""), quote(connection.get("password", ""), "")
            address = f"{connection.get('host', 'localhost')}:{connection.get('port', 5432)}"
            given = f"postgresql://{user}:{password}@{address}/{connection.get('database', PLUGIN_DATABASE)}"
    if given is None:
        return _EMBEDDED_DATABASE
    scheme, _, rest = given.partition("://")
    return f"{_DRIVERS[scheme.partition('+')[0]]}://{rest}"


def _tier(tier: Mapping[str, Any]) -> Tier:
    return Tier(
        name=full_group_ref(tier["group"]) if "group" in tier else Tier.name,
        max_budget=tier.get("maxBudget"),
        budget_duration=litellm_duration(tier.get("budgetDuration")),
        models=tuple(tier.get("models", ())),
        tpm_limit=tier.get("tpmLimit"),
        rpm_limit=tier.get("rpmLimit"),
        max_keys=tier.get("maxKeys"),
        max_key_life=_seconds(tier.get("maxKeyDuration")),
    )


def _seconds(duration: str | None) -> int | None:
    if duration is None:
        return None
    match = re.fullmatch(r"(\d+)(\D+)", litellm_duration(duration) or "")
    assert match is not None  # the schema has it so
    return int(match[1]) * _SECONDS[match[2]]


def _cleanup(cleanup: Mapping[str, Any]) -> CleanupSettings:
    return CleanupSettings(
        enabled=cleanup.get("enabled", CleanupSettings.enabled),
        interval=cleanup.get("interval", CleanupSettings.interval),
        grace_period=cleanup.get("gracePeriod", CleanupSettings.grace_period),
        max_removals=cleanup.get("maxRemovals"),
    )


def _cors(cors: Mapping[str, Any]) -> Cors:
    def strings(key: str, fallback: tuple[str, ...]) -> tuple[str, ...]:
        given = cors.get(key)
        return fallback if given is None else (given,) if isinstance(given, str) else tuple(given)

    return Cors(
        origins=strings("origin", Cors.origins),
        methods=strings("methods", Cors.methods),
        allowed_headers=strings("allowedHeaders", Cors.allowed_headers),
        exposed_headers=strings("exposedHeaders", Cors.exposed_headers),
        credentials=cors.get("credentials", Cors.credentials),
        max_age=cors.get("maxAge", Cors.max_age),
    )
