"""A dry run in which everybody leaves, on a service of its own: its time, and its resident memory at its peak."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
import urllib.request
from contextlib import aclosing
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bench.growth import fill_directory
from bench.processes import BASE, Bench, Server, bench
from standalone.catalog import ADMINS, CATALOG_TOKEN
from state.database import Database

_ADMIN = "user:default/bob"


def _asked(server: Server, token: str, method: str, path: str) -> tuple[int, Any]:
    request = urllib.request.Request(f"{server.origin}{BASE}{path}", method=method)  # noqa: S310  # a loopback address
    request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request) as answer:  # noqa: S310  # likewise
        return answer.status, json.load(answer)


async def measure(run: Bench, database: Database, users: int) -> str:
    """One dry run, followed as a caller follows it until its report is there. Returns what it took, in a sentence."""
    await fill_directory(database, users)
    async with database.transaction() as connection:
        # More than a dry run reads again.
        update = sa.text("update directory_sweep set total = :users, advanced_at = :now")
        await connection.execute(update, {"users": users, "now": time.time()})
    service = run.services["SQLite"]
    token = run.token(_ADMIN, ADMINS)
    _asked(service, token, "GET", "/cleanup")
    before, started = service.peak_mib(), time.perf_counter()
    status, report = _asked(service, token, "POST", "/cleanup")
    planned = None
    while status == 202 and report.get("outcome", "running") == "running":
        await asyncio.sleep(1)
        planned = service.peak_mib()
        _, report = _asked(service, token, "GET", f"/cleanup/runs/{report['runId']}")
    took = time.perf_counter() - started
    leavers = len(report["plan"]["entries"])
    peaks = {"before": before, "when planned": planned or service.peak_mib(), "when read": service.peak_mib()}
    return f"{leavers} leavers, {took:.0f} s: " + ", ".join(f"{mib:.0f} MiB {when}" for when, mib in peaks.items())


async def main(users: int) -> None:
    """The processes, and the run."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite+aiosqlite:///{folder}/state.sqlite3"
        settings = f"  cleanup: {{enabled: false}}\n  backstage: {{catalogToken: {CATALOG_TOKEN}}}\n"
        async with bench({"SQLite": url}, Path(folder), own=settings) as run, aclosing(Database(url)) as database:
            print(await measure(run, database, users))


if __name__ == "__main__":
    for size in map(int, sys.argv[1:] or ["100000"]):
        asyncio.run(main(size))
