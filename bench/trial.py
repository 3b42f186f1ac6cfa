"""The time from a fresh clone to an answered call, as somebody spends it who tries it: `make run`, lines pasted.

Writes the table in `docs/performance.md`. Needs the package index.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import tempfile
import time
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

from bench.document import replace_table
from bench.processes import ROOT, free_port

_READY = '"event": "ready"'
_PATIENCE_SECONDS = 600


@asynccontextmanager
async def running(*command: str, folder: Path) -> AsyncIterator[Process]:
    """A command with all that it starts, until the end of the block."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        stdout=PIPE,
        stderr=STDOUT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        await process.communicate()


async def printed_until(process: Process, text: str) -> list[str]:
    """The lines that the process prints, up to one with `text`. Raises RuntimeError if it ends before."""
    assert process.stdout is not None
    lines: list[str] = []
    async for line in process.stdout:
        lines.append(line.decode())
        if text in lines[-1]:
            return lines
    raise RuntimeError("".join(lines))


async def pasted(lines: Sequence[str]) -> str:
    """What a shell prints for the lines."""
    shell = await asyncio.create_subprocess_exec("bash", "-eu", stdin=PIPE, stdout=PIPE)
    printed, _ = await shell.communicate("".join(lines).encode())
    return printed.decode()


async def measure(folder: Path) -> list[tuple[str, float]]:
    """Each step, and its seconds."""
    moments = [time.perf_counter()]
    clone = await asyncio.create_subprocess_exec("git", "clone", "--quiet", str(ROOT), str(folder))
    await clone.wait()
    moments.append(time.perf_counter())
    async with running("make", "run", f"PORT={free_port()}", folder=folder) as process:
        printed = await printed_until(process, "The console:")
        moments.append(time.perf_counter())
        printed += await printed_until(process, _READY)
        moments.append(time.perf_counter())
        [key] = [number for number, line in enumerate(printed) if line.startswith("KEY=")]
        answer = json.loads(await pasted(printed[key : key + 2]))
        moments.append(time.perf_counter())
    assert answer["choices"][0]["message"]["content"]
    steps = ["git clone", "`make run`: packages", "`make run`: four weeks of history, until it listens", "key and call"]
    times = [after - before for before, after in pairwise(moments)]
    return [*zip(steps, times, strict=True), ("**a fresh clone to an answered call**", moments[-1] - moments[0])]


def table(rows: Sequence[tuple[str, float]]) -> str:
    """The rows as Markdown."""
    return "\n".join(["| step | s |", "|---|---|", *(f"| {step} | {seconds:.1f} |" for step, seconds in rows)])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as parent:
        measured = table(asyncio.run(asyncio.wait_for(measure(Path(parent) / "clone"), _PATIENCE_SECONDS)))
    print(measured)
    replace_table("make bench, the trial", measured)
