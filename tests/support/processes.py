"""The service as its own process, started by its command line, or forked where its imports end."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from tests.support import fork_server

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 180


class Forked:
    """What `Process` is for a child, for a process that the fork server has made."""

    def __init__(self, stdout: asyncio.StreamReader, told: asyncio.StreamReader, pid: int) -> None:
        self.stdout, self.pid = stdout, pid
        self.returncode: int | None = None
        self._end = asyncio.create_task(self._ended(told))

    @classmethod
    async def start(cls, program: str, arguments: Sequence[str], environment: Mapping[str, str]) -> Forked:
        """Forks a process that runs `program`."""
        (output, into_output), (told, into_told) = os.pipe(), os.pipe()
        order, server = fork_server.order(program, arguments, environment), _fork_server()
        sent = socket.send_fds(server, [order], [into_output, into_told])
        server.sendall(order[sent:])
        os.close(into_output)
        os.close(into_told)
        end = await _reader(told)
        return cls(await _reader(output), end, int(await end.readline()))

    async def _ended(self, told: asyncio.StreamReader) -> int:
        self.returncode = int(await told.read())
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    async def wait(self) -> int:
        return await asyncio.shield(self._end)

    async def communicate(self) -> tuple[bytes, None]:
        printed = await self.stdout.read()
        await self.wait()
        return printed, None


async def _reader(file: int) -> asyncio.StreamReader:
    """What comes out of a pipe. The file is closed at its end."""
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, os.fdopen(file, "rb", buffering=0))
    return reader


@cache
def _fork_server() -> socket.socket:
    """The way to it."""
    ours, theirs = socket.socketpair()
    with theirs:
        command = (sys.executable, "-m", "tests.support.fork_server", str(theirs.fileno()))
        server = subprocess.Popen(command, cwd=ROOT, pass_fds=[theirs.fileno()])
    _ending.callback(server.wait)
    return _ending.enter_context(ours)


_ending = ExitStack()


def end_fork_server() -> None:
    """If it was needed. What it has imported counts for the coverage once it has ended."""
    _ending.close()


@dataclass
class Running:
    """A process that listens, and the lines that it has printed until now."""

    process: Process | Forked
    port: int = 0
    printed: list[str] = field(default_factory=list)
    _reading: asyncio.Task[None] = field(init=False)
    _ready: asyncio.Event = field(default_factory=asyncio.Event)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._reading = asyncio.create_task(self._read())

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _read(self) -> None:
        """Reads until the process ends, since a full pipe would hold it back."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.printed.append(line.decode())
            self._news.set()
            if found := re.match(r"Listening on https?://.*:(\d+), process", self.printed[-1]):
                self.port = int(found[1])
            if '"event": "ready"' in self.printed[-1]:
                self._ready.set()
        self._ready.set()
        self._news.set()

    async def ready(self) -> None:
        """Returns once it accepts connections, which is a moment after the application has started."""
        await asyncio.wait_for(self._ready.wait(), PATIENCE)
        assert not self._reading.done(), f"it ended: {''.join(self.printed)}"
        while True:
            with suppress(ConnectionRefusedError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                return

    async def says(self, text: str, *, times: int = 1) -> None:
        """Returns once it has printed `text` so many times."""
        while "".join(self.printed).count(text) < times:
            assert not self._reading.done(), f"it ended: {''.join(self.printed)}"
            self._news.clear()
            await asyncio.wait_for(self._news.wait(), PATIENCE)

    async def printed_to_the_end(self) -> str:
        """Everything that it printed until it ended."""
        await asyncio.wait_for(self._reading, PATIENCE)
        await self.process.wait()
        return "".join(self.printed)

    async def stop(self) -> str:
        """End it as an orchestrator of containers does, and answer all that it printed."""
        self.process.send_signal(signal.SIGTERM)
        return await self.printed_to_the_end()


async def start(
    *arguments: str,
    program: str = "cli",
    imports: bool = False,
    variables: Mapping[str, str] | None = None,
    **environment: str,
) -> Process | Forked:
    """Start the command line, or another program of this repository, with both outputs in one.

    It is forked where its imports end, unless it `imports`: then it is a new interpreter, as in a shell. That shows
    that it starts at all and what it says then, and is needed where a variable matters to what it imports.
    """
    everything = {**os.environ, **(variables or {}), **environment}
    if not imports:
        return await Forked.start(program, arguments, everything)
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", program, *arguments, cwd=ROOT, stdout=PIPE, stderr=STDOUT, env=everything
    )


@asynccontextmanager
async def listening(*arguments: str, **options: Any) -> AsyncIterator[Running]:
    """The program that `start` starts with these options, once it answers."""
    running = Running(await start(*arguments, **options))
    try:
        await running.ready()
        yield running
    finally:
        if running.process.returncode is None:
            running.process.terminate()
        await running.printed_to_the_end()


async def output(*arguments: str, **options: Any) -> tuple[int | None, str]:
    """Exit code and output of a program that `start` starts with these options, and that ends by itself."""
    process = await start(*arguments, **options)
    printed, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    return process.returncode, printed.decode()
