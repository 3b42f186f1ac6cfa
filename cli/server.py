"""Runs uvicorn for the commands that serve."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import click
import uvicorn
from uvicorn.supervisors import Multiprocess

from edge.connection import Connection
from settings.model import ConnectionLimits

EXIT_PORT = EXIT_CERTIFICATE = 1
EXIT_START = 3
_GRACE_SECONDS = 30
_IDLE_SECONDS = 75
"""For which a connection is kept between two requests: longer than load balancers, and nginx, keep theirs (60 s). If
the service closed first, a request could meet a connection that is being closed."""
_START_SECONDS = 60
"""For what a worker imports before it can answer uvicorn, which otherwise ends it after 5 s, and starts another one."""


@dataclass(frozen=True)
class TlsFiles:
    """The files of a certificate with its chain, and of its key, both in PEM."""

    chain: Path
    key: Path


class _Supervisor(Multiprocess):
    """Notices at once that a worker ends while its answer is awaited, which may take as long as a start."""

    def keep_subprocess_alive(self) -> None:
        """Replaces workers that have ended or do not answer."""
        for process in self.processes:
            process.child_conn.close()  # the worker has its own; of two the other would still be open after its end
        super().keep_subprocess_alive()


def run_server(
    factory: str,
    host: str,
    port: int,
    workers: int,
    *,
    limits: ConnectionLimits,
    tls: TlsFiles | None = None,
    announce: Callable[[str], None] = lambda _: None,
) -> None:
    """Serves the application of `factory`. Before that is called, `announce` gets the address: port 0 is any free one.

    Exits with 1 if the port is taken or the certificate cannot be used, with 3 if the application does not start.
    """
    if tls is not None:
        _require_usable(tls)
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
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        timeout_worker_healthcheck=_START_SECONDS,
        ssl_certfile=tls.chain if tls else None,
        ssl_keyfile=tls.key if tls else None,
    )
    bound_port = listener.getsockname()[1]
    announce(f"{'https' if tls else 'http'}://localhost:{bound_port}")
    click.echo(f"Listening on {'https' if tls else 'http'}://{host}:{bound_port}, process {os.getpid()}")
    # After its shutdown uvicorn raises the signal again, which would end the process before callers clean up.
    signal.signal(signal.SIGTERM, _exit)
    server = uvicorn.Server(config)
    if workers > 1:
        _Supervisor(config, sockets=[listener]).run()
        return
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
    if not server.started:
        raise SystemExit(EXIT_START)


def _exit(_number: int, _frame: object) -> None:
    raise SystemExit(0)


def _require_usable(tls: TlsFiles) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tls.chain, tls.key)
    except ssl.SSLError as error:
        reason = error.reason or "it is not in PEM"
        click.echo(f"The certificate of backend.https cannot be used with its key: {reason}", err=True)
        raise SystemExit(EXIT_CERTIFICATE) from error


def _listener_or_exit(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        # From now on a caller is not refused, but waits until the application has started.
        listener.listen()
    except OSError as error:
        click.echo(
            f"Cannot listen on {host}, port {port}: {error.strerror}. "
            "Choose another port with --port (PORT= with make).",
            err=True,
        )
        raise SystemExit(EXIT_PORT) from error
    listener.set_inheritable(True)
    return listener
