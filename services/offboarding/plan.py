"""Step 2: whom to remove, and whether the snapshot is plausible. Pure functions of a snapshot."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import replace

from domain.offboarding import AcceptedBaseline, Plan, PlanEntry, RemovalLimits, Snapshot, Step
from domain.refs import canonical

_MIN_MAX_REMOVALS = 10
_MAX_REMOVED_SHARE = 0.10

REASONS = {
    Step.BLOCK: "in neither group any more: their keys are blocked",
    Step.HOLD: "in neither group, within the grace period: their keys stay blocked",
    Step.DELETE: "in neither group since the grace period began: user and keys are deleted",
    Step.RESTORE: "back in a group: the keys that were blocked are unblocked",
}


class ImplausibleSnapshotError(Exception):
    """The snapshot cannot be right. No admin can confirm it."""


def make_plan(snapshot: Snapshot, baseline: AcceptedBaseline | None, limits: RemovalLimits, now: float) -> Plan:
    """The plan for `snapshot`, compared with the last accepted one. Raises ImplausibleSnapshotError."""
    if not snapshot.members:
        raise ImplausibleSnapshotError("The allowed group has no members, which is treated as a fault")
    entries = tuple(sorted(_entries(snapshot, limits, now), key=lambda entry: entry.user_id))
    refusal = _has_shrunk(snapshot, baseline) or _too_many(entries, snapshot, limits)
    removals = "\n".join(f"{entry.step} {entry.user_id}" for entry in entries if entry.is_removal)
    return Plan(entries, hashlib.sha256(removals.encode()).hexdigest(), refusal)


def without_removals(plan: Plan) -> Plan:
    """The part of a refused plan that is executed all the same: restoring and holding."""
    return replace(plan, entries=tuple(e for e in plan.entries if e.step in (Step.RESTORE, Step.HOLD)))


def _entries(snapshot: Snapshot, limits: RemovalLimits, now: float) -> Iterator[PlanEntry]:
    staying = snapshot.members | snapshot.admins
    for user_id in snapshot.leavers | snapshot.offboardings.keys():
        offboarding, keys = snapshot.offboardings.get(user_id), snapshot.keys.get(user_id)
        if canonical(user_id) in staying:
            if offboarding is not None:
                yield PlanEntry(user_id, Step.RESTORE, offboarding.since, keys=keys)
        elif offboarding is None:
            yield PlanEntry(user_id, Step.BLOCK, keys=keys)
        else:
            is_over = now - offboarding.since >= limits.grace_period
            step = Step.DELETE if is_over else Step.HOLD
            yield PlanEntry(user_id, step, offboarding.since, offboarding.confirmed, keys)


def _has_shrunk(snapshot: Snapshot, baseline: AcceptedBaseline | None) -> str | None:
    if baseline is None:
        return None
    for name, size, before in (
        ("allowed", len(snapshot.members), baseline.members),
        ("admin", len(snapshot.admins), baseline.admins),
    ):
        if size * 2 < before:
            return f"The {name} group has {size} members, less than half of the {before} at the last accepted run"
    return None


def _too_many(entries: tuple[PlanEntry, ...], snapshot: Snapshot, limits: RemovalLimits) -> str | None:
    maximum = limits.max_removals
    if maximum is None:
        maximum = max(_MIN_MAX_REMOVALS, math.floor(snapshot.users * _MAX_REMOVED_SHARE))
    removals = sum(entry.is_removal for entry in entries)
    return f"{removals} removals exceed maxRemovals ({maximum})" if removals > maximum else None
