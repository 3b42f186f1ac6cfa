"""Typed settings, built from a checked `app-config.yaml` tree.

`settings.schema.json` is the one description of what is read; the README documents every key of it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import jsonschema

_SCHEMA: dict[str, Any] = json.loads((Path(__file__).parent / "settings.schema.json").read_text(encoding="utf-8"))
_DEFAULT_PORT = 7007
PLUGIN_DATABASE = "backstage_plugin_litellm-orchestrator"
"""What Backstage calls a plugin's database."""

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
class LiteLLMSettings:
    """Where LiteLLM is, and what a new user gets. `max_budget` is USD; None is no limit."""

    base_url: str
    master_key: str = field(repr=False)
    max_budget: float | None = None
    budget_duration: str | None = None


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
    allowed_headers: tuple[str, ...] = ("Authorization", "Content-Type", "X-Request-Id")
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
    """Everything that an operator decides. Group refs are full and in lower case; `database_url` is SQLAlchemy's."""

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


def from_app_config(tree: Mapping[str, Any]) -> Settings:
    """Check `tree` and build settings from it. Raises SettingsError with every problem at once."""
    problems = sorted(set(_problems(tree)))
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
            max_budget=defaults.get("maxBudget"),
            budget_duration=litellm_duration(defaults.get("budgetDuration")),
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


def _problems(tree: Mapping[str, Any]) -> Iterator[str]:
    for error in jsonschema.Draft7Validator(_SCHEMA).iter_errors(tree):
        yield _sentence(error)
    backstage = _get(tree, "litellmOrchestrator", "backstage", "baseUrl") or _get(tree, "backend", "baseUrl")
    if not backstage:
        yield "litellmOrchestrator.backstage.baseUrl: missing, as is backend.baseUrl; one must say where Backstage is"
    budget = _get(tree, "liteLLM", "userDefaults", "maxBudget")
    if isinstance(budget, float) and not math.isfinite(budget):
        yield "liteLLM.userDefaults.maxBudget: expected a finite number of USD"
    if (port := _port_of(_get(tree, "backend", "listen"))) is not None and port > 65535:
        yield "backend.listen: expected a port of at most 65535"
    database = _get(tree, "backend", "database")
    connection = _get(database, "connection")
    is_url = isinstance(connection, str) and connection.startswith(("postgres://", "postgresql://"))
    if _get(database, "client") == "pg" and isinstance(connection, str) and not is_url:
        yield "backend.database.connection: expected a postgresql:// URL, or an object"
    if _get(tree, "litellmOrchestrator", "membership") == "catalog" and not _catalog_token(tree):
        yield "litellmOrchestrator.backstage.catalogToken: missing, and membership: catalog needs it"
    services = _get(tree, "litellmOrchestrator", "serviceTokens")
    tokens = [row.get("token") for row in services if isinstance(row, dict)] if isinstance(services, list) else []
    if len(set(map(str, tokens))) != len(tokens):
        yield "litellmOrchestrator.serviceTokens: each token may be given once"


def _catalog_token(tree: Any) -> Any:
    return _get(tree, "litellmOrchestrator", "backstage", "catalogToken")


def _get(tree: Any, *path: str) -> Any:
    for key in path:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def _sentence(error: jsonschema.ValidationError) -> str:
    """One line for `error` that names the setting and what was expected, and never the value: it may be a secret."""
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path).lstrip(".")
    schema = error.schema if isinstance(error.schema, dict) else {}
    rule: Any = error.validator_value
    instance: Any = error.instance
    if error.validator == "required":
        missing = [key for key in rule if key not in instance]
        return f"{', '.join('.'.join(filter(None, [path, key])) for key in missing)}: missing"
    if error.validator == "additionalProperties":
        known = schema.get("properties", {})
        unknown = sorted(set(instance) - set(known))
        return f"{path}: unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}"
    expected = {
        "type": f"expected {rule}",
        "enum": f"expected one of {rule}",
        "pattern": f"expected a match of {rule}",
        "minLength": f"expected at least {rule} characters",
        "oneOf": "expected one of the forms that the README shows",
    }.get(str(error.validator), f"expected {error.validator} {rule}")
    return f"{path}: {expected}"


def _port_of(listen: Any) -> int | None:
    if isinstance(listen, dict):
        listen = f":{listen.get('port', '')}"
    text = listen.rpartition(":")[2] if isinstance(listen, str) else ""
    return int(text) if text.isdecimal() else None


def _listen(listen: Any) -> tuple[str, int]:
    """Host and port; Backstage's `:7007` means every address (https://backstage.io/docs/conf/writing/)."""
    port = _port_of(listen)
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
