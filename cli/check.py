"""`litellm-orchestrator check`: tries everything that the service needs, and says what to do about each problem."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import aclosing
from dataclasses import asdict, replace
from pathlib import Path

import click

from app import Foundation, Ports
from cli.configuration import config_option, settings_or_exit
from edge.logs import configure_logging
from services.diagnosis import BackstageCheck, DatabaseCheck, DevicesCheck, Finding, IssuersCheck, LiteLLMCheck, Verdict
from settings.model import CircuitSettings, Settings
from settings.secrets import secrets_in

EXIT_FAILED = 1


@click.command(short_help="Try what the service needs, before it is started.")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def check(paths: tuple[Path, ...], *, as_json: bool) -> None:
    """Try LiteLLM, Backstage, issuers and the database, and change nothing. Exits with 1 if something does not work."""
    settings = settings_or_exit(paths)
    with Path(os.devnull).open("w") as nowhere:
        # The findings say everything that a log line would.
        configure_logging(secrets=secrets_in(settings), stream=nowhere)
        code = run(settings, as_json=as_json)
    raise SystemExit(code)


def run(settings: Settings, *, as_json: bool, ports: Ports | None = None) -> int:
    """Prints the findings, and returns the exit code: 0 if the service can be started, else 1."""
    findings = asyncio.run(_findings(settings, ports or Ports(), as_json=as_json))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    return EXIT_FAILED if any(finding.verdict is Verdict.FAILED for finding in findings) else 0


async def _findings(settings: Settings, ports: Ports, *, as_json: bool) -> list[Finding]:
    # Each finding is about what was asked for, and not about the findings before it.
    settings = replace(settings, circuit_breaker=CircuitSettings(failures=0))
    foundation = Foundation(settings, ports)
    checks = (
        LiteLLMCheck(settings=settings.litellm, litellm=foundation.litellm, models=foundation.litellm_models),
        BackstageCheck(settings=settings, tokens=foundation.tokens, catalog=foundation.catalog),
        IssuersCheck(settings=settings.workloads.issuers, issuers=foundation.issuers),
        DevicesCheck(settings=settings),
        DatabaseCheck(database=foundation.database, directory=foundation.directory),
    )
    findings = []
    async with aclosing(foundation):
        for each in checks:
            async for finding in each.findings():
                findings.append(finding)
                if not as_json:
                    _print(finding)
    return findings


def _print(finding: Finding) -> None:
    click.echo(f"{finding.verdict:<8} {finding.subject}: {finding.found}")
    if finding.remedy is not None:
        click.echo(f"{'':<8} → {finding.remedy}")
