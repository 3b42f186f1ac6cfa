"""Concurrent callers share one run."""

from __future__ import annotations

import asyncio

import pytest

from services.single_flight import SingleFlight


async def test_concurrent_callers_share_one_run() -> None:
    """Fifty callers, one run, the same outcome."""
    flights: SingleFlight[int] = SingleFlight()
    gate, runs = asyncio.Event(), []

    async def run() -> int:
        runs.append(1)
        await gate.wait()
        return 7

    askers = [asyncio.create_task(flights.run("key", run)) for _ in range(50)]
    await asyncio.sleep(0)
    gate.set()
    assert await asyncio.gather(*askers) == [7] * 50
    assert len(runs) == 1


async def test_a_later_caller_starts_a_new_run() -> None:
    """Neither an outcome nor an error is cached."""
    flights: SingleFlight[int] = SingleFlight()
    outcomes = iter([ValueError("first"), None])

    async def run() -> int:
        if error := next(outcomes):
            raise error
        return 2

    with pytest.raises(ValueError, match="first"):
        await flights.run("key", run)
    assert await flights.run("key", run) == 2


async def test_a_cancelled_caller_does_not_cancel_the_others() -> None:
    """The run continues for the others."""
    flights: SingleFlight[int] = SingleFlight()
    gate = asyncio.Event()

    async def run() -> int:
        await gate.wait()
        return 7

    first = asyncio.create_task(flights.run("key", run))
    second = asyncio.create_task(flights.run("key", run))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    gate.set()
    assert await second == 7
    assert first.cancelled()
