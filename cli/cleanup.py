"""`litellm-orchestrator cleanup`: prints a plan as a table, or runs with a progress bar, or prints either as JSON."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from app import Orchestrator, Ports
from cli.configuration import config_option, settings_or_exit
from cli.operator import OPERATOR, TRIGGER
from domain.errors import OrchestratorError
from domain.offboarding import CleanupReport, Plan, RunOutcome
from edge.logs import configure_logging
from services.offboarding.account import Order
from services.offboarding.cleanup import Cleanup
from services.offboarding.cleanup_report import figures, reason_of, report_as_json
from settings.model import Settings
from settings.secrets import secrets_in

EXIT_DONE, EXIT_FAILED, EXIT_UNSAFE = 0, 1, 3


@click.command()
@config_option
@click.option("--apply/--dry-run", default=False, help="Execute the plan, or only print it (the default).")
@click.option("--plan-hash", help="Confirm the plan with this hash: also what is refused, or waits for a confirmation.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole report as JSON.")
def cleanup(paths: tuple[Path, ...], plan_hash: str | None, *, apply: bool, as_json: bool) -> None:
    """Off-board users who left the groups, once. Exits with 0 (done), 1 (failed) or 3 (refused as unsafe)."""
    settings = settings_or_exit(paths)
    configure_logging(secrets=secrets_in(settings))
    raise SystemExit(run(settings, apply=apply, plan_hash=plan_hash, as_json=as_json))


def run(settings: Settings, *, apply: bool, plan_hash: str | None, as_json: bool, ports: Ports | None = None) -> int:
    """Plans or executes, prints the report, and returns the exit code: 0 done, 1 failed, 3 refused as unsafe."""
    return asyncio.run(_run(Orchestrator(settings, ports), apply=apply, plan_hash=plan_hash, as_json=as_json))


async def _run(orchestrator: Orchestrator, *, apply: bool, plan_hash: str | None, as_json: bool) -> int:
    try:
        if orchestrator.cleanup is None:
            click.echo("The cleanup needs litellmOrchestrator.backstage.catalogToken to read the groups.", err=True)
            return EXIT_FAILED
        if apply:
            report = await _apply(orchestrator.cleanup, plan_hash, as_json=as_json)
        else:
            report = await orchestrator.cleanup.plan(await orchestrator.cleanup.begin(TRIGGER, None))
    except OrchestratorError as error:
        click.echo(error.message, err=True)
        return EXIT_FAILED
    finally:
        await orchestrator.aclose()
    if as_json:
        click.echo(json.dumps(report_as_json(report), indent=2))
    else:
        _print(report)
    return _exit_code(report)


async def _apply(cleanup: Cleanup, plan_hash: str | None, *, as_json: bool) -> CleanupReport:
    held = await cleanup.take(plan_hash)
    with Progress(console=Console(stderr=True), disable=as_json) as bar:
        task = bar.add_task("Off-boarding", total=None)

        def progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        return await cleanup.run(held, await cleanup.begin(TRIGGER, held), Order(OPERATOR, plan_hash, progress))


def _exit_code(report: CleanupReport) -> int:
    is_refused = report.plan is not None and report.plan.refusal is not None
    if report.outcome is RunOutcome.REFUSED or (report.dry_run and is_refused):
        return EXIT_UNSAFE
    return EXIT_FAILED if report.outcome is RunOutcome.FAILED else EXIT_DONE


def _print(report: CleanupReport) -> None:
    plan = report.plan
    if plan is not None and plan.entries:
        table = Table("user", "action", "keys", "reason")
        for entry in plan.entries:
            table.add_row(entry.user_id, entry.step, str(entry.keys or ""), reason_of(entry, plan))
        Console(width=160).print(table)
    if report.users is not None:
        counts = Counter(entry.step.value for entry in plan.entries) if plan is not None else {}
        steps = ", ".join(f"{count} to {step}" for step, count in sorted(counts.items())) or "nothing to do"
        click.echo(f"{report.members} members, {report.admins} admins, {report.users} users in LiteLLM: {steps}.")
    if report.orphans:
        click.echo(f"The catalog has {report.orphans} of the members and admins only as orphans.")
    for finding in report.findings:
        click.echo(f"{finding.user_id}: {finding.message}.")
    if report.result is not None:
        click.echo("Done: " + ", ".join(f"{name} {n}" for name, n in figures(report.result).items()) + ".")
    if refusal := report.reason or (plan.refusal if plan is not None else None):
        click.echo(f"{report.outcome.value.capitalize()}: {refusal}.", err=True)
    if plan is not None:
        _print_confirmation(plan)


def _print_confirmation(plan: Plan) -> None:
    waiting = sum(entry.when_confirmed is not entry.step for entry in plan.entries)
    if waiting:
        click.echo(f"{waiting} more users are deleted only if you confirm the plan.", err=True)
    if waiting or plan.refusal:
        click.echo(
            f"To execute exactly this plan all the same, within an hour: --apply --plan-hash {plan.hash}", err=True
        )
