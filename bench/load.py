"""Load on one path over a fixed number of connections, by wrk."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import PIPE
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

_MOST_FORMS_A_SECOND = 600
_SCRIPT = Path(__file__).parent / "load.lua"


@dataclass(frozen=True)
class Request:
    """What is sent again and again.

    Each of `tokens` (user id, token) takes its turn; in `path`, `$ID` becomes the caller's user id and `$KEY` the id of
    a key of theirs. With `once`, each request carries an Idempotency-Key of its own. `body` is JSON; `forms` makes as
    many forms as are asked of it, one for each request. `expected` is the only acceptable status.
    """

    method: str
    path: str
    tokens: Sequence[tuple[str, str]]
    expected: int
    once: bool = False
    body: str = "-"
    forms: Callable[[int], Iterable[str]] | None = None


@dataclass(frozen=True)
class Measured:
    """Requests a second, and latencies in milliseconds."""

    rate: float
    p50: float
    p99: float


async def load(origin: str, request: Request, *, connections: int, seconds: float) -> Measured:
    """Sends `request` over `connections` for `seconds`. Raises RuntimeError if any response has another status."""
    command = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{max(1, round(seconds))}s",
        "--timeout",
        "10s",
        "-s",
        str(_SCRIPT),
        origin,
        "--",
    ]
    callers = [part for caller in request.tokens for part in caller]
    once = "once" if request.once else "-"
    with NamedTemporaryFile("w") as written:
        body = request.body
        if request.forms is not None:
            written.writelines(f"{form}\n" for form in request.forms(round(seconds * _MOST_FORMS_A_SECOND)))
            written.flush()
            body = f"@{written.name}"
        arguments = [request.method, request.path, str(request.expected), once, body, *callers]
        process = await asyncio.create_subprocess_exec(*command, *arguments, stdout=PIPE, stderr=PIPE)
        printed, errors = await process.communicate()
    if process.returncode:
        raise RuntimeError(errors.decode())
    figures = json.loads(printed.decode().rpartition("\n{")[2].join(["{", ""]))
    if figures["unexpected"]:
        raise RuntimeError(f"{request.method} {request.path}: {figures}")
    return Measured(figures["rate"], figures["p50"], figures["p99"])
