"""Builds typed settings from a checked `app-config.yaml` tree.

`schema.json` describes everything that is read; `docs/settings.md` documents every key of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from domain.identity import GroupRefs
from domain.refs import EntityRef, canonical
from domain.users import Tier
from settings.model import (
    DEFAULT_PORT,
    EMBEDDED_DATABASE,
    BackstageSettings,
    Certificate,
    CircuitSettings,
    CleanupSettings,
    ConnectionLimits,
    ConsoleSettings,
    Cors,
    DirectorySettings,
    LiteLLMSettings,
    ServiceToken,
    Settings,
    Timeouts,
)
from settings.problems import port_of, problems_of

PLUGIN_DATABASE = "backstage_plugin_litellm-orchestrator"
"""The name that Backstage gives to the plugin's database."""

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "mo": 30 * 86400}
_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg"}


class SettingsError(Exception):
    """The service cannot run with these settings. `problems` has one sentence for each problem."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def from_app_config(tree: Mapping[str, Any]) -> Settings:
    """Checks `tree` and builds settings from it. Raises SettingsError with all problems at once."""
    problems = sorted(set(problems_of(tree)))
    if problems:
        raise SettingsError(problems)
    litellm, backend = tree["liteLLM"], tree.get("backend", {})
    ours = tree.get("litellmOrchestrator", {})
    rates = ours.get("rateLimit", {})
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
            allowed_plugins=frozenset(plugins) if (plugins := backstage.get("allowedPlugins")) is not None else None,
        ),
        groups=GroupRefs(
            allowed=_groups(litellm, "allowedGroup"),
            admin=_groups(litellm, "adminGroup"),
            auditor=_groups(litellm, "auditorGroup"),
        ),
        host=host,
        port=port,
        certificate=_certificate(backend.get("https")),
        cors=_cors(backend.get("cors", {})),
        console=ConsoleSettings(
            models_url=litellm.get("publicUrl", "").rstrip("/") or None,
            refresh_url=ours.get("console", {}).get("refreshUrl"),
            contact=ours.get("console", {}).get("contact"),
        ),
        service_tokens=tuple(map(_service_token, ours.get("serviceTokens", []))),
        secret_keys=_strings(ours.get("secretKey", [])),
        timeouts=Timeouts(**ours.get("timeouts", {})),
        circuit_breaker=CircuitSettings(**ours.get("circuitBreaker", {})),
        connections=_connections(ours.get("connections", {})),
        known_user_seconds=ours.get("knownUserSeconds", Settings.known_user_seconds),
        effective_within_seconds=ours.get("effectiveWithinSeconds", Settings.effective_within_seconds),
        membership=ours.get("membership"),
        membership_seconds=ours.get("membershipSeconds", Settings.membership_seconds),
        membership_stale_seconds=ours.get("membershipStaleSeconds", Settings.membership_stale_seconds),
        include_nested_groups=ours.get("includeNestedGroups", Settings.include_nested_groups),
        database_url=_database_url(ours.get("database", {}).get("url"), backend.get("database", {})),
        cleanup=_cleanup(ours.get("cleanup", {})),
        directory=_directory(ours.get("directory", {})),
        creates_per_minute=rates.get("createsPerMinute", Settings.creates_per_minute),
        changes_per_minute=rates.get("changesPerMinute", Settings.changes_per_minute),
        refusals_per_minute=rates.get("refusalsPerMinute", Settings.refusals_per_minute),
        audit_retention=ours.get("audit", {}).get("retentionDays", Settings.audit_retention / 86400) * 86400.0,
        maintenance_interval=ours.get("maintenanceInterval", Settings.maintenance_interval),
    )


def full_group_ref(ref: str) -> str:
    """The full ref in lower case: `admins` becomes `group:default/admins`.

    Backstage completes kind and namespace the same way in fields that name a group
    (https://backstage.io/docs/features/software-catalog/references).
    """
    return str(EntityRef.parse(ref, kind="group", namespace="default"))


def _service_token(row: Mapping[str, Any]) -> ServiceToken:
    """The subject as the audit log records and finds it: like a ref, in lower case."""
    return ServiceToken(token=row["token"], subject=canonical(row["subject"]), role=row["role"])


def _groups(litellm: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """The group of the setting `name` and those of its plural, each once."""
    given = [*([litellm[name]] if name in litellm else []), *litellm.get(f"{name}s", [])]
    return tuple(dict.fromkeys(map(full_group_ref, given)))


def litellm_duration(duration: str | None) -> str | None:
    """The duration for LiteLLM, which rejects years and several months: `1y` becomes `365d`, `3mo` becomes `90d`."""
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
    """Host and port. Backstage's `:7007` means every address (https://backstage.io/docs/conf/writing/)."""
    port = port_of(listen)
    host = listen.get("host", "") if isinstance(listen, dict) else (listen or "127.0.0.1:").rpartition(":")[0]
    return host.strip("[]") or "0.0.0.0", DEFAULT_PORT if port is None else port  # noqa: S104  # as Backstage does


def _certificate(https: Any) -> Certificate | None:
    if not https:
        return None
    return Certificate(chain=https["certificate"]["cert"], key=https["certificate"]["key"])


def _database_url(given: str | None, backend_database: Mapping[str, Any]) -> str:
    """SQLAlchemy's URL for our own setting, or for Backstage's `backend.database` if that is PostgreSQL."""
    if given is None and backend_database.get("client") == "pg":
        connection = backend_database.get("connection", {})
        if isinstance(connection, str):
            given = connection
        else:
            user, password = quote(connection.get("user", "postgres"), ""), quote(connection.get("password", ""), "")
            address = f"{connection.get('host', 'localhost')}:{connection.get('port', 5432)}"
            given = f"postgresql://{user}:{password}@{address}/{connection.get('database', PLUGIN_DATABASE)}"
    if given is None:
        return EMBEDDED_DATABASE
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
    assert match is not None  # the schema guarantees it
    return int(match[1]) * _SECONDS[match[2]]


def _cleanup(cleanup: Mapping[str, Any]) -> CleanupSettings:
    return CleanupSettings(
        enabled=cleanup.get("enabled", CleanupSettings.enabled),
        interval=cleanup.get("interval", CleanupSettings.interval),
        grace_period=cleanup.get("gracePeriod", CleanupSettings.grace_period),
        max_removals=cleanup.get("maxRemovals"),
        max_deletions=cleanup.get("maxDeletions"),
        delete_foreign=cleanup.get("deleteForeign", CleanupSettings.delete_foreign),
        orphans=cleanup.get("orphans", CleanupSettings.orphans),
    )


def _directory(directory: Mapping[str, Any]) -> DirectorySettings:
    return DirectorySettings(
        full_sweep_users=directory.get("fullSweepUsers", DirectorySettings.full_sweep_users),
        max_age=directory.get("maxAge", DirectorySettings.max_age),
        max_pages=directory.get("maxPages", DirectorySettings.max_pages),
    )


def _connections(limits: Mapping[str, Any]) -> ConnectionLimits:
    return ConnectionLimits(
        head_seconds=limits.get("head", ConnectionLimits.head_seconds),
        body_seconds=limits.get("body", ConnectionLimits.body_seconds),
        max_connections=limits.get("max", ConnectionLimits.max_connections),
    )


def _cors(cors: Mapping[str, Any]) -> Cors:
    def strings(key: str, fallback: tuple[str, ...]) -> tuple[str, ...]:
        return fallback if (given := cors.get(key)) is None else _strings(given)

    return Cors(
        origins=strings("origin", Cors.origins),
        methods=strings("methods", Cors.methods),
        allowed_headers=strings("allowedHeaders", Cors.allowed_headers),
        exposed_headers=strings("exposedHeaders", Cors.exposed_headers),
        credentials=cors.get("credentials", Cors.credentials),
        max_age=cors.get("maxAge", Cors.max_age),
    )


def _strings(given: str | list[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)
