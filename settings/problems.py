"""Checks an `app-config.yaml` tree against the schema of the settings and the rules that a schema cannot express."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from typing import Any

import jsonschema
from jsonschema.validators import extend

from settings.forms import DURATION, seconds
from settings.model import OtherForms, Settings
from settings.tree import find, full_match, rows_of, schema
from settings.workloads import problems_of_workloads

_DECIDED_HERE = ("kind", "metadata.name", "metadata.namespace", "relations.ownedby", "relations.childof")
"""What this service asks for beside the filter. The catalog takes two conditions with one key for alternatives."""

_LIVES = {"keyLife": ("5m", "7d"), "sessionLife": ("1h", "1y")}


def _is_number(_: Any, instance: Any) -> bool:
    """As in JSON: YAML has infinities, and what is no number, too."""
    is_written = isinstance(instance, int | float) and not isinstance(instance, bool)
    return is_written and (isinstance(instance, int) or math.isfinite(instance))


_Validator: Any = extend(  # type: ignore[no-untyped-call]  # jsonschema's
    jsonschema.Draft7Validator,
    {"pattern": full_match},
    type_checker=jsonschema.Draft7Validator.TYPE_CHECKER.redefine("number", _is_number),
)
_SCHEMA = _Validator(schema(OtherForms, Settings))


def problems_of(tree: Mapping[str, Any]) -> Iterator[str]:
    """One sentence for each problem. A sentence never repeats a value: it may be a secret."""
    for error in _SCHEMA.iter_errors(tree):
        yield _sentence(error)
    backstage = find(tree, "litellmOrchestrator", "backstage", "baseUrl") or find(tree, "backend", "baseUrl")
    if not backstage:
        yield "litellmOrchestrator.backstage.baseUrl: missing; set it or backend.baseUrl to Backstage's address"
    yield from _missing_groups(find(tree, "liteLLM"))
    if (port := port_of(find(tree, "backend", "listen"))) is not None and port > 65535:
        yield "backend.listen: expected a port of at most 65535"
    ours, database = find(tree, "litellmOrchestrator"), find(tree, "backend", "database")
    if isinstance(own := find(ours, "database"), dict) and "url" not in own:
        yield "litellmOrchestrator.database.url: missing"
    connection = find(database, "connection")
    is_url = isinstance(connection, str) and connection.startswith(("postgres://", "postgresql://"))
    if find(database, "client") == "pg" and isinstance(connection, str) and not is_url:
        yield "backend.database.connection: expected a postgresql:// URL, or an object"
    if find(ours, "membership") == "catalog" and not find(ours, "backstage", "catalogToken"):
        yield "litellmOrchestrator.backstage.catalogToken: missing; membership: catalog needs it"
    yield from _problems_of_owners(ours)
    yield from problems_of_workloads(ours)
    yield from _problems_of_devices(ours)
    tokens = [row.get("token") for row in rows_of(ours, "serviceTokens") if isinstance(row, dict)]
    if len(set(map(str, tokens))) != len(tokens):
        yield "litellmOrchestrator.serviceTokens: the same token appears twice"


def _problems_of_owners(ours: Any) -> Iterator[str]:
    owners = rows_of(ours, "owners")
    if owners and not find(ours, "backstage", "catalogToken"):
        yield "litellmOrchestrator.backstage.catalogToken: missing; owners need it"
    for number, entry in enumerate(owners):
        given = find(entry, "filter")
        for name in given if isinstance(given, dict) else ():
            if str(name).lower() in _DECIDED_HERE:
                yield f"litellmOrchestrator.owners[{number}].filter: {name} is not for a filter of owners"


def _problems_of_devices(ours: Any) -> Iterator[str]:
    proxies = find(ours, "trustedProxies")
    for number, given in enumerate([proxies] if isinstance(proxies, str) else rows_of(ours, "trustedProxies")):
        try:
            ip_network(str(given), strict=False)
        except ValueError:
            yield f"litellmOrchestrator.trustedProxies[{number}]: expected an address or a network such as 10.0.0.0/8"
    for name, (shortest, longest) in _LIVES.items():
        life = find(ours, "cli", name)
        if _is_duration(life) and not seconds(shortest) <= seconds(life) <= seconds(longest):
            yield f"litellmOrchestrator.cli.{name}: expected a duration from {shortest} to {longest}"


def _is_duration(given: Any) -> bool:
    return isinstance(given, str) and re.fullmatch(DURATION, given) is not None


def _missing_groups(litellm: Any) -> Iterator[str]:
    for group in ("allowedGroup", "adminGroup"):
        if isinstance(litellm, dict) and group not in litellm and f"{group}s" not in litellm:
            yield f"liteLLM.{group}: missing; set it or {group}s"


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
        "anyOf": "expected one of the forms in docs/settings.md",
    }.get(str(error.validator), f"expected {error.validator} {rule}")
    return f"{path}: {expected}"


def port_of(listen: Any) -> int | None:
    """The port of `backend.listen` in any of its forms."""
    if isinstance(listen, dict):
        listen = f":{listen.get('port', '')}"
    text = listen.rpartition(":")[2] if isinstance(listen, str) else ""
    return int(text) if text.isdecimal() else None
