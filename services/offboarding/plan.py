"""Step 2: whom to off-board, and whether the snapshot is plausible. Pure functions of a snapshot."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain

from domain.offboarding import AcceptedBaseline, CleanupLimits, Hold, Offboarding, Plan, PlanEntry, Snapshot, Step
from domain.refs import canonical

_MIN_MAX_REMOVALS = 10
_MIN_MAX_DELETIONS = 3
_MAX_SHARE = 0.10
_DAY_SECONDS = 86400.0


class ImplausibleSnapshotError(Exception):
    """The snapshot cannot be right. No admin can confirm it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is executed of a plan. `refusal` is why nobody may be blocked or deleted.

    `is_confirmed`: by an admin, by its hash.
    """

    entries: tuple[PlanEntry, ...]
    refusal: str | None
    is_confirmed: bool


def make_plan(snapshot: Snapshot, baseline: AcceptedBaseline | None, limits: CleanupLimits, now: float) -> Plan:
    """The plan for `snapshot`, compared with the last accepted one. Raises ImplausibleSnapshotError."""
    if not snapshot.members:
        raise ImplausibleSnapshotError("The allowed group has no members, which is treated as a fault")
    most = _at_most(limits.max_deletions, _MIN_MAX_DELETIONS, snapshot.users)
    entries = tuple(_entries(snapshot, limits, now))
    if postponed := _postponed(entries, snapshot, most):
        entries = tuple(_held(entry, Hold.POSTPONED) if entry.user_id in postponed else entry for entry in entries)
    refusal = _has_shrunk(snapshot, baseline) or _too_many(entries, snapshot, limits)
    return Plan(entries, _hash(entries), refusal, most)


def judged(plan: Plan, confirmed_hash: str | None) -> Verdict:
    """What is executed of `plan` if an admin confirmed the plan with that hash; None if nobody confirmed anything.

    A confirmation is valid for exactly the plan that it names. Restoring and holding is never refused.
    """
    if confirmed_hash == plan.hash:
        return Verdict(tuple(_confirmed(plan.entries)), None, is_confirmed=True)
    refusal = plan.refusal
    if confirmed_hash is not None:
        refusal = "The blocks and deletions have changed since the plan was confirmed; make a new dry run"
    if refusal is None:
        return Verdict(tuple(plan.entries), None, is_confirmed=False)
    harmless = tuple(entry for entry in plan.entries if entry.step in (Step.RESTORE, Step.HOLD))
    return Verdict(harmless, refusal, is_confirmed=False)


def _hash(entries: Iterable[PlanEntry]) -> str:
    """Names whom a confirmed run blocks and deletes."""
    digest, before = hashlib.sha256(), ""
    for entry in _confirmed(entries):
        if entry.step in (Step.BLOCK, Step.DELETE):
            digest.update(f"{before}{entry.step} {entry.user_id}".encode())
            before = "\n"
    return digest.hexdigest()


def _confirmed(entries: Iterable[PlanEntry]) -> Iterator[PlanEntry]:
    """The whole plan, with the deletions that waited for a confirmation."""
    return (replace(entry, step=entry.when_confirmed) for entry in entries)


def _entries(snapshot: Snapshot, limits: CleanupLimits, now: float) -> Iterator[PlanEntry]:
    staying = snapshot.members | snapshot.admins | snapshot.software
    unknown = (user_id for user_id in snapshot.offboardings if user_id not in snapshot.found)
    for user_id in sorted(chain(snapshot.found, unknown)):
        offboarding, user = snapshot.offboardings.get(user_id), snapshot.found.get(user_id)
        keys, departure = None if user is None else user.keys, snapshot.departures.get(user_id)
        if canonical(user_id) in staying:
            if offboarding is not None:
                yield PlanEntry(user_id, Step.RESTORE, offboarding.since, keys)
        elif offboarding is None:
            yield PlanEntry(user_id, Step.BLOCK, keys=keys, departure=departure)
        else:
            until = offboarding.since + limits.grace_period
            is_due = _is_due(offboarding, snapshot, now)
            entry = PlanEntry(
                user_id,
                Step.DELETE,
                offboarding.since,
                keys,
                offboarding.confirmed_by,
                until=until,
                is_due=is_due,
                departure=departure,
            )
            if now < until:
                yield _held(entry, Hold.GRACE)
            elif user is not None and not user.is_ours and not limits.delete_foreign:
                yield _held(entry, Hold.FOREIGN)
            else:
                yield entry


def _held(entry: PlanEntry, reason: Hold) -> PlanEntry:
    return replace(entry, step=Step.HOLD, hold=reason)


def _is_due(offboarding: Offboarding, snapshot: Snapshot, now: float) -> bool:
    """Whether the keys of a user on hold have to be read again: they may have one that is not blocked.

    A key that was made elsewhere shows in the number of keys, or among the newest. One that was unblocked elsewhere
    shows in neither: so everybody is looked at once a day, after half a day at the earliest, each after a time of their
    own, because those who left together would otherwise all be looked at in one run.
    """
    if offboarding.looked_at is None or snapshot.new_owners is None or offboarding.user_id in snapshot.new_owners:
        return True
    user = snapshot.found.get(offboarding.user_id)
    if user is not None and user.keys != offboarding.key_count:
        return True
    share = hashlib.sha256(offboarding.user_id.encode()).digest()[0] / 255
    return now - offboarding.looked_at >= _DAY_SECONDS * (1 + share) / 2


def _postponed(entries: Iterable[PlanEntry], snapshot: Snapshot, most: int) -> frozenset[str]:
    """Who is not deleted yet, because `most` were in 24 hours. Who left first is deleted first."""
    free = most - len(snapshot.deletions)
    since = {user_id: offboarding.since for user_id, offboarding in snapshot.offboardings.items()}
    # A run that was interrupted may have counted them already.
    counted = {row.user_id for row in snapshot.deletions if row.at >= since.get(row.user_id, math.inf)}
    waiting = [
        entry.user_id
        for entry in entries
        if entry.step is Step.DELETE and entry.confirmed_by is None and entry.user_id not in counted
    ]
    waiting.sort(key=lambda user_id: (since[user_id], user_id))
    return frozenset(waiting[max(0, free) :])


def _has_shrunk(snapshot: Snapshot, baseline: AcceptedBaseline | None) -> str | None:
    if baseline is None:
        return None
    now = snapshot.sizes
    for what, size, before in (
        ("members of the allowed group", now.members, baseline.members),
        ("members of the admin group", now.admins, baseline.admins),
        ("groups with keys", now.groups, baseline.groups),
        ("components with keys", now.components, baseline.components),
    ):
        if size * 2 < before:
            return f"There are {size} {what}, less than half of the {before} at the last accepted run"
    return None


def _too_many(entries: Iterable[PlanEntry], snapshot: Snapshot, limits: CleanupLimits) -> str | None:
    maximum = _at_most(limits.max_removals, _MIN_MAX_REMOVALS, snapshot.users)
    blocked = sum(entry.step is Step.BLOCK for entry in entries)
    return f"{blocked} users to block exceed maxRemovals ({maximum})" if blocked > maximum else None


def _at_most(limit: int | None, least: int, users: int) -> int:
    return max(least, math.floor(users * _MAX_SHARE)) if limit is None else limit
