"""The program of `make run` and `make mock`. It is no part of what is deployed: it signs in anybody as anybody."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import click
from starlette.types import ASGIApp

from app import create_app
from cli.server import run_server
from edge.logs import configure_logging
from settings.model import ConnectionLimits
from standalone.environment import standalone_ports, standalone_settings
from standalone.seed import SeedError, seeded_stand_ins

_RATE_VARIABLE = "LITELLM_ORCHESTRATOR_RATE_PER_MINUTE"
_SEED_VARIABLE = "LITELLM_ORCHESTRATOR_SEED"
_BASE = "{origin}/api/litellm-orchestrator"
_ALICE = f"{_BASE}/users/user%3Adefault%2Falice"


def _curl(person: str, arguments: str) -> str:
    return f"""curl -sS -H 'Authorization: Bearer mock-user-token:{{"sub":"user:default/{person}"}}' {arguments}"""


_BANNER = "\n".join(
    [
        f"LiteLLM and Backstage are stand-ins inside this process. The console: {_BASE}/console",
        f"Read and try the API at {_BASE}/docs, or paste:",
        "",
        "# alice, a member, for herself: her user, a new key, her keys, her roles and limits",
        _curl("alice", _ALICE),
        _curl("alice", f"-X POST {_ALICE}/keys"),
        _curl("alice", f"{_ALICE}/keys"),
        _curl("alice", f"{_BASE}/me"),
        "# bob, an admin: alice's keys, and who changed what",
        _curl("bob", f"{_ALICE}/keys"),
        _curl("bob", f"{_BASE}/audit"),
        "# carol, in neither group, is refused",
        _curl("carol", f"{_BASE}/users/user%3Adefault%2Fcarol"),
        "",
    ]
)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=7007, show_default=True)
@click.option("--rate-per-minute", type=click.IntRange(1, 100000), help="Every rate limit, instead of the usual ones.")
@click.option("--seed", type=click.Path(path_type=Path), help="A YAML file of people, users and keys to begin with.")
def main(host: str, port: int, rate_per_minute: int | None, seed: Path | None) -> None:
    """Serve on embedded stand-ins of LiteLLM and Backstage with mock sign-in. For trying it out, not for real use."""
    if rate_per_minute is not None:
        os.environ[_RATE_VARIABLE] = str(rate_per_minute)
    if seed is not None:
        try:
            seeded_stand_ins(seed)
        except SeedError as error:
            raise click.UsageError(str(error)) from error
        os.environ[_SEED_VARIABLE] = str(seed)
    run_server("standalone.program:application", host, port, 1, limits=ConnectionLimits(), banner=_BANNER)


def application() -> ASGIApp:
    """The application on its stand-ins."""
    configure_logging(secrets=[])
    # Deleted with the process, like everything in the stand-ins.
    folder = tempfile.mkdtemp(prefix="litellm-orchestrator-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    settings = standalone_settings(folder)
    if given := os.environ.get(_RATE_VARIABLE):
        rate = int(given)
        settings = replace(settings, creates_per_minute=rate, changes_per_minute=rate, refusals_per_minute=rate)
    seed = os.environ.get(_SEED_VARIABLE)
    return create_app(settings, standalone_ports(*seeded_stand_ins(Path(seed))) if seed else standalone_ports())
