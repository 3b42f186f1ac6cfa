"""Writes settings as the `app-config.yaml` tree that they are read from: the inverse of `parse.py`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from domain.redaction import MASK
from domain.users import Tier
from settings.model import Cors, Settings
from settings.secrets import without_password

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1, "w": 7 * 86400, "mo": 30 * 86400, "y": 365 * 86400}
_MOST_OF_A_UNIT = 99999
_SUBSTITUTION = re.compile(r"\$\{[^{}]*\}")


def masked(settings: Settings) -> Settings:
    """The settings without their secrets. What stands instead is accepted where a secret is."""
    backstage, certificate = settings.backstage, settings.certificate
    return replace(
        settings,
        litellm=replace(settings.litellm, base_url=without_password(settings.litellm.base_url), master_key=MASK),
        backstage=replace(
            backstage,
            base_url=without_password(backstage.base_url),
            catalog_token=MASK if backstage.catalog_token is not None else None,
        ),
        certificate=None if certificate is None else replace(certificate, key=MASK),
        # Two services never have the same token.
        service_tokens=tuple(
            replace(service, token=f"{MASK}-token-{number}") for number, service in enumerate(settings.service_tokens)
        ),
        secret_keys=tuple(f"{MASK}-secret-key-number-{number:012}" for number in range(len(settings.secret_keys))),
        database_url=without_password(settings.database_url),
    )


def to_app_config(settings: Settings) -> dict[str, Any]:
    """The tree of these settings, under the names that an operator writes. What is not set is left out."""
    tree = {"liteLLM": _litellm(settings), "backend": _backend(settings), "litellmOrchestrator": _own(settings)}
    return dict(_without_none(tree))


def _litellm(settings: Settings) -> dict[str, Any]:
    litellm = settings.litellm
    return {
        "baseUrl": litellm.base_url,
        "publicUrl": settings.console.models_url,
        "masterKey": litellm.master_key,
        "adminGroups": list(settings.groups.admin),
        "allowedGroups": list(settings.groups.allowed),
        "auditorGroups": list(settings.groups.auditor) or None,
        "userDefaults": _tier(litellm.user_defaults),
        "groupDefaults": [{"group": tier.name} | _tier(tier) for tier in litellm.group_defaults],
    }


def _backend(settings: Settings) -> dict[str, Any]:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    certificate = settings.certificate
    pem = None if certificate is None else {"cert": certificate.chain, "key": certificate.key}
    return {
        "listen": f"{host}:{settings.port}",
        "https": None if pem is None else {"certificate": pem},
        "cors": _cors(settings.cors),
    }


def _own(settings: Settings) -> dict[str, Any]:
    backstage, cleanup, directory = settings.backstage, settings.cleanup, settings.directory
    plugins, connections = backstage.allowed_plugins, settings.connections
    return {
        "backstage": {
            "baseUrl": backstage.base_url,
            "issuer": backstage.issuer,
            "allowedPlugins": None if plugins is None else sorted(plugins),
            "catalogToken": backstage.catalog_token,
        },
        "console": {"refreshUrl": settings.console.refresh_url, "contact": settings.console.contact},
        "serviceTokens": [asdict(service) for service in settings.service_tokens],
        "timeouts": asdict(settings.timeouts),
        "circuitBreaker": asdict(settings.circuit_breaker),
        "connections": {
            "head": connections.head_seconds,
            "body": connections.body_seconds,
            "max": connections.max_connections,
        },
        "membership": settings.membership,
        "membershipSeconds": settings.membership_seconds,
        "membershipStaleSeconds": settings.membership_stale_seconds,
        "secretKey": list(settings.secret_keys) or None,
        "includeNestedGroups": settings.include_nested_groups,
        "database": {"url": settings.database_url},
        "cleanup": {
            "enabled": cleanup.enabled,
            "interval": cleanup.interval,
            "gracePeriod": cleanup.grace_period,
            "maxRemovals": cleanup.max_removals,
            "maxDeletions": cleanup.max_deletions,
            "deleteForeign": cleanup.delete_foreign,
            "orphans": cleanup.orphans,
        },
        "directory": {
            "fullSweepUsers": directory.full_sweep_users,
            "maxAge": directory.max_age,
            "maxPages": directory.max_pages,
        },
        "rateLimit": {
            "createsPerMinute": settings.creates_per_minute,
            "changesPerMinute": settings.changes_per_minute,
            "refusalsPerMinute": settings.refusals_per_minute,
        },
        "audit": {"retentionDays": round(settings.audit_retention / 86400)},
        "maintenanceInterval": settings.maintenance_interval,
        "knownUserSeconds": settings.known_user_seconds,
        "effectiveWithinSeconds": settings.effective_within_seconds,
    }


def _cors(cors: Cors) -> dict[str, Any]:
    return {
        "origin": list(cors.origins),
        "methods": list(cors.methods),
        "allowedHeaders": list(cors.allowed_headers),
        "exposedHeaders": list(cors.exposed_headers),
        "credentials": cors.credentials,
        "maxAge": cors.max_age,
    }


def _tier(tier: Tier) -> dict[str, Any]:
    return {
        "maxBudget": tier.max_budget,
        "budgetDuration": tier.budget_duration,
        "models": list(tier.models),
        "tpmLimit": tier.tpm_limit,
        "rpmLimit": tier.rpm_limit,
        "maxKeys": tier.max_keys,
        "maxKeyDuration": _duration(tier.max_key_life),
    }


def _duration(seconds: int | None) -> str | None:
    if seconds is None:
        return None
    counts = {unit: divmod(seconds, length) for unit, length in _UNITS.items()}
    return next(f"{count}{unit}" for unit, (count, rest) in counts.items() if not rest and count <= _MOST_OF_A_UNIT)


def _without_none(value: Any) -> Any:
    """`value` without what is None, and with texts that would not be read as a substitution."""
    if isinstance(value, Mapping):
        return {name: _without_none(part) for name, part in value.items() if part is not None}
    if isinstance(value, list):
        return [_without_none(part) for part in value]
    return _SUBSTITUTION.sub(lambda found: f"${found[0]}", value) if isinstance(value, str) else value
