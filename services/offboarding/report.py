"""What a run found and did, in one object: for the API, the command line, the log and the table of runs.

`{runId, trigger, dryRun, outcome, reason, startedAt, finishedAt, members, admins, users, plan, done}`: times are
seconds since the epoch here; `handlers/cleanup.py` writes them as ISO 8601.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from services.offboarding.apply import Done
from services.offboarding.plan import REASONS, Action, Plan
from services.offboarding.snapshot import Snapshot

Report = dict[str, Any]


class Outcome(StrEnum):
    """How a run ended."""

    PLANNED = "planned"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


def begun(run_id: int, trigger: str, started_at: float, *, dry_run: bool) -> Report:
    """A report of a run that has found nothing yet."""
    return {
        "runId": run_id,
        "trigger": trigger,
        "dryRun": dry_run,
        "outcome": Outcome.FAILED.value,
        "reason": None,
        "startedAt": started_at,
        "finishedAt": None,
        "members": None,
        "admins": None,
        "users": None,
        "plan": None,
        "done": None,
    }


def found(snapshot: Snapshot) -> Report:
    """The part about a snapshot."""
    return {"members": len(snapshot.members), "admins": len(snapshot.admins), "users": len(snapshot.users)}


def planned(plan: Plan) -> Report:
    """The part about a plan."""
    entries = [
        {
            "userId": entry.user_id,
            "action": entry.action.value,
            "reason": REASONS[entry.action],
            "since": entry.since,
            "keys": entry.keys,
        }
        for entry in plan.entries
    ]
    return {"plan": {"hash": plan.hash, "refusal": plan.refusal, "entries": entries}}


def figures(report: Report) -> dict[str, int]:
    """What was done, in numbers: none where nothing was applied."""
    done = report["done"] or {}
    return {name: len(what) if isinstance(what, list) else what for name, what in done.items()}


def applied(done: Done) -> Report:
    """The part about what was done."""
    return {
        "done": {
            "blocked": done.users[Action.BLOCK],
            "held": done.users[Action.HOLD],
            "deleted": done.users[Action.DELETE],
            "restored": done.users[Action.RESTORE],
            "keysBlocked": done.keys[Action.BLOCK] + done.keys[Action.HOLD],
            "keysDeleted": done.keys[Action.DELETE],
            "keysRestored": done.keys[Action.RESTORE],
            "failed": [{"userId": user_id, "error": error} for user_id, error in done.failed.items()],
        }
    }
