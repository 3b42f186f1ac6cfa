"""Reports of the cleanup as JSON: for the API, the command line and the log."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from domain.offboarding import CleanupFinding, CleanupReport, ExecutionResult, Hold, Plan, PlanEntry, Step
from domain.owners import Departure

Row = dict[str, Any]

_REASONS = {
    Step.BLOCK: ("in neither group any more", "their keys are blocked"),
    Step.HOLD: ("in neither group, within the grace period", "their keys stay blocked"),
    Step.DELETE: ("in neither group since the grace period began", "user and keys are deleted"),
    Step.RESTORE: ("back in a group", "the keys that were blocked are unblocked"),
}
"""Why a person gets a step, and what it does."""
_DEPARTURES = {
    Departure.MISSING: "not in the catalog any more",
    Departure.UNMATCHED: "no entry of litellmOrchestrator.owners matches it any more",
    Departure.REGISTERED_AGAIN: "registered again: an admin may accept its uid",
}


def report_as_json(
    report: CleanupReport,
    *,
    time: Callable[[float | None], Any] = lambda seconds: seconds,
    rows: Callable[[Iterable[Row]], Any] = list,
) -> Row:
    """The report under the names of the API.

    `time` renders times, which are seconds since the epoch, and `rows` the entries of the plan: there may be very many.
    """
    return {
        "runId": report.run_id,
        "trigger": report.trigger,
        "dryRun": report.dry_run,
        "outcome": report.outcome.value,
        "reason": report.reason,
        "startedAt": time(report.started_at),
        "finishedAt": time(report.finished_at),
        "members": report.members,
        "admins": report.admins,
        "users": report.users,
        "orphans": report.orphans,
        "sweptAt": time(report.swept_at),
        "progress": None if report.progress is None else asdict(report.progress),
        "plan": None if report.plan is None else _plan(report.plan, time, rows),
        "done": None if report.result is None else _result(report.result),
        "findings": [_finding(row) for row in report.findings],
    }


def reason_of(entry: PlanEntry, plan: Plan) -> str:
    """Why a user gets this step."""
    match entry.hold:
        case Hold.FOREIGN:
            return "not created by this service: they stay blocked until an admin confirms this plan or deletes them"
        case Hold.POSTPONED:
            return f"postponed: at most {plan.max_deletions} deletions in 24 hours, unless an admin confirms this plan"
        case Hold.GRACE if entry.until is not None:
            why = "" if entry.departure is None else f"{_DEPARTURES[entry.departure]}; "
            return f"{why}within the grace period until {_minute(entry.until)}: their keys stay blocked"
        case _:
            why, what = _REASONS[entry.step]
            return f"{why if entry.departure is None else _DEPARTURES[entry.departure]}: {what}"


def figures(result: ExecutionResult | None) -> dict[str, int]:
    """The numbers of a result; empty without one."""
    fields = {} if result is None else _result(result)
    return {name: len(value) if isinstance(value, list) else value for name, value in fields.items()}


def _finding(finding: CleanupFinding) -> dict[str, str]:
    return {"kind": finding.kind, "userId": finding.user_id, "message": finding.message}


def _plan(plan: Plan, time: Callable[[float | None], Any], rows: Callable[[Iterable[Row]], Any]) -> Row:
    entries = (
        {
            "userId": entry.user_id,
            "action": entry.step.value,
            "whenConfirmed": entry.when_confirmed.value,
            "reason": reason_of(entry, plan),
            "since": time(entry.since),
            "until": time(entry.until),
            "keys": entry.keys,
        }
        for entry in plan.entries
    )
    return {"hash": plan.hash, "refusal": plan.refusal, "entries": rows(entries)}


def _result(result: ExecutionResult) -> Row:
    return {
        "blocked": result.users[Step.BLOCK],
        "held": result.users[Step.HOLD],
        "deleted": result.users[Step.DELETE],
        "restored": result.users[Step.RESTORE],
        "keysBlocked": result.keys[Step.BLOCK] + result.keys[Step.HOLD],
        "keysDeleted": result.keys[Step.DELETE],
        "keysRestored": result.keys[Step.RESTORE],
        "failed": [{"userId": user_id, "error": error} for user_id, error in result.failed.items()],
    }


def _minute(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
