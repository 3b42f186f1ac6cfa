"""The time from a fresh clone to an answered call, as somebody spends it who tries it: `make run`, lines pasted.

Then the same through `litellm-key`: the wheel of `make sdk` installed, signed in, approved in Chromium. Writes the
table in `docs/performance.md`. Needs the package index.
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
from pathlib import Path

from bench.document import replace_table
from bench.processes import ROOT, free_port
from tests.support.browser import running_browser
from tests.support.command_line import Machine, approve_on_page, install_command, signed_in

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


async def approved(address: str, code: str) -> None:
    """What alice does in a browser of her own."""
    async with running_browser() as browser:
        page = await browser.new_page()
        await page.goto(address)
        await page.get_by_role("button", name="alice").click()
        await approve_on_page(page, code)


class Steps:
    """What was done, and the seconds of each step."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, float]] = []
        self._began = self._last = time.perf_counter()

    def done(self, step: str) -> None:
        """The step took the time since the last one."""
        self.rows.append((step, time.perf_counter() - self._last))
        self._last = time.perf_counter()

    def all_done(self, goal: str) -> None:
        """All steps so far lead there."""
        self.rows.append((f"**{goal}**", self._last - self._began))


async def measure(parent: Path) -> list[tuple[str, float]]:
    """Each step, and its seconds."""
    folder, port, steps = parent / "clone", free_port(), Steps()
    clone = await asyncio.create_subprocess_exec("git", "clone", "--quiet", str(ROOT), str(folder))
    await clone.wait()
    steps.done("git clone")
    async with running("make", "run", f"PORT={port}", folder=folder) as process:
        printed = await printed_until(process, "The console:")
        steps.done("`make run`: packages")
        printed += await printed_until(process, _READY)
        steps.done("`make run`: four weeks of history, until it listens")
        [key] = [number for number, line in enumerate(printed) if line.startswith("KEY=")]
        answers = [await pasted(printed[key : key + 2])]
        steps.done("key and call")
        steps.all_done("a fresh clone to an answered call")
        machine = Machine(await asyncio.to_thread(install_command, parent / "environment"), parent)
        steps.done("`litellm-key`: installed into an environment of its own")
        login, address, code = await machine.asks(f"http://localhost:{port}")
        await approved(address, code)
        await signed_in(login)
        steps.done("`litellm-key login`, approved in a browser")
        answers.append(await machine.calls("gpt-fake"))
        steps.done("`litellm-key exec`: key and call")
        steps.all_done("a fresh clone to an answer through `litellm-key`")
    assert all(json.loads(answer)["choices"][0]["message"]["content"] for answer in answers)
    return steps.rows


def table(rows: Sequence[tuple[str, float]]) -> str:
    """The rows as Markdown."""
    return "\n".join(["| step | s |", "|---|---|", *(f"| {step} | {seconds:.1f} |" for step, seconds in rows)])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as parent:
        measured = table(asyncio.run(asyncio.wait_for(measure(Path(parent)), _PATIENCE_SECONDS)))
    print(measured)
    replace_table("make bench, the trial", measured)
