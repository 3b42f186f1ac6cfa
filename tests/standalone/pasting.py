"""What the trial shows, pasted into a shell or another program."""

from __future__ import annotations

import asyncio
import re
from asyncio.subprocess import PIPE
from collections.abc import Sequence
from pathlib import Path

from tests.support.processes import ROOT

_CURL = re.compile(r"""["']curl["'],\s*`([^`]*)`""")


async def pasted(text: str, *program: str, cwd: Path | None = None) -> str:
    """What bash, or another program, prints for `text`, which must succeed."""
    command = program or ("bash", "-eu")
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=PIPE, cwd=cwd)
    printed, complaints = await process.communicate(text.encode())
    assert process.returncode == 0, complaints.decode()
    return printed.decode()


async def answers_of(lines: Sequence[str]) -> list[str]:
    """The answer to each curl line, in one shell from top to bottom."""
    script = "".join(f"{line.strip()}\necho\necho ----\n" if line.startswith("curl ") else line for line in lines)
    return [answer.strip() for answer in (await pasted(script)).split("----\n")[:-1]]


def curl_snippet(secret: str, address: str, model: str) -> str:
    """The code for curl that the console shows beside a new key."""
    found = _CURL.search((ROOT / "console" / "page" / "snippets.js").read_text())
    assert found is not None
    code = found[1].replace("\\\\", "\\")
    for name, value in (("secret", secret), ("base", address), ("model", model)):
        code = code.replace(f"${{{name}}}", value)
    return code
