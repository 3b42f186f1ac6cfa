"""Second step: who is to be removed, and whether that can be believed. Pure functions of a snapshot."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from services.offboarding.snapshot import Snapshot
from state.cleanup_runs import Believed

_LEAST_MAX_REMOVALS = 10
_MAX_REMOVED_SHARE = 0.10


class Action(StrEnum):
    """What is done to a user."""

    BLOCK = "block"
    HOLD = "hold"
    DELETE = "delete"
    RESTORE = "restore"


REASONS = {
    Action.BLOCK: "in neither group any more: their keys are blocked",
    Action.HOLD: "in neither group, and within the grace period: their keys stay blocked",
    Action.DELETE: "in neither group since the grace period began: user and keys are deleted",
    Action.RESTORE: "back in a group: the keys that were blocked are unblocked",
}


@dataclass(frozen=True)
class Entry:
    """One user. `since` is when they were first missed, in seconds since the epoch; `keys` how many they have."""

    user_id: str
    action: Action
    since: float | None = None
    confirmed: bool = False
    keys: int | None = None

    @property
    def is_removal(self) -> bool:
        """Whether it counts against `maxRemovals`: what an admin has confirmed once does not again."""
        return self.action is Action.BLOCK or (self.action is Action.DELETE and not self.confirmed)


@dataclass(frozen=True)
class Plan:
    """All that a run would do. `refusal` says why nobody is removed unless an admin confirms it by `hash`."""

    entries: tuple[Entry, ...]
    hash: str
    refusal: str | None

    def without_removals(self) -> Plan:
        """What can be done all the same: giving back, and holding."""
        return replace(self, entries=tuple(e for e in self.entries if e.action in (Action.RESTORE, Action.HOLD)))


@dataclass(frozen=True)
class Limits:
    """Seconds and users; `max_removals` None is the larger of 10 users and 10 %."""

    grace_period: float
    max_removals: int | None


class UnbelievableError(Exception):
    """The snapshot cannot be right, and nobody may confirm it."""


def make(snapshot: Snapshot, last: Believed | None, limits: Limits, now: float) -> Plan:
    """The plan for `snapshot`, given the last believed one. Raises UnbelievableError."""
    if not snapshot.members:
        raise UnbelievableError("The allowed group has no members, which is taken for a fault")
    entries = tuple(sorted(_entries(snapshot, limits, now), key=lambda entry: entry.user_id))
    refusal = _shrunk(snapshot, last) or _too_many(entries, snapshot, limits)
    named = "\n".join(f"{entry.action} {entry.user_id}" for entry in entries if entry.is_removal)
    return Plan(entries, hashlib.sha256(named.encode()).hexdigest(), refusal)


def _entries(snapshot: Snapshot, limits: Limits, now: float) -> Iterator[Entry]:
    staying = snapshot.members | snapshot.admins
    for user_id in snapshot.users | snapshot.offboardings.keys():
        offboarding = snapshot.offboardings.get(user_id)
        if user_id.lower() in staying:
            if offboarding is not None:
                yield Entry(user_id, Action.RESTORE, offboarding.since)
        elif offboarding is None:
            yield Entry(user_id, Action.BLOCK)
        else:
            over = now - offboarding.since >= limits.grace_period
            action = Action.DELETE if over else Action.HOLD
            yield Entry(user_id, action, offboarding.since, offboarding.confirmed)


def _shrunk(snapshot: Snapshot, last: Believed | None) -> str | None:
    if last is None:
        return None
    for name, size, before in (
        ("allowed", len(snapshot.members), last.members),
        ("admin", len(snapshot.admins), last.admins),
    ):
        if size * 2 < before:
            return f"The {name} group has {size} members, less than half of the {before} at the last believed run"
    return None


def _too_many(entries: tuple[Entry, ...], snapshot: Snapshot, limits: Limits) -> str | None:
    most = limits.max_removals
    if most is None:
        most = max(_LEAST_MAX_REMOVALS, math.floor(len(snapshot.users) * _MAX_REMOVED_SHARE))
    removals = sum(entry.is_removal for entry in entries)
    return f"{removals} removals are more than the {most} of maxRemovals" if removals > most else None
