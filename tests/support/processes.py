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
_PATIENCE = 60


@dataclass
class Running:
    """A process that listens, and what it has printed until then."""

    process: Process
    port: int
    printed: list[str] = field(default_factory=list)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def printed_to_the_end(self) -> str:
        """Everything that it printed until it ended."""
        assert self.process.stdout is not None
        self.printed.append((await asyncio.wait_for(self.process.stdout.read(), _PATIENCE)).decode())
        await self.process.wait()
        return "".join(self.printed)

    async def stop(self) -> str:
        """End it as an orchestrator of containers does, and answer all that it printed."""
        self.process.send_signal(signal.SIGTERM)
        return await self.printed_to_the_end()


async def start(*arguments: str, **environment: str) -> Process:
    """Start the command line with both outputs in one."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cli", *arguments, cwd=ROOT, stdout=PIPE, stderr=STDOUT, env=os.environ | environment
    )


@asynccontextmanager
async def listening(*arguments: str, **environment: str) -> AsyncIterator[Running]:
    """The command line once it answers."""
    process = await start(*arguments, **environment)
    assert process.stdout is not None
    printed: list[str] = []
    port = 0
    try:
        while "Application startup complete" not in "".join(printed[-1:]):
            line = (await asyncio.wait_for(process.stdout.readline(), _PATIENCE)).decode()
            assert line, f"it ended: {''.join(printed)}"
            printed.append(line)
            if found := re.match(r"Listening on https?://.*:(\d+), process", line):
                port = int(found[1])
        await _accepted(port)
        yield Running(process, port, printed)
    finally:
        if process.returncode is None:
            process.terminate()
            await process.communicate()


async def _accepted(port: int) -> None:
    """Returns once the port accepts connections, which is a moment after the application has started."""
    while True:
        with suppress(ConnectionRefusedError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return


async def output(*arguments: str, **environment: str) -> tuple[int | None, str]:
    """Exit code and output of a command line that ends by itself."""
    process = await start(*arguments, **environment)
    printed, _ = await asyncio.wait_for(process.communicate(), _PATIENCE)
    return process.returncode, printed.decode()
