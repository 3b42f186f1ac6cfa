"""`litellm-key` as its users have it: the built wheel in an environment of its own, and a person who approves it."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE
from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import Page, expect

from tests.support.clients import DIST, run

_PATIENCE = 120
_CALL = r"""
curl -sf "$OPENAI_BASE_URL/chat/completions" \
  -H "Authorization: Bearer $OPENAI_API_KEY" -H "Content-Type: application/json" \
  -d '{"model": "%s", "messages": [{"role": "user", "content": "hi"}]}'
"""


def install_command(folder: Path) -> Path:
    """A new environment with the wheel and what its `cli` needs. Returns the command."""
    [built] = DIST.glob("*.whl")
    run(sys.executable, "-m", "venv", folder, cwd=folder.parent)
    run(folder / "bin" / "pip", "install", "--quiet", f"{built}[cli]", cwd=folder)
    return folder / "bin" / "litellm-key"


@dataclass
class Machine:
    """A machine with the command and a home of its own, without a browser and without a keyring."""

    command: Path
    home: Path

    async def asks(self, service: str) -> tuple[asyncio.subprocess.Process, str, str]:
        """`login`, until it waits: its process, the page that it names, and its code."""
        process = await self._start("login", service, "--no-browser", "--no-keyring")
        assert process.stderr is not None
        said = ""
        while not (code := re.search(r"^  ([A-Z]{4}-[A-Z]{4})$", said, re.MULTILINE)):
            line = await asyncio.wait_for(process.stderr.readline(), _PATIENCE)
            assert line, said
            said += line.decode()
        page = re.search(r"^  (http\S+)$", said, re.MULTILINE)
        assert page is not None, said
        return process, page[1], code[1]

    async def runs(self, *arguments: str) -> str:
        """What it prints to stdout. It must succeed."""
        code, printed, said = await self.ends(*arguments)
        assert code == 0, said
        return printed

    async def ends(self, *arguments: str) -> tuple[int | None, str, str]:
        """Exit code, stdout and stderr."""
        process = await self._start(*arguments)
        printed, said = await asyncio.wait_for(process.communicate(), _PATIENCE)
        return process.returncode, printed.decode(), said.decode()

    async def calls(self, model: str) -> str:
        """What LiteLLM answers a program that knows the variables of `exec` only."""
        return await self.runs("exec", "--", "bash", "-euc", _CALL % model)

    async def _start(self, *arguments: str) -> asyncio.subprocess.Process:
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.home)}
        return await asyncio.create_subprocess_exec(self.command, *arguments, stdout=PIPE, stderr=PIPE, env=environment)


async def approve_on_page(page: Page, code: str, owner: str | None = None) -> None:
    """What the person does who is signed in and types the code of the device."""
    await page.get_by_label("The code that the device shows").fill(code)
    await page.get_by_role("button", name="Look it up").click()
    if owner is not None:
        await page.locator("[name=owner]").select_option(owner)
    await page.get_by_label(re.compile(f"the device shows {code}")).check()
    await page.get_by_role("button", name="Sign the device in").click()
    await expect(page.get_by_text("The device gets its key within seconds.")).to_be_visible()


async def signed_in(process: asyncio.subprocess.Process) -> str:
    """What `login` says at its end. It must succeed."""
    _, said = await asyncio.wait_for(process.communicate(), _PATIENCE)
    assert process.returncode == 0, said.decode()
    return said.decode()
