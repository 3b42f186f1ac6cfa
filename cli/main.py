"""The command line: `litellm-orchestrator serve`, `standalone` and `cleanup`."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import json
import os
import shutil
import socket
import tempfile
from dataclasses import replace
from pathlib import Path

import click
import uvicorn
from sqlalchemy.engine import make_url
from starlette.types import ASGIApp
from uvicorn.supervisors import Multiprocess

from app import create_app
from cli import cleanup as cli_cleanup
from domain.redaction import redact
from edge.logs import configure_logging
from settings import app_config
from settings import model as settings
from standalone.environment import standalone_settings, standalone_world
from state.database import Database, DatabaseUnavailableError

EXIT_SETTINGS = 2
EXIT_PORT = 1
EXIT_DATABASE = 1
_CONFIG_VARIABLE = "LITELLM_ORCHESTRATOR_CONFIG_FILES"
_CREATES_VARIABLE = "LITELLM_ORCHESTRATOR_CREATES_PER_MINUTE"
_GRACE_SECONDS = 30

_config = click.option(
    "--config",
    "paths",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    help="An app-config.yaml; repeat it, later files win.",
)


@click.group()
def main() -> None:
    """Self-service for LiteLLM users and keys, authorised by Backstage."""


@main.command()
@_config
@click.option("--host", help="Address to listen on, instead of backend.listen.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on, instead of backend.listen.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes to serve with.")
def serve(paths: tuple[Path, ...], host: str | None, port: int | None, workers: int) -> None:
    """Serve with the settings of --config and of APP_CONFIG_* variables."""
    loaded = _settings_or_exit(paths)
    _migrate_or_exit(loaded)
    # Workers are new processes: they read the same files again.
    os.environ[_CONFIG_VARIABLE] = json.dumps([str(path.resolve()) for path in paths])
    _run("cli.main:application", host or loaded.host, loaded.port if port is None else port, workers)


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=7007, show_default=True)
@click.option("--creates-per-minute", type=click.IntRange(1, 100000), default=30, show_default=True)
def standalone(host: str, port: int, creates_per_minute: int) -> None:
    """Serve on embedded stand-ins of LiteLLM and Backstage, with mock sign-in. For trying it out, never for use."""
    os.environ[_CREATES_VARIABLE] = str(creates_per_minute)
    _run("cli.main:standalone_application", host, port, 1, banner=True)


@main.command()
@_config
@click.option("--apply/--dry-run", default=False, help="Do it, or print the plan only (the default).")
@click.option("--plan-hash", help="Confirm the plan of this hash, which was refused for being too large.")
@click.option("--json", "as_json", is_flag=True, help="The whole report, for machines.")
def cleanup(paths: tuple[Path, ...], plan_hash: str | None, *, apply: bool, as_json: bool) -> None:
    """Remove users who left the groups, once. Exits 0 done, 1 failed, 3 refused as unsafe."""
    loaded = _settings_or_exit(paths)
    configure_logging(secrets=_secrets(loaded))
    raise SystemExit(cli_cleanup.run(loaded, apply=apply, plan_hash=plan_hash, as_json=as_json))


def application() -> ASGIApp:
    """The service for one worker process."""
    loaded = _settings_or_exit(tuple(Path(path) for path in json.loads(os.environ[_CONFIG_VARIABLE])))
    configure_logging(secrets=_secrets(loaded))
    return create_app(loaded)


def _secrets(loaded: settings.Settings) -> list[str]:
    tokens = [row.token for row in loaded.service_tokens]
    database = make_url(loaded.database_url).password
    return [loaded.litellm.master_key, loaded.backstage.catalog_token or "", database or "", *tokens]


def standalone_application() -> ASGIApp:
    """The service on its stand-ins."""
    configure_logging(secrets=[])
    # Gone with the process, like everything that the stand-ins hold.
    folder = tempfile.mkdtemp(prefix="litellm-orchestrator-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    chosen = replace(standalone_settings(folder), creates_per_minute=int(os.environ[_CREATES_VARIABLE]))
    return create_app(chosen, standalone_world())


def _settings_or_exit(paths: tuple[Path, ...]) -> settings.Settings:
    try:
        return settings.from_app_config(app_config.load(paths, os.environ))
    except app_config.AppConfigError as error:
        click.echo(f"Settings cannot be read: {error}", err=True)
    except settings.SettingsError as error:
        click.echo("These settings have to be mended first:", err=True)
        for problem in error.problems:
            click.echo(f"  {problem}", err=True)
    raise SystemExit(EXIT_SETTINGS)


def _migrate_or_exit(loaded: settings.Settings) -> None:
    """Before any worker starts: one of them alone need not say so in a traceback."""

    async def migrate() -> None:
        database = Database(loaded.database_url)
        try:
            await database.migrate()
        finally:
            await database.aclose()

    try:
        asyncio.run(migrate())
    except DatabaseUnavailableError as error:
        told = f"The database {error.where} cannot be used: {_root_cause(error)}"
        click.echo(f"{told}. It is set by litellmOrchestrator.database.url.", err=True)
        raise SystemExit(EXIT_DATABASE) from error


def _root_cause(error: BaseException) -> str:
    """What the driver said, in its first line."""
    cause = getattr(error.__cause__, "orig", None) or error.__cause__
    return redact(str(cause).strip().splitlines()[0])


def _run(factory: str, host: str, port: int, workers: int, *, banner: bool = False) -> None:
    listener = _listener_or_exit(host, port)
    config = uvicorn.Config(
        factory,
        factory=True,
        workers=workers,
        loop="uvloop",
        http="httptools",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    bound_port = listener.getsockname()[1]
    if banner:
        click.echo(_curl_lines(f"http://localhost:{bound_port}"))
    click.echo(f"Listening on http://{host}:{bound_port}, process {os.getpid()}")
    server = uvicorn.Server(config)
    if workers > 1:
        Multiprocess(config, sockets=[listener]).run()
        return
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
    if not server.started:
        raise SystemExit(3)


def _listener_or_exit(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        click.echo(
            f"Cannot listen on {host}, port {port}: {error.strerror}. Choose another with --port (PORT= with make).",
            err=True,
        )
        raise SystemExit(EXIT_PORT) from error
    listener.set_inheritable(True)
    return listener


def _curl_lines(origin: str) -> str:
    base = f"{origin}/api/litellm-orchestrator"
    alice = f"{base}/users/user%3Adefault%2Falice"

    def curl(person: str, rest: str) -> str:
        return f"""curl -sS -H 'Authorization: Bearer mock-user-token:{{"sub":"user:default/{person}"}}' {rest}"""

    return "\n".join(
        [
            f"LiteLLM and Backstage are stand-ins inside this process. Read and try the API at {base}/docs, or paste:",
            "",
            "# alice, a member, for herself: her user, a new key, her keys, what she may do",
            curl("alice", alice),
            curl("alice", f"-X POST {alice}/keys"),
            curl("alice", f"{alice}/keys"),
            curl("alice", f"{base}/me"),
            "# bob, an admin: alice's keys, and who did what",
            curl("bob", f"{alice}/keys"),
            curl("bob", f"{base}/audit"),
            "# carol, in neither group, is refused",
            curl("carol", f"{base}/users/user%3Adefault%2Fcarol"),
            "",
        ]
    )
