"""The plan for a snapshot: whose keys are looked at, who waits for their deletion, and what an admin confirms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from domain.offboarding import (
    AcceptedBaseline,
    CleanupLimits,
    Deletion,
    FoundUser,
    Hold,
    Offboarding,
    Plan,
    PlanEntry,
    Snapshot,
    Step,
)
from services.offboarding.plan import ImplausibleSnapshotError, judged, make_plan

NOW, HOUR = 1_800_000_000.0, 3600.0
A_WEEK, AT_ONCE = CleanupLimits(grace_period=7 * 86400), CleanupLimits(grace_period=0)


def refs(names: Iterable[object]) -> list[str]:
    return [f"user:default/{name}" for name in names]


def leaving(offboardings: Iterable[Offboarding], **changes: Any) -> Snapshot:
    """A member and an admin stay; whoever is being off-boarded has one key."""
    gone = {row.user_id: row for row in offboardings}
    found = dict.fromkeys(gone, FoundUser(1, is_ours=True))
    usual = Snapshot(frozenset({"user:default/alice"}), frozenset({"user:default/bob"}), 2, NOW, found, gone)
    return replace(usual, **{"new_owners": frozenset(), **changes})


def steps(plan: Plan) -> Mapping[str, Step]:
    return {entry.user_id.partition("/")[2]: entry.step for entry in plan.entries}


def looked_at(snapshot: Snapshot) -> int:
    """For how many of those on hold the keys are read."""
    entries = list(make_plan(snapshot, None, A_WEEK, NOW).entries)
    assert {entry.step for entry in entries} == {Step.HOLD}
    return sum(entry.is_due for entry in entries)


def test_the_step_for_each_user() -> None:
    """With what an admin wants to know of them: since when, how many keys, on whose word, until when, why not now."""
    ours, foreign = FoundUser(2, is_ours=True), FoundUser(3, is_ours=False)
    found = {
        "user:default/back": ours,
        "user:default/new": foreign,
        "user:default/due": ours,
        "user:default/held": ours,
    }
    found |= {"user:default/foreign": foreign, "user:default/Alice": ours}
    long_ago = A_WEEK.grace_period
    gone = {"back": 1.0, "due": long_ago, "held": long_ago - 1, "foreign": long_ago, "lost": long_ago + HOUR}
    people = [Offboarding(f"user:default/{name}", NOW - ago, confirmed_by="bob") for name, ago in gone.items()]
    members = frozenset({"user:default/back", "user:default/alice"})
    plan = make_plan(leaving(people, found=found, members=members), None, A_WEEK, NOW)
    assert [replace(entry, user_id=entry.user_id.partition("/")[2], is_due=True) for entry in plan.entries] == [
        PlanEntry("back", Step.RESTORE, NOW - 1, 2),
        PlanEntry("due", Step.DELETE, NOW - long_ago, 2, "bob", until=NOW),
        PlanEntry("foreign", Step.HOLD, NOW - long_ago, 3, "bob", Hold.FOREIGN, NOW),
        PlanEntry("held", Step.HOLD, NOW - long_ago + 1, 2, "bob", Hold.GRACE, NOW + 1),
        PlanEntry("lost", Step.DELETE, NOW - long_ago - HOUR, None, "bob", until=NOW - HOUR),
        PlanEntry("new", Step.BLOCK, keys=3),
    ]
    moved = make_plan(leaving(people, found=found), None, replace(A_WEEK, delete_foreign=True), NOW)
    assert steps(moved)["foreign"] is Step.DELETE


@pytest.mark.parametrize(
    ("users", "blocked", "deleted"), [(9, 10, 3), (109, 10, 10), (110, 11, 11), (39, 10, 3), (40, 10, 4)]
)
def test_the_usual_limits(users: int, blocked: int, deleted: int) -> None:
    """A tenth of the users that LiteLLM has, at least ten blocks in a run and three deletions in 24 hours."""
    for number in (blocked, blocked + 1):
        found = dict.fromkeys(refs(range(number)), FoundUser(1, is_ours=True))
        plan = make_plan(leaving([], found=found, users=users), None, A_WEEK, NOW)
        assert (plan.refusal is None, plan.max_deletions) == (number == blocked, deleted)


def test_a_group_without_members_is_a_fault() -> None:
    """There is no plan, so that no admin can confirm it."""
    with pytest.raises(ImplausibleSnapshotError, match="The allowed group has no members"):
        make_plan(leaving([], members=frozenset()), None, A_WEEK, NOW)


@pytest.mark.parametrize(
    ("hours", "fewest", "most"),
    [(0, 0, 0), (11.99, 0, 0), (15, 60, 90), (18, 130, 170), (21, 210, 240), (24, 300, 300)],
)
def test_everybody_on_hold_is_looked_at_once_a_day(hours: float, fewest: int, most: int) -> None:
    """Nobody before half a day is over, everybody when a whole one is, and between them no crowd at any time."""
    people = (Offboarding(ref, NOW - 48 * HOUR, key_count=1, looked_at=NOW - hours * HOUR) for ref in refs(range(300)))
    assert fewest <= looked_at(leaving(people)) <= most


@pytest.mark.parametrize(
    ("change", "snapshot", "is_due"),
    [
        ({}, {}, False),
        ({"looked_at": None}, {}, True),
        ({"key_count": 2}, {}, True),
        ({"key_count": None}, {}, True),
        ({}, {"new_owners": None}, True),
        ({}, {"new_owners": {"user:default/m0"}}, True),
        ({}, {"new_owners": {"user:default/m1"}}, False),
        ({"key_count": 2}, {"found": {}}, False),
    ],
)
def test_whoever_may_have_a_key_is_looked_at(change: dict[str, Any], snapshot: dict[str, Any], *, is_due: bool) -> None:
    """A look that did not end, another number of keys, a new key, or new keys that LiteLLM could not show."""
    resting = Offboarding("user:default/m0", NOW - 48 * HOUR, key_count=1, looked_at=NOW - HOUR)
    assert looked_at(leaving([replace(resting, **change)], **snapshot)) == is_due


def test_who_left_first_is_deleted_first() -> None:
    """Of those who left at the same time the first by name; the others wait."""
    ages = {"d": 3, "b": 2, "c": 2, "a": 1}
    people = [Offboarding(f"user:default/{name}", NOW - hours * HOUR) for name, hours in ages.items()]
    plan = make_plan(leaving(people), None, replace(AT_ONCE, max_deletions=2), NOW)
    assert steps(plan) == {"a": Step.HOLD, "b": Step.DELETE, "c": Step.HOLD, "d": Step.DELETE}
    assert plan.max_deletions == 2


@pytest.mark.parametrize(
    ("deleted", "expected"),
    [
        ({}, "ab"),
        ({"x": [0]}, "a"),
        ({"x": [0], "y": [0]}, ""),
        ({"x": [0], "y": [0], "z": [0]}, ""),
        ({"b": [5]}, "ab"),
        ({"b": [4]}, "ab"),
        ({"b": [3]}, "a"),
        ({"b": [5, 3]}, "b"),
        ({"b": [3, 5]}, "b"),
    ],
)
def test_what_counts_against_the_limit(deleted: dict[str, list[float]], expected: str) -> None:
    """Two in 24 hours: whoever is counted since they left needs no second place, from an earlier time they do."""
    people = [Offboarding(ref, NOW - 4 * HOUR) for ref in refs("abc")]
    rows = [Deletion(f"user:default/{name}", NOW + (h - 8) * HOUR) for name, hours in deleted.items() for h in hours]
    plan = make_plan(leaving(people, deletions=rows), None, replace(AT_ONCE, max_deletions=2), NOW)
    assert "".join(name for name, step in steps(plan).items() if step is Step.DELETE) == expected


def test_a_confirmed_deletion_takes_no_place() -> None:
    """An admin answers for it: it neither waits nor counts."""
    people = [
        Offboarding(ref, NOW - HOUR, confirmed_by=by) for ref, by in zip(refs("abc"), ("bob", None, None), strict=True)
    ]
    plan = make_plan(leaving(people), None, replace(AT_ONCE, max_deletions=1), NOW)
    assert steps(plan) == {"a": Step.DELETE, "b": Step.DELETE, "c": Step.HOLD}


@pytest.mark.parametrize(
    ("members", "admins", "refusal"),
    [
        (10, 4, None),
        (5, 2, None),
        (4, 4, "There are 4 members of the allowed group, less than half of the 10 at the last accepted run"),
        (10, 1, "There are 1 members of the admin group, less than half of the 4 at the last accepted run"),
        (100, 100, None),
    ],
)
def test_a_group_that_has_shrunk(members: int, admins: int, refusal: str | None) -> None:
    """Exactly half is still believed, of either group."""
    groups = {"members": frozenset(refs(range(members))), "admins": frozenset(refs(range(100, 100 + admins)))}
    assert make_plan(leaving([], **groups), AcceptedBaseline(10, 4), AT_ONCE, NOW).refusal == refusal


def test_the_hash_names_whom_and_what() -> None:
    """The same people with another step, and other people with the same one, have another; who is held has none."""
    (ref,) = refs("a")
    blocked = leaving([], found={ref: FoundUser(1, is_ours=True)})
    other = leaving([], found={"user:default/b": FoundUser(1, is_ours=True)})
    both = leaving([], found={**blocked.found, **other.found})
    gone = leaving([Offboarding(ref, NOW - HOUR)])
    hashes = [make_plan(snapshot, None, AT_ONCE, NOW).hash for snapshot in (blocked, other, both, gone, leaving([]))]
    assert len(set(hashes)) == 5
    assert make_plan(gone, None, A_WEEK, NOW).hash == hashes[-1]
    assert make_plan(gone, None, replace(AT_ONCE, max_deletions=0), NOW).hash == hashes[3], "it is deleted if confirmed"


def test_what_is_executed_of_a_refused_plan() -> None:
    """Whoever is back or on hold is seen to; the others only if an admin confirms that plan and no other."""
    people = [Offboarding(ref, NOW - HOUR) for ref in ("user:default/alice", "user:default/held")]
    found = {row.user_id: FoundUser(1, is_ours=True) for row in people} | {
        "user:default/new": FoundUser(1, is_ours=True)
    }
    plan = make_plan(leaving(people, found=found), None, replace(A_WEEK, max_removals=0), NOW)
    assert steps(plan) == {"alice": Step.RESTORE, "held": Step.HOLD, "new": Step.BLOCK}
    for confirmed, entries, is_confirmed in ((None, 2, False), ("0" * 64, 2, False), (plan.hash, 3, True)):
        verdict = judged(plan, confirmed)
        assert (len(verdict.entries), verdict.is_confirmed) == (entries, is_confirmed)
        assert (verdict.refusal is None) == is_confirmed
    assert judged(plan, None).refusal == plan.refusal == "1 users to block exceed maxRemovals (0)"
    assert "have changed since" in str(judged(plan, "0" * 64).refusal)
    accepted = judged(make_plan(leaving(people, found=found), None, A_WEEK, NOW), None)
    assert (len(accepted.entries), accepted.refusal, accepted.is_confirmed) == (3, None, False)


@pytest.mark.parametrize("kind", ["group", "component"])
@pytest.mark.parametrize(("before", "is_refused"), [(4, False), (5, True)])
def test_owners_of_a_kind_that_have_become_few(kind: str, before: int, *, is_refused: bool) -> None:
    """A plan with exactly half as many is accepted, and the owners of the other kind are not counted."""
    software = {f"{kind}:default/a", f"{kind}:default/b"}
    others = {"component", "group"} - {kind}
    software |= {f"{other}:default/{name}" for other in others for name in "abcdefgh"}
    baseline = AcceptedBaseline(1, 1, **{f"{kind}s": before, **{f"{other}s": 0 for other in others}})
    refusal = make_plan(leaving([], software=frozenset(software)), baseline, AT_ONCE, NOW).refusal
    expected = f"There are 2 {kind}s with keys, less than half of the {before} at the last accepted run"
    assert refusal == (expected if is_refused else None)


def test_software_that_is_back_is_restored() -> None:
    """And is deleted as little as a person who is back."""
    back = Offboarding("component:default/checkout", NOW - 48 * HOUR)
    plan = make_plan(leaving([back], software=frozenset({back.user_id})), None, AT_ONCE, NOW)
    assert [(entry.user_id, entry.step) for entry in plan.entries] == [(back.user_id, Step.RESTORE)]
