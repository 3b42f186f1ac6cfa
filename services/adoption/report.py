"""Reports of adoptions as JSON: for the API and the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from domain.adoption import AdoptionEntry, AdoptionPlan, AdoptionReport, AdoptionResult

Row = dict[str, Any]


def report_as_json(report: AdoptionReport, *, time: Callable[[float | None], Any] = lambda seconds: seconds) -> Row:
    """The report under the names of the API. `time` renders times, which are seconds since the epoch."""
    order = report.order
    return {
        "adoptionId": report.adoption_id,
        "trigger": report.trigger,
        "dryRun": report.dry_run,
        "by": "email" if order.by_email else "spelling",
        "deleteEmptied": order.delete_emptied,
        "limit": order.limit,
        "outcome": report.outcome.value,
        "reason": report.reason,
        "startedAt": time(report.started_at),
        "finishedAt": time(report.finished_at),
        "progress": None if report.progress is None else asdict(report.progress),
        "plan": None if report.plan is None else _plan(report.plan),
        "done": None if report.result is None else _result(report.result),
    }


def _plan(plan: AdoptionPlan) -> Row:
    return {
        "hash": plan.hash,
        "entries": [_entry(entry) for entry in plan.entries],
        "conflicts": [
            {"account": row.account, "userId": row.owner, "kind": row.kind.value, "message": row.message}
            for row in plan.conflicts
        ],
        "postponed": plan.postponed,
        "unmatched": plan.unmatched,
    }


def _entry(entry: AdoptionEntry) -> Row:
    limits = entry.limits
    return {
        "userId": entry.owner,
        "account": entry.account,
        "match": entry.match.value,
        "keys": list(entry.keys),
        "spend": entry.spend,
        "models": limits["models"],
        "maxBudget": limits["max_budget"],
        "budgetDuration": limits["budget_duration"],
        "tpmLimit": limits["tpm_limit"],
        "rpmLimit": limits["rpm_limit"],
        "maxParallelRequests": limits["max_parallel_requests"],
    }


def _result(result: AdoptionResult) -> Row:
    return {
        "adopted": [
            {
                "userId": row.owner,
                "account": row.account,
                "keys": row.keys,
                "deleted": row.deleted,
                "keptBecause": row.kept_because,
            }
            for row in result.adopted
        ],
        "failed": [{"userId": owner, "error": error} for owner, error in result.failed.items()],
    }
