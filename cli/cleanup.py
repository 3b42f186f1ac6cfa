"""`litellm-orchestrator cleanup`: the plan as a table, or the run with a progress bar, or either as JSON."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from app import Parts, World
from domain.errors import OrchestratorError
from services.offboarding.cleanup import Cleanup
from services.offboarding.report import Outcome, Report, figures
from settings.model import Settings

EXIT_DONE, EXIT_FAILED, EXIT_UNSAFE = 0, 1, 3
_TRIGGER = "command line"


def run(settings: Settings, *, apply: bool, plan_hash: str | None, as_json: bool, world: World | None = None) -> int:
    """Plan or apply, print what came of it, and answer the exit code: 0 done, 1 failed, 3 refused as unsafe."""
    return asyncio.run(_run(Parts(settings, world or World()), apply=apply, plan_hash=plan_hash, as_json=as_json))


async def _run(parts: Parts, *, apply: bool, plan_hash: str | None, as_json: bool) -> int:
    try:
        if parts.cleanup is None:
            click.echo(
                "The cleanup needs litellmOrchestrator.backstage.catalogToken, to read the groups with.", err=True
            )
            return EXIT_FAILED
        report = await (_apply(parts.cleanup, plan_hash, as_json=as_json) if apply else parts.cleanup.plan(_TRIGGER))
    except OrchestratorError as error:
        click.echo(error.message, err=True)
        return EXIT_FAILED
    finally:
        await parts.aclose()
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        _show(report)
    return _exit_code(report)


async def _apply(cleanup: Cleanup, plan_hash: str | None, *, as_json: bool) -> Report:
    held = await cleanup.take(plan_hash)
    with Progress(console=Console(stderr=True), disable=as_json) as bar:
        task = bar.add_task("Off-boarding", total=None)

        def progress(done: int, of: int) -> None:
            bar.update(task, completed=done, total=of)

        return await cleanup.run(held, _TRIGGER, plan_hash, progress)


def _exit_code(report: Report) -> int:
    plan_refused = report["plan"] is not None and report["plan"]["refusal"] is not None
    if report["outcome"] == Outcome.REFUSED or (report["dryRun"] and plan_refused):
        return EXIT_UNSAFE
    return EXIT_FAILED if report["outcome"] == Outcome.FAILED else EXIT_DONE


def _show(report: Report) -> None:
    plan = report["plan"] or {"entries": [], "refusal": None, "hash": None}
    if plan["entries"]:
        table = Table("user", "action", "keys", "why")
        for entry in plan["entries"]:
            table.add_row(entry["userId"], entry["action"], str(entry["keys"] or ""), entry["reason"])
        Console(width=160).print(table)
    if report["users"] is not None:
        counts = Counter(entry["action"] for entry in plan["entries"])
        told = ", ".join(f"{count} to {action}" for action, count in sorted(counts.items())) or "nothing to do"
        people = f"{report['members']} members, {report['admins']} admins, {report['users']} users in LiteLLM"
        click.echo(f"{people}: {told}.")
    if report["done"] is not None:
        click.echo("Done: " + ", ".join(f"{name} {figure}" for name, figure in figures(report).items()) + ".")
    if refusal := report["reason"] or plan["refusal"]:
        click.echo(f"{report['outcome'].capitalize()}: {refusal}.", err=True)
    if plan["refusal"]:
        click.echo(
            f"To remove exactly these all the same, within an hour: --apply --plan-hash {plan['hash']}", err=True
        )
