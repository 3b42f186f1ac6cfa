"""LiteLLM's rows of users and keys, checked and turned into ours, and what this service notes in them.

What is ours stands in a row's metadata under NOTE, apart from everything else there: LiteLLM gives a meaning to some
names of metadata (`temp_budget_increase`, `guardrails`, `tags`, …), so a caller's own never stand at its top.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clients.litellm.fields import KEY_FIELDS
from domain.errors import UpstreamFaultError

NOTE = "litellm_orchestrator"
NO_RATE = 2**53 - 1
"""A rate that nobody reaches: LiteLLM passes over a null that should clear a user's `tpm_limit` or `rpm_limit`."""
ALL_MODELS = "all-proxy-models"
"""LiteLLM's name for every model: it passes over an empty list that should clear a user's `models`."""

_KEY_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class User:
    """A LiteLLM user.

    Times are ISO 8601, amounts USD, rates a minute. `max_budget` None is no limit, 0 is a budget; no `models` are all.
    `tier` is what this service noted when it made them.
    """

    user_id: str
    created_at: str
    max_budget: float | None
    budget_duration: str | None
    spend: float
    budget_reset_at: str | None = None
    models: tuple[str, ...] = ()
    tpm_limit: int | None = None
    rpm_limit: int | None = None
    tier: str | None = None
    display_name: str | None = None
    email: str | None = None

    @property
    def is_over_budget(self) -> bool:
        """Whether LiteLLM refuses their calls until the budget resets."""
        return self.max_budget is not None and self.spend >= self.max_budget


@dataclass(frozen=True)
class KeyNote:
    """What this service notes on a key.

    `operation` names the request that made it, `replaces` the id of the key that it took the place of, `blocked_by`
    the subject who blocked it here. `metadata` is the owner's.
    """

    alias: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    operation: str | None = None
    replaces: str | None = None
    blocked_by: str | None = None


@dataclass(frozen=True)
class Key:
    """A key without its secret: `row` is what a caller may see of it, under LiteLLM's names."""

    key_id: str
    row: Mapping[str, Any]
    note: KeyNote | None
    foreign_metadata: Mapping[str, Any]

    @property
    def is_blocked(self) -> bool:
        """Whether LiteLLM refuses it."""
        return bool(self.row.get("blocked"))

    @property
    def alias(self) -> str | None:
        """The owner's name for it."""
        alias = self.row.get("key_alias")
        return alias if isinstance(alias, str) else None

    @property
    def position(self) -> tuple[str, str]:
        """Sorts by age, and has no equals."""
        return (self.row.get("created_at") or "", self.key_id)


def user_from(row: Mapping[str, Any]) -> User:
    """A row of `/user/list`. Raises UpstreamFaultError."""
    checked = _Checked(row, "a user")
    models = checked.of("models", list, type(None)) or []
    metadata = checked.of("metadata", dict, type(None)) or {}
    note = metadata.get(NOTE)
    tier = note.get("tier") if isinstance(note, dict) else None
    return User(
        user_id=checked.of("user_id", str),
        created_at=checked.of("created_at", str),
        max_budget=checked.of("max_budget", float, int, type(None)),
        budget_duration=checked.of("budget_duration", str, type(None)),
        spend=checked.of("spend", float, int),
        budget_reset_at=checked.of("budget_reset_at", str, type(None)),
        models=() if ALL_MODELS in models else tuple(map(str, models)),
        tpm_limit=_rate(checked.of("tpm_limit", int, type(None))),
        rpm_limit=_rate(checked.of("rpm_limit", int, type(None))),
        tier=tier if isinstance(tier, str) else None,
        display_name=checked.of("user_alias", str, type(None)),
        email=checked.of("user_email", str, type(None)),
    )


def key_from(row: Mapping[str, Any]) -> Key:
    """A row of `/key/list` with whole objects, cut down to what a caller may see. Raises UpstreamFaultError."""
    checked = _Checked(row, "a key")
    seen = {name: checked.of(name, *types) for name, types in KEY_FIELDS.items() if name in row}
    if not (is_key_id(seen.get("token")) and seen.keys() >= {"models", "spend", "metadata"}):
        raise nonsense("a key")
    metadata = dict(seen["metadata"])
    note = _note(metadata.pop(NOTE, None))
    if note is not None:
        seen |= {"key_alias": note.alias, "metadata": dict(note.metadata)}
    return Key(seen["token"], seen, note, metadata)


def noted(note: KeyNote, foreign: Mapping[str, Any]) -> dict[str, Any]:
    """A key's metadata for LiteLLM: our note beside what others keep there."""
    written = {"alias": note.alias, "metadata": dict(note.metadata), "operation": note.operation}
    optional = {"replaces": note.replaces, "blocked_by": note.blocked_by}
    return {**foreign, NOTE: written | {name: value for name, value in optional.items() if value is not None}}


def is_key_id(value: Any) -> bool:
    """Whether it has the form of a key's hash."""
    return isinstance(value, str) and _KEY_ID.fullmatch(value) is not None


def nonsense(what: str) -> UpstreamFaultError:
    """The error for an answer in a form that this service does not know."""
    return UpstreamFaultError(f"LiteLLM's answer does not hold {what} in the form that this service knows")


def _note(value: Any) -> KeyNote | None:
    if not isinstance(value, dict):
        return None
    texts = {name: value.get(name) for name in ("alias", "operation", "replaces", "blocked_by")}
    metadata = value.get("metadata")
    return KeyNote(
        metadata=metadata if isinstance(metadata, dict) else {},
        **{name: text if isinstance(text, str) else None for name, text in texts.items()},
    )


def _rate(value: int | None) -> int | None:
    return None if value is None or value >= NO_RATE else value


class _Checked:
    """Access to a row's fields by exact type: a bool is an int to isinstance."""

    def __init__(self, row: Mapping[str, Any], what: str) -> None:
        self._row = row
        self._what = what

    def of(self, name: str, *types: type) -> Any:
        """The field, or UpstreamFaultError where it is of another type; a missing one is None."""
        value = self._row.get(name)
        if type(value) not in types:
            raise nonsense(self._what)
        return value
