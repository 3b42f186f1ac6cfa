"""One run of the cleanup over a large organisation: its time, its calls to LiteLLM, and its memory."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
import tracemalloc
from collections import Counter
from pathlib import Path

from tests.support.organisation import AT_ONCE, Organisation

_LEAVERS = 100


async def main(users: int) -> None:
    """Two runs: the first blocks the leavers, the second deletes them. Upstreams answer within this process."""
    with tempfile.TemporaryDirectory() as folder:
        organisation = Organisation(Path(folder), members=users - 1, cleanup=AT_ONCE)
        for number in range(_LEAVERS):
            organisation.leave(f"m{number}")
        for name in ("blocks", "deletes"):
            tracemalloc.start()
            started = time.perf_counter()
            report = await organisation.run()
            took = time.perf_counter() - started
            # The stand-in's answers are made in this process too: a page of them at a time.
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert report["outcome"] == "done", report
            calls = Counter(organisation.to_litellm.requests)
            told = ", ".join(f"{number} {path}" for path, number in sorted(calls.items()))
            size = f"{users} users, {_LEAVERS} leavers, the run that {name}"
            print(f"{size}: {took:.1f} s, peak {peak / 2**20:.1f} MiB; {told}")
        await organisation.orchestrator.aclose()


if __name__ == "__main__":
    for size in map(int, sys.argv[1:] or ["1000", "10000"]):
        asyncio.run(main(size))
