"""Checks an `app-config.yaml` tree against `schema.json` and the rules that a schema cannot express."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema

_SCHEMA: dict[str, Any] = json.loads((Path(__file__).parent / "schema.json").read_text(encoding="utf-8"))


def problems_of(tree: Mapping[str, Any]) -> Iterator[str]:
    """One sentence for each problem. A sentence never repeats a value: it may be a secret."""
    for error in jsonschema.Draft7Validator(_SCHEMA).iter_errors(tree):
        yield _sentence(error)
    backstage = _get(tree, "litellmOrchestrator", "backstage", "baseUrl") or _get(tree, "backend", "baseUrl")
    if not backstage:
        yield "litellmOrchestrator.backstage.baseUrl: missing; set it or backend.baseUrl to Backstage's address"
    yield from _missing_groups(_get(tree, "liteLLM"))
    for name, tier in _tiers(tree):
        budget = _get(tier, "maxBudget")
        if isinstance(budget, float) and not math.isfinite(budget):
            yield f"{name}.maxBudget: expected a finite number of USD"
    if (port := port_of(_get(tree, "backend", "listen"))) is not None and port > 65535:
        yield "backend.listen: expected a port of at most 65535"
    database = _get(tree, "backend", "database")
    connection = _get(database, "connection")
    is_url = isinstance(connection, str) and connection.startswith(("postgres://", "postgresql://"))
    if _get(database, "client") == "pg" and isinstance(connection, str) and not is_url:
        yield "backend.database.connection: expected a postgresql:// URL, or an object"
    if _get(tree, "litellmOrchestrator", "membership") == "catalog" and not _catalog_token(tree):
        yield "litellmOrchestrator.backstage.catalogToken: missing; membership: catalog needs it"
    services = _get(tree, "litellmOrchestrator", "serviceTokens")
    tokens = [row.get("token") for row in services if isinstance(row, dict)] if isinstance(services, list) else []
    if len(set(map(str, tokens))) != len(tokens):
        yield "litellmOrchestrator.serviceTokens: the same token appears twice"


def _missing_groups(litellm: Any) -> Iterator[str]:
    for group in ("allowedGroup", "adminGroup"):
        if isinstance(litellm, dict) and group not in litellm and f"{group}s" not in litellm:
            yield f"liteLLM.{group}: missing; set it or {group}s"


def _tiers(tree: Any) -> Iterator[tuple[str, Any]]:
    yield "liteLLM.userDefaults", _get(tree, "liteLLM", "userDefaults")
    groups = _get(tree, "liteLLM", "groupDefaults")
    for number, tier in enumerate(groups if isinstance(groups, list) else []):
        yield f"liteLLM.groupDefaults[{number}]", tier


def _catalog_token(tree: Any) -> Any:
    return _get(tree, "litellmOrchestrator", "backstage", "catalogToken")


def _get(tree: Any, *path: str) -> Any:
    for key in path:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def _sentence(error: jsonschema.ValidationError) -> str:
    """One line that names the setting and what was expected."""
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
        "oneOf": "expected one of the forms in docs/settings.md",
    }.get(str(error.validator), f"expected {error.validator} {rule}")
    return f"{path}: {expected}"


def port_of(listen: Any) -> int | None:
    """The port of `backend.listen` in any of its forms."""
    if isinstance(listen, dict):
        listen = f":{listen.get('port', '')}"
    text = listen.rpartition(":")[2] if isinstance(listen, str) else ""
    return int(text) if text.isdecimal() else None
