"""`litellm-orchestrator serve`."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import tempfile
from pathlib import Path

import click
from starlette.types import ASGIApp

from app import Ports, create_app
from app.contract import contract
from cli.configuration import EXIT_SETTINGS, config_option, settings_or_exit
from cli.server import TlsFiles, run_server
from domain.redaction import Redaction
from edge.logs import configure_logging
from settings.model import Certificate, Settings
from settings.secrets import secrets_in
from state.database import Database, DatabaseUnavailableError
from telemetry.metrics import SHARED_FOLDER
from telemetry.tracing import TracingError, traces_are_on, tracing_from

EXIT_DATABASE = 1
_CONFIG_VARIABLE = "LITELLM_ORCHESTRATOR_CONFIG_FILES"


@click.command(short_help="Serve with the settings of --config.")
@config_option
@click.option("--host", help="The address to listen on, instead of backend.listen.")
@click.option("--port", type=click.IntRange(0, 65535), help="The port to listen on, instead of backend.listen.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="The number of processes.")
def serve(paths: tuple[Path, ...], host: str | None, port: int | None, workers: int) -> None:
    """Serve with the settings of --config and of APP_CONFIG_* variables."""
    settings = settings_or_exit(paths)
    _require_supported_tracing()
    _migrate_or_exit(settings)
    # Workers are new processes, which read the same files again.
    os.environ[_CONFIG_VARIABLE] = json.dumps([str(path.resolve()) for path in paths])
    with tempfile.TemporaryDirectory(prefix="litellm-orchestrator-") as folder:
        if workers > 1:
            os.environ[SHARED_FOLDER] = folder
        run_server(
            "cli.serve:application",
            host or settings.host,
            settings.port if port is None else port,
            workers,
            limits=settings.connections,
            tls=None if settings.certificate is None else _written(settings.certificate, Path(folder)),
        )


def application() -> ASGIApp:
    """The application of one worker process."""
    settings = settings_or_exit([Path(path) for path in json.loads(os.environ[_CONFIG_VARIABLE])])
    configure_logging(secrets=secrets_in(settings))
    tracing = tracing_from(os.environ, contract()["info"]["version"])
    # What exists at the start lives until the end, so the collector need not scan it again and again.
    return create_app(settings, Ports(tracing=tracing), on_start=gc.freeze)


def _require_supported_tracing() -> None:
    try:
        traces_are_on(os.environ)
    except TracingError as error:
        click.echo(f"The environment cannot be used: {error}", err=True)
        raise SystemExit(EXIT_SETTINGS) from error


def _written(certificate: Certificate, folder: Path) -> TlsFiles:
    """The certificate as files, as OpenSSL needs it. Only this user can read `folder`."""
    files = TlsFiles(folder / "certificate.pem", folder / "key.pem")
    files.chain.write_text(certificate.chain)
    files.key.write_text(certificate.key)
    return files


def _migrate_or_exit(settings: Settings) -> None:
    """Migrates before any worker starts, so that a problem is one sentence and not a traceback."""

    async def migrate() -> None:
        database = Database(settings.database_url)
        try:
            await database.migrate()
        finally:
            await database.aclose()

    try:
        asyncio.run(migrate())
    except DatabaseUnavailableError as error:
        found = f"The database {error.where} cannot be used: {_root_cause(error, settings)}."
        click.echo(f"{found} Check litellmOrchestrator.database.url.", err=True)
        raise SystemExit(EXIT_DATABASE) from error


def _root_cause(error: BaseException, settings: Settings) -> str:
    """The first line of the driver's message, without secrets."""
    cause = getattr(error.__cause__, "orig", None) or error.__cause__
    return Redaction(secrets_in(settings)).text(str(cause).strip().splitlines()[0])
