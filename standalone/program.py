"""The program of `make run` and `make mock`. It is no part of what is deployed: it signs in anybody as anybody."""

from __future__ import annotations

import atexit
import io
import os
import shutil
import tempfile
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import click
from starlette.types import ASGIApp, Receive, Scope, Send

from app import Ports, create_app
from cli.server import run_server
from edge.logs import configure_logging
from settings.model import ConnectionLimits, Settings
from standalone.backstage import BackstageStandIn
from standalone.demo import Demo, DemoClock, demo_settings
from standalone.environment import (
    CALLS_PATH,
    PIPELINE,
    TOKEN_PATH,
    standalone_ports,
    standalone_settings,
    with_model_calls,
    with_workload_tokens,
)
from standalone.issuer import IssuerStandIn
from standalone.litellm import LiteLLMStandIn
from standalone.seed import SeedError, seeded_stand_ins
from state.database import Database

_ORIGIN_VARIABLE = "LITELLM_ORCHESTRATOR_ORIGIN"
_RATE_VARIABLE = "LITELLM_ORCHESTRATOR_RATE_PER_MINUTE"
_SEED_VARIABLE = "LITELLM_ORCHESTRATOR_SEED"
_BASE = "{origin}/api/litellm-orchestrator"
_ALICE = f"{_BASE}/users/user%3Adefault%2Falice"


_OAUTH = "urn:ietf:params:oauth"
_EXCHANGE = (
    f"-d client_id={PIPELINE} -d grant_type={_OAUTH}:grant-type:token-exchange "
    f"-d subject_token_type={_OAUTH}:token-type:jwt"
)


def _curl(person: str, arguments: str) -> str:
    return f"""curl -sS -H 'Authorization: Bearer mock-user-token:{{"sub":"user:default/{person}"}}' {arguments}"""


_CUT_OUT = """sed 's/.*"keySecret": *"\\([^"]*\\)".*/\\1/'"""
_HELLO = """'{"model": "gpt-fake", "messages": [{"role": "user", "content": "Hello"}]}'"""
_CALL = f"-H 'Content-Type: application/json' -d {_HELLO}"
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
        "# a call of a model with a new key, and what alice has spent",
        f"KEY=$({_curl('alice', f'-X POST {_ALICE}/keys')} | {_CUT_OUT})",
        f"""curl -sS -H "Authorization: Bearer $KEY" {{origin}}{CALLS_PATH}/v1/chat/completions {_CALL}""",
        _curl("alice", f"{_ALICE}/usage"),
        "# a pipeline without a secret: its own token for a key of minutes",
        f"curl -sS {_BASE}/oauth/token {_EXCHANGE} -d subject_token=$(curl -sS {{origin}}{TOKEN_PATH})",
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
    run_server("standalone.program:application", host, port, 1, limits=ConnectionLimits(), announce=_announce)


def _announce(origin: str) -> None:
    os.environ[_ORIGIN_VARIABLE] = origin
    click.echo(_BANNER.replace("{origin}", origin))


def application() -> ASGIApp:
    """The application on its stand-ins, with the contents of a seed or of the demo, and calls of models beside it."""
    configure_logging(secrets=[])
    # Deleted with the process, like everything in the stand-ins.
    folder = tempfile.mkdtemp(prefix="litellm-orchestrator-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    settings = _settings(folder)
    issuer = IssuerStandIn()
    if seed := os.environ.get(_SEED_VARIABLE):
        litellm, backstage = seeded_stand_ins(Path(seed))
        service = create_app(settings, standalone_ports(litellm, backstage, issuer_stand_in=issuer))
        return with_workload_tokens(with_model_calls(service, litellm), issuer)
    clock = DemoClock()
    litellm, backstage = LiteLLMStandIn(clock), BackstageStandIn()
    settings = demo_settings(settings)
    service = create_app(settings, standalone_ports(litellm, backstage, Ports(wall_clock=clock), issuer))
    demo = Demo(service, litellm, backstage.org, clock)
    served = with_workload_tokens(with_model_calls(service, litellm), issuer)
    return _after(demo, settings.database_url, served)


def _settings(folder: str) -> Settings:
    settings = standalone_settings(folder)
    console = replace(settings.console, models_url=f"{os.environ[_ORIGIN_VARIABLE]}{CALLS_PATH}")
    if given := os.environ.get(_RATE_VARIABLE):
        rate = int(given)
        settings = replace(settings, creates_per_minute=rate, changes_per_minute=rate, refusals_per_minute=rate)
    return replace(settings, console=console, public_url=os.environ[_ORIGIN_VARIABLE])


def _after(demo: Demo, database_url: str, served: ASGIApp) -> ASGIApp:
    """`served`, which starts when the demo has been played."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            async with aclosing(Database(database_url)) as database:
                await database.migrate()
            # What the demo does is not what the reader of this log has done.
            configure_logging(secrets=[], stream=io.StringIO())
            await demo.play()
            configure_logging(secrets=[])
        await served(scope, receive, send)

    return application
