"""Runs uvicorn for the commands that serve."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from functools import partial
from typing import cast

import click
import uvicorn
from uvicorn.supervisors import Multiprocess

from edge.connection import Connection
from settings.model import ConnectionLimits

EXIT_PORT = 1
EXIT_START = 3
_GRACE_SECONDS = 30


def run_server(factory: str, host: str, port: int, workers: int, *, limits: ConnectionLimits, banner: str = "") -> None:
    """Serves the application of `factory`. `{origin}` in `banner` is replaced by the address.

    Exits with 1 if the port is taken, with 3 if the application does not start.
    """
    listener = _listener_or_exit(host, port)
    config = uvicorn.Config(
        factory,
        factory=True,
        workers=workers,
        loop="uvloop",
        http=cast("type[asyncio.Protocol]", partial(Connection, limits=limits)),
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    bound_port = listener.getsockname()[1]
    if banner:
        click.echo(banner.replace("{origin}", f"http://localhost:{bound_port}"))
    click.echo(f"Listening on http://{host}:{bound_port}, process {os.getpid()}")
    server = uvicorn.Server(config)
    if workers > 1:
        Multiprocess(config, sockets=[listener]).run()
        return
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
    if not server.started:
        raise SystemExit(EXIT_START)


def _listener_or_exit(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        click.echo(
            f"Cannot listen on {host}, port {port}: {error.strerror}. "
            "Choose another port with --port (PORT= with make).",
            err=True,
        )
        raise SystemExit(EXIT_PORT) from error
    listener.set_inheritable(True)
    return listener
