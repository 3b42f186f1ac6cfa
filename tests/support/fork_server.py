"""Programs of this repository, forked from a process that has imported them already.

The imports are most of what a start costs, and reading the contract most of the rest. After that a forked process does
what a started one does: it runs the program's `__main__` with its own arguments, environment and output, and ends as an
interpreter ends.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import socket
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress

import pytest
from aiohttp import connector
from connexion.spec import Specification

from app.contract import contract
from edge import application
from tests.support.once import read_the_contract_once

IMPORTED = ("cli.main", "standalone.program", "aiosqlite", "uvloop", "uvicorn.lifespan.on", "state.migrate")
_CHUNK = 2**16


def order(program: str, arguments: Sequence[str], environment: Mapping[str, str]) -> bytes:
    """What the server is sent, with two files: one gets the output, one the process id and then the exit code."""
    return json.dumps({"program": program, "arguments": arguments, "environment": dict(environment)}).encode() + b"\n"


def serve(control: socket.socket) -> str:
    """Forks at each order. Returns in each forked process only, with the name of the program that it is to run."""
    while True:
        text, files = _received(control)
        if not text:
            raise SystemExit
        if os.fork() == 0:
            pid = os.fork()
            if pid == 0:
                control.close()
                return _become(files, **json.loads(text))
            _tell_the_end(pid, files)
        for file in files:
            os.close(file)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                """One that has told the end."""


def _received(control: socket.socket) -> tuple[bytes, list[int]]:
    """An order and its files; nothing once the tests have ended."""
    text, files, *_ = socket.recv_fds(control, _CHUNK, 2)
    while text and not text.endswith(b"\n"):
        text += control.recv(_CHUNK)
    return text, files


def _tell_the_end(pid: int, files: list[int]) -> None:
    """Waits for a forked process, in a process of its own."""
    output, told = files
    os.close(output)
    os.write(told, f"{pid}\n".encode())
    os.write(told, f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\n".encode())
    os._exit(0)


def _become(files: list[int], program: str, arguments: list[str], environment: dict[str, str]) -> str:
    for number in (1, 2):
        os.dup2(files[0], number)
    for file in files:
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None
    if "SSL_CERT_FILE" in environment:  # aiohttp reads it where it is imported
        connector._SSL_CONTEXT_VERIFIED = connector._make_ssl_context(verified=True)
    sys.argv[1:] = arguments
    return program


def _read_the_contract() -> None:
    read_the_contract_once(pytest.MonkeyPatch())
    for document in application._by_base_path(contract()).values():
        Specification.load(document)


if __name__ == "__main__":
    for name in IMPORTED:
        importlib.import_module(name)
    _read_the_contract()
    gc.freeze()
    runpy.run_module(serve(socket.socket(fileno=int(sys.argv[1]))), run_name="__main__", alter_sys=True)
