"""Changes as the audit log records them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Self

from domain.identity import Permission
from domain.redaction import Redaction


class Action(StrEnum):
    """What a change does: its name in the audit log, and the permission that it takes."""

    permission: Permission

    def __new__(cls, name: str, permission: Permission | None = None) -> Self:
        """An action with the permission that it takes. `Action(name)` is the one with that name."""
        action = str.__new__(cls, name)
        action._value_ = name
        if permission is not None:
            action.permission = permission
        return action

    USER_CREATE = "user.create", Permission.USERS_CREATE
    USER_UPDATE = "user.update", Permission.USERS_UPDATE
    USER_DELETE = "user.delete", Permission.USERS_DELETE
    USER_BLOCK = "user.block", Permission.USERS_BLOCK
    USER_RESTORE = "user.restore", Permission.USERS_BLOCK
    USER_ADOPT = "user.adopt", Permission.USERS_ADOPT
    KEY_CREATE = "key.create", Permission.KEYS_CREATE
    KEY_MINT = "key.mint", Permission.KEYS_CREATE
    """A short key, for a workload's token or a session."""
    KEY_UPDATE = "key.update", Permission.KEYS_UPDATE
    KEY_DELETE = "key.delete", Permission.KEYS_DELETE
    KEY_REGENERATE = "key.regenerate", Permission.KEYS_ROTATE
    KEY_TRANSFER = "key.transfer", Permission.KEYS_TRANSFER
    KEY_REVOKE = "key.revoke", Permission.KEYS_DELETE
    KEY_REPORT = "key.report", Permission.KEYS_REPORT
    SESSION_APPROVE = "session.approve", Permission.SESSIONS_CREATE
    """To sign a device in."""
    SESSION_REFUSE = "session.refuse", Permission.SESSIONS_CREATE
    SESSION_END = "session.end", Permission.SESSIONS_DELETE
    CLEANUP_RUN = "cleanup.run", Permission.CLEANUP_RUN


CREATES_KEYS = frozenset({Action.KEY_CREATE, Action.KEY_REGENERATE, Action.KEY_MINT})
"""The actions that create a key, and give the caller its secret."""


class Outcome(StrEnum):
    """How a change ended."""

    DONE = "done"
    FAILED = "failed"
    DENIED = "denied"
    RECONCILED = "reconciled"


@dataclass(frozen=True, slots=True)
class Intent:
    """A change about to be made.

    `operation` is its unique id; keys that it creates in LiteLLM carry it. `target` is the user whose resources it
    changes. `lock` serialises changes: at most one change with the same lock runs at a time; None does not serialise.
    `key_id` is the hash of a key; `key_stable_id` and `key_version` are those of its `KeyVersion`, as far as known.
    """

    operation: str
    actor: str
    action: Action
    target: str | None = None
    lock: str | None = None
    via: str | None = None
    key_id: str | None = None
    key_stable_id: str | None = None
    key_version: int | None = None
    request_id: str | None = None
    requested: Mapping[str, Any] | None = None

    def masked(self, redaction: Redaction) -> Intent:
        """The intent as the audit log may have it."""
        return replace(self, requested=redaction.value(self.requested))


@dataclass(frozen=True, slots=True)
class Ending:
    """How a change ended. What is named of its key, and `target`, complete the intent where it was not known before."""

    outcome: Outcome
    key_id: str | None = None
    target: str | None = None
    key_stable_id: str | None = None
    key_version: int | None = None
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    detail: str | None = None

    def masked(self, redaction: Redaction) -> Ending:
        """The ending as the audit log may have it."""
        texts = {"before": self.before, "after": self.after, "detail": self.detail}
        return replace(self, **{name: redaction.value(text) for name, text in texts.items()})


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """A change in the audit log. `outcome` is None while it is not known. Times are seconds since the epoch.

    `repetitions` counts the same refusals of the hour after, which have no event of their own.
    """

    id: int
    operation: str
    actor: str
    action: Action
    started_at: float
    via: str | None = None
    target: str | None = None
    key_id: str | None = None
    key_stable_id: str | None = None
    key_version: int | None = None
    request_id: str | None = None
    requested: Mapping[str, Any] | None = None
    before: Mapping[str, Any] | None = None
    outcome: Outcome | None = None
    after: Mapping[str, Any] | None = None
    detail: str | None = None
    ended_at: float | None = None
    repetitions: int = 0


@dataclass(frozen=True, slots=True)
class AuditFilters:
    """Which events to return; None means any. `concerning` is a user who is the actor or the target.

    What that user reported as leaked has no target then.

    `before` is the time and the id of the last event of the page before.
    """

    actor: str | None = None
    target: str | None = None
    action: str | None = None
    since: float | None = None
    until: float | None = None
    concerning: str | None = None
    before: tuple[float, int] | None = None
