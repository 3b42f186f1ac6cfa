"""`litellm-orchestrator adopt`: prints as a table whom it would adopt, or adopts them, or prints either as JSON."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from app import Orchestrator, Ports
from cli.configuration import config_option, settings_or_exit
from cli.operator import OPERATOR, TRIGGER
from domain.adoption import MOST_PEOPLE, AdoptionOrder, AdoptionPlan, AdoptionReport
from domain.errors import OrchestratorError
from domain.offboarding import RunOutcome
from edge.logs import configure_logging
from services.adoption.report import report_as_json
from settings.model import Settings
from settings.secrets import secrets_in

EXIT_DONE, EXIT_FAILED, EXIT_REFUSED = 0, 1, 3


@click.command()
@config_option
@click.option(
    "--by",
    type=click.Choice(["spelling", "email"]),
    default="spelling",
    show_default=True,
    help="Whom: refs in mixed case only, or also users with the e-mail address of a user of the catalog.",
)
@click.option("--apply/--dry-run", default=False, help="Execute the plan, or only print it (the default).")
@click.option("--plan-hash", help="The plan to execute: the hash that a dry run of the last hour printed.")
@click.option("--delete-emptied", is_flag=True, help="Delete each old user once it has no key any more.")
@click.option("--limit", type=click.IntRange(1, MOST_PEOPLE), default=MOST_PEOPLE, help="At most so many people.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole report as JSON.")
def adopt(
    paths: tuple[Path, ...],
    by: str,
    plan_hash: str | None,
    limit: int,
    *,
    apply: bool,
    delete_emptied: bool,
    as_json: bool,
) -> None:
    """Make users whom LiteLLM has under other ids the users of their Backstage refs, with their keys.

    Exits with 0 (done), 1 (failed) or 3 (refused: it is not the confirmed plan any more).
    """
    settings = settings_or_exit(paths)
    configure_logging(secrets=secrets_in(settings))
    order = AdoptionOrder(by == "email", delete_emptied, limit, plan_hash)
    raise SystemExit(run(settings, order, apply=apply, as_json=as_json))


def run(settings: Settings, order: AdoptionOrder, *, apply: bool, as_json: bool, ports: Ports | None = None) -> int:
    """Plans or adopts, prints the report, and returns the exit code: 0 done, 1 failed, 3 refused."""
    return asyncio.run(_run(Orchestrator(settings, ports), order, apply=apply, as_json=as_json))


async def _run(orchestrator: Orchestrator, order: AdoptionOrder, *, apply: bool, as_json: bool) -> int:
    adoption = orchestrator.adoption
    try:
        if adoption is None:
            click.echo("Adoption needs litellmOrchestrator.backstage.catalogToken to read who is who.", err=True)
            return EXIT_FAILED
        if apply:
            held = await adoption.take(order)
            report = await adoption.run(held, await adoption.begin(TRIGGER, order, held), OPERATOR)
        else:
            report = await adoption.plan(await adoption.begin(TRIGGER, replace(order, plan_hash=None), None))
    except OrchestratorError as error:
        click.echo(error.message, err=True)
        return EXIT_FAILED
    finally:
        await orchestrator.aclose()
    if as_json:
        click.echo(json.dumps(report_as_json(report), indent=2))
    else:
        _print(report)
    if report.outcome is RunOutcome.REFUSED:
        return EXIT_REFUSED
    return EXIT_FAILED if report.outcome is RunOutcome.FAILED else EXIT_DONE


def _print(report: AdoptionReport) -> None:
    if report.plan is not None:
        _print_plan(report.plan)
    if report.result is not None:
        keys = sum(row.keys for row in report.result.adopted)
        deleted = sum(row.deleted for row in report.result.adopted)
        click.echo(f"Done: {len(report.result.adopted)} adopted, {keys} keys moved, {deleted} old users deleted.")
        for row in report.result.adopted:
            if row.kept_because is not None:
                click.echo(f"{row.account} stays: {row.kept_because}.")
        for owner, error in report.result.failed.items():
            click.echo(f"{owner}: {error}.", err=True)
    if report.reason is not None:
        click.echo(f"{report.outcome.value.capitalize()}: {report.reason}.", err=True)
    if report.outcome is RunOutcome.PLANNED and report.plan is not None and report.plan.entries:
        click.echo(f"To execute exactly this plan, within an hour: --apply --plan-hash {report.plan.hash}", err=True)


def _print_plan(plan: AdoptionPlan) -> None:
    if plan.entries or plan.conflicts:
        table = Table("user", "has in LiteLLM", "keys", "spend", "budget", "conflict")
        for entry in plan.entries:
            budget = entry.limits["max_budget"]
            shown = "" if budget is None else f"{budget:g}"
            table.add_row(entry.owner, entry.account, str(len(entry.keys)), f"{entry.spend:.2f}", shown, "")
        for row in plan.conflicts:
            table.add_row(row.owner or "", row.account, "", "", "", f"{row.kind}: {row.message}")
        Console(width=200).print(table)
    click.echo(
        f"{len(plan.entries)} to adopt, {plan.postponed} beyond the limit, {len(plan.conflicts)} conflicts, "
        f"{plan.unmatched} others left as they are."
    )
