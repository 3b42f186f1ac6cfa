"""The service as its own process, started by its command line."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
_PATIENCE = 180


@dataclass
class Running:
    """A process that listens, and the lines that it has printed until now."""

    process: Process
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
        await asyncio.wait_for(self._ready.wait(), _PATIENCE)
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
            await asyncio.wait_for(self._news.wait(), _PATIENCE)

    async def printed_to_the_end(self) -> str:
        """Everything that it printed until it ended."""
        await asyncio.wait_for(self._reading, _PATIENCE)
        await self.process.wait()
        return "".join(self.printed)

    async def stop(self) -> str:
        """End it as an orchestrator of containers does, and answer all that it printed."""
        self.process.send_signal(signal.SIGTERM)
        return await self.printed_to_the_end()


async def start(*arguments: str, program: str = "cli", **environment: str) -> Process:
    """Start the command line, or another program of this repository, with both outputs in one."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", program, *arguments, cwd=ROOT, stdout=PIPE, stderr=STDOUT, env=os.environ | environment
    )


@asynccontextmanager
async def listening(*arguments: str, program: str = "cli", **environment: str) -> AsyncIterator[Running]:
    """The program once it answers."""
    running = Running(await start(*arguments, program=program, **environment))
    try:
        await running.ready()
        yield running
    finally:
        if running.process.returncode is None:
            running.process.terminate()
        await running.printed_to_the_end()


async def output(*arguments: str, program: str = "cli", **environment: str) -> tuple[int | None, str]:
    """Exit code and output of a program that ends by itself."""
    process = await start(*arguments, program=program, **environment)
    printed, _ = await asyncio.wait_for(process.communicate(), _PATIENCE)
    return process.returncode, printed.decode()
