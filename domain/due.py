"""What has to be done at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """The kinds of tasks. The comments say what the subject of each is."""

    REVOCATION = "revocation"  # the id of a replaced key, to be deleted
    RECONCILIATION = "reconciliation"  # the id of an interrupted change, to be ended
    BLOCK_NOTE = "block note"  # the id of a key that was reported as leaked, to be annotated in LiteLLM
    OWNER_CHECK = "owner check"  # the id of a new key, to be deleted if LiteLLM does not have its owner
    SHORT_KEY_END = "short key end"  # the id of a short key, to be deleted
    SESSION_END = "session end"  # the id of a session that has ended, whose keys are to be taken away
    REFUSED_EXCHANGES = "refused exchanges"  # a source and a minute, whose refusals go into the audit log
    MARK_REVIEW = "mark review"  # the id of a key that is marked as leaked, to be forgotten if LiteLLM has no such key


@dataclass(frozen=True, slots=True)
class NewTask:
    """What is to be done in `due_in` seconds. The rest: see `Task`."""

    kind: Kind
    subject: str
    due_in: float
    owner: str | None = None
    payload: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """One task, due at `due_at` (seconds since the epoch). `attempts` counts how often it was taken up.

    `owner` is the user whom it concerns, None if that is nobody or unknown.
    """

    kind: Kind
    subject: str
    owner: str | None
    payload: Mapping[str, Any] | None
    due_at: float
    attempts: int
