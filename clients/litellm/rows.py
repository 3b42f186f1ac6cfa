"""Turns LiteLLM's rows of users and keys into nouns, and annotates what this service creates.

Our annotations stand in a row's metadata under ANNOTATIONS, apart from everything else: LiteLLM gives some names of
metadata a meaning (`temp_budget_increase`, `guardrails`, `tags`, ...), so a caller's own names never stand at its top.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from msgspec import DecodeError, ValidationError, to_builtins
from msgspec.json import Decoder

from clients.litellm.fields import KeyRow, SweptRow, UserRow
from clients.upstream import Reply
from domain.directory import DirectoryEntry, searched_text
from domain.errors import UpstreamFaultError
from domain.keys import Key, KeyAnnotations
from domain.models import ALL_MODELS, NO_MODELS
from domain.users import User

T = TypeVar("T")

ANNOTATIONS = "litellm_orchestrator"
UNLIMITED_RATE = 2**53 - 1
"""A rate that nobody reaches: LiteLLM ignores a null that should clear a user's `tpm_limit` or `rpm_limit`."""

_KEY_ID = re.compile(r"[0-9a-f]{64}")


def decoded(reply: Reply, decoder: Decoder[T], expected: str) -> T:
    """The body of a successful response, checked. Raises UpstreamFaultError. `expected`: see `unexpected_response`."""
    require_success(reply)
    try:
        return decoder.decode(reply.content)
    except ValidationError as error:
        raise unexpected_response(expected) from error
    except (DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise UpstreamFaultError("LiteLLM returned a response that is not JSON") from error


def require_success(reply: Reply) -> None:
    """Raises UpstreamFaultError unless LiteLLM answered 200."""
    if reply.status in (401, 403):
        raise UpstreamFaultError("LiteLLM refused this service's master key. The operator has to correct it.")
    if reply.status != 200:
        raise UpstreamFaultError(f"LiteLLM failed with status {reply.status}")


def user_from(row: UserRow) -> User:
    """The user of a row of `/user/list`."""
    models = row.models or []
    annotations = (row.metadata or {}).get(ANNOTATIONS)
    tier = annotations.get("tier") if isinstance(annotations, dict) else None
    return User(
        user_id=row.user_id,
        created_at=row.created_at,
        max_budget=row.max_budget,
        budget_duration=row.budget_duration,
        spend=row.spend,
        budget_reset_at=row.budget_reset_at,
        models=() if ALL_MODELS in models and NO_MODELS not in models else tuple(models),
        tpm_limit=_rate(row.tpm_limit),
        rpm_limit=_rate(row.rpm_limit),
        tier=tier if isinstance(tier, str) else None,
        display_name=row.user_alias,
        email=row.user_email,
    )


def entry_from(row: SweptRow) -> DirectoryEntry:
    """The directory's entry for any row of `/user/list`."""
    texts = [text if isinstance(text, str) else None for text in (row.user_alias, row.user_email)]
    numbers = [isinstance(number, (int, float)) for number in (row.spend, row.max_budget)]
    return DirectoryEntry(
        row.user_id, searched_text(row.user_id, *texts), is_over_budget=all(numbers) and row.spend >= row.max_budget
    )


def key_from(row: KeyRow, owner: str) -> Key:
    """The key of a row of `/key/list`, which is the user `owner`'s. Raises UpstreamFaultError."""
    if not is_key_id(row.token):
        raise unexpected_response("key")
    fields = to_builtins(row)
    other_metadata = dict(row.metadata)
    annotations = _annotations(other_metadata.pop(ANNOTATIONS, None))
    if annotations is not None:
        fields["key_alias"], fields["metadata"] = annotations.alias, dict(annotations.metadata)
    return Key(
        id=row.token,
        owner=owner,
        alias=fields.get("key_alias"),
        created_at=fields.get("created_at", ""),
        expires_at=_seconds(fields.get("expires")),
        is_blocked=fields.get("blocked") is True,
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
