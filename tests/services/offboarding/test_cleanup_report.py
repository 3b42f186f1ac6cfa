"""A report as the API, the command line and the log tell it."""

from __future__ import annotations

from domain.offboarding import (
    CleanupFinding,
    CleanupReport,
    ExecutionResult,
    Hold,
    Plan,
    PlanEntry,
    Progress,
    RunOutcome,
    Step,
)
from services.offboarding.cleanup_report import figures, reason_of, report_as_json

ENTRY = PlanEntry("user:default/m0", Step.HOLD, since=20.0, keys=5, hold=Hold.POSTPONED, until=30.0)
RESULT = ExecutionResult(
    {Step.BLOCK: ["a", "b", "c"], Step.HOLD: ["d"], Step.DELETE: ["e", "f"], Step.RESTORE: []},
    {Step.BLOCK: 10, Step.HOLD: 1, Step.DELETE: 20, Step.RESTORE: 30},
    {"g": "LiteLLM cannot be reached"},
)


def test_everything_that_a_run_found_and_did() -> None:
    """Under the names of the contract; times and the many rows as whoever shows them wants them."""
    report = CleanupReport(
        run_id=7,
        trigger="schedule",
        dry_run=False,
        started_at=1.0,
        outcome=RunOutcome.FAILED,
        reason="1 users failed",
        finished_at=2.0,
        members=3,
        admins=4,
        users=5,
        swept_at=6.0,
        progress=Progress(100, 101),
        plan=Plan((ENTRY,), "0a", "too many", 9),
        result=RESULT,
        findings=(CleanupFinding("spelling", "user:default/M1", "rename it"),),
        orphans=8,
    )
    done = {
        "blocked": ["a", "b", "c"],
        "held": ["d"],
        "deleted": ["e", "f"],
        "restored": [],
        "keysBlocked": 11,
        "keysDeleted": 20,
        "keysRestored": 30,
        "failed": [{"userId": "g", "error": "LiteLLM cannot be reached"}],
    }
    entry = {
        "userId": "user:default/m0",
        "action": "hold",
        "whenConfirmed": "delete",
        "reason": "postponed: at most 9 deletions in 24 hours, unless an admin confirms this plan",
        "since": "20.0",
        "until": "30.0",
        "keys": 5,
    }
    assert report_as_json(report, time=str, rows=tuple) == {
        "runId": 7,
        "trigger": "schedule",
        "dryRun": False,
        "outcome": "failed",
        "reason": "1 users failed",
        "startedAt": "1.0",
        "finishedAt": "2.0",
        "members": 3,
        "admins": 4,
        "users": 5,
        "orphans": 8,
        "sweptAt": "6.0",
        "progress": {"checked": 100, "total": 101},
        "plan": {"hash": "0a", "refusal": "too many", "entries": (entry,)},
        "done": done,
        "findings": [{"kind": "spelling", "userId": "user:default/M1", "message": "rename it"}],
    }
    assert figures(RESULT) == {name: len(value) if isinstance(value, list) else value for name, value in done.items()}
    assert figures(None) == {}


def test_a_run_that_has_just_begun() -> None:
    """What it did not get to is null; numbers and lists are as they are, for the command line."""
    told = report_as_json(CleanupReport(7, "schedule", True, 1.0, RunOutcome.RUNNING))
    assert {name: value for name, value in told.items() if value is not None} == {
        "runId": 7,
        "trigger": "schedule",
        "dryRun": True,
        "outcome": "running",
        "startedAt": 1.0,
        "findings": [],
    }
    planned = report_as_json(CleanupReport(7, "schedule", True, 1.0, plan=Plan((ENTRY,), "0a", None, 9)))
    assert [(row["since"], row["until"]) for row in planned["plan"]["entries"]] == [(20.0, 30.0)]


def test_why_each_user_gets_their_step() -> None:
    """As an admin reads it who is asked to confirm the plan."""
    plan = Plan((), "", None, 3)
    told = {
        entry: reason_of(entry, plan)
        for entry in (
            PlanEntry("a", Step.BLOCK),
            PlanEntry("a", Step.RESTORE),
            PlanEntry("a", Step.DELETE, until=1.0),
            PlanEntry("a", Step.HOLD, hold=Hold.FOREIGN, until=1.0),
            PlanEntry("a", Step.HOLD, hold=Hold.GRACE, until=1_800_000_000.0),
            PlanEntry("a", Step.HOLD, hold=Hold.GRACE),
        )
    }
    assert list(told.values()) == [
        "in neither group any more: their keys are blocked",
        "back in a group: the keys that were blocked are unblocked",
        "in neither group since the grace period began: user and keys are deleted",
        "not created by this service: they stay blocked until an admin confirms this plan or deletes them",
        "within the grace period until 2027-01-15 08:00 UTC: their keys stay blocked",
        "in neither group, within the grace period: their keys stay blocked",
    ]
