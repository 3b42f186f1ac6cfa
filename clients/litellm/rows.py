"""Turns LiteLLM's rows of users and keys into nouns, checking every field, and annotates what this service creates.

Our annotations stand in a row's metadata under ANNOTATIONS, apart from everything else: LiteLLM gives some names of
metadata a meaning (`temp_budget_increase`, `guardrails`, `tags`, ...), so a caller's own names never stand at its top.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from clients.litellm.fields import KEY_FIELDS
from domain.errors import UpstreamFaultError
from domain.keys import Key, KeyAnnotations
from domain.users import User

ANNOTATIONS = "litellm_orchestrator"
UNLIMITED_RATE = 2**53 - 1
"""A rate that nobody reaches: LiteLLM ignores a null that should clear a user's `tpm_limit` or `rpm_limit`."""
ALL_MODELS = "all-proxy-models"
"""LiteLLM's name for every model: it ignores an empty list that should clear a user's `models`."""

_KEY_ID = re.compile(r"[0-9a-f]{64}")


def user_from(row: Mapping[str, Any]) -> User:
    """Parses a row of `/user/list`. Raises UpstreamFaultError."""
    checked = _Checked(row, "user")
    models = checked.get("models", list, type(None)) or []
    metadata = checked.get("metadata", dict, type(None)) or {}
    annotations = metadata.get(ANNOTATIONS)
    tier = annotations.get("tier") if isinstance(annotations, dict) else None
    return User(
        user_id=checked.get("user_id", str),
        created_at=checked.get("created_at", str),
        max_budget=checked.get("max_budget", float, int, type(None)),
        budget_duration=checked.get("budget_duration", str, type(None)),
        spend=checked.get("spend", float, int),
        budget_reset_at=checked.get("budget_reset_at", str, type(None)),
        models=() if ALL_MODELS in models else tuple(map(str, models)),
        tpm_limit=_rate(checked.get("tpm_limit", int, type(None))),
        rpm_limit=_rate(checked.get("rpm_limit", int, type(None))),
        tier=tier if isinstance(tier, str) else None,
        display_name=checked.get("user_alias", str, type(None)),
        email=checked.get("user_email", str, type(None)),
    )


def key_from(row: Mapping[str, Any]) -> Key:
    """Parses a full row of `/key/list` and drops what a caller may not see. Raises UpstreamFaultError."""
    fields = {name: row[name] for name in _visible_fields(tuple(row), tuple(map(type, row.values())))}
    if not (is_key_id(fields.get("token")) and fields.keys() >= {"user_id", "models", "spend", "metadata"}):
        raise unexpected_response("key")
    other_metadata = dict(fields["metadata"])
    annotations = _annotations(other_metadata.pop(ANNOTATIONS, None))
    if annotations is not None:
        fields |= {"key_alias": annotations.alias, "metadata": dict(annotations.metadata)}
    return Key(
        id=fields["token"],
        owner=fields["user_id"],
        alias=fields.get("key_alias"),
        created_at=fields.get("created_at", ""),
        expires_at=_seconds(fields.get("expires")),
        is_blocked=bool(fields.get("blocked")),
        fields=fields,
        annotations=annotations,
        other_metadata=other_metadata,
    )


def annotated(annotations: KeyAnnotations, other_metadata: Mapping[str, Any]) -> dict[str, Any]:
    """A key's metadata for LiteLLM: our annotations beside what others store there."""
    written = {
        "alias": annotations.alias,
        "metadata": dict(annotations.metadata),
        "operation": annotations.operation,
    }
    optional = {"replaces": annotations.replaces, "blocked_by": annotations.blocked_by}
    given = {name: value for name, value in optional.items() if value is not None}
    return {**other_metadata, ANNOTATIONS: written | given}


def is_key_id(value: Any) -> bool:
    """Whether `value` has the form of a key's hash."""
    return isinstance(value, str) and _KEY_ID.fullmatch(value) is not None


def unexpected_response(expected: str) -> UpstreamFaultError:
    """The error for a response whose form this service does not know. `expected` is a noun without an article."""
    return UpstreamFaultError(f"LiteLLM returned an unexpected response (expected: {expected})")


@lru_cache(maxsize=1024)
def _visible_fields(names: tuple[str, ...], types: tuple[type, ...]) -> tuple[str, ...]:
    """The names that a caller may see in a row of this shape. Raises UpstreamFaultError if a field has a wrong type.

    Rows come in few shapes, so each shape is checked once and not each row.
    """
    for name, kind in zip(names, types, strict=True):
        if name in KEY_FIELDS and kind not in KEY_FIELDS[name]:
            raise unexpected_response("key")
    return tuple(name for name in KEY_FIELDS if name in names)


def _annotations(value: Any) -> KeyAnnotations | None:
    if not isinstance(value, dict):
        return None
    texts = {name: value.get(name) for name in ("alias", "operation", "replaces", "blocked_by")}
    metadata = value.get("metadata")
    return KeyAnnotations(
        metadata=metadata if isinstance(metadata, dict) else {},
        **{name: text if isinstance(text, str) else None for name, text in texts.items()},
    )


def _seconds(moment: str | None) -> float | None:
    if moment is None:
        return None
    try:
        parsed = datetime.fromisoformat(moment)
    except ValueError as error:
        raise unexpected_response("key") from error
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


def _rate(value: int | None) -> int | None:
    return None if value is None or value >= UNLIMITED_RATE else value


class _Checked:
    """Reads a row's fields by exact type: `isinstance` takes a bool for an int."""

    def __init__(self, row: Mapping[str, Any], what: str) -> None:
        self._row = row
        self._what = what

    def get(self, name: str, *types: type) -> Any:
        """The field; None if absent. Raises UpstreamFaultError if it has another type."""
        value = self._row.get(name)
        if type(value) not in types:
            raise unexpected_response(self._what)
        return value
