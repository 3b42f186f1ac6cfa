"""What a dry run and its report cost where very many users leave."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

import pytest
import sqlalchemy as sa

from handlers.cleanup import get_cleanup_run
from handlers.responses import json_response, long_json_response
from services.offboarding.cleanup_report import report_as_json
from settings.model import DirectorySettings
from state.tables import cleanup_run
from tests.services.offboarding.conftest import MakeOrganisation
from tests.support.organisation import BOSS, Organisation

_LEAVERS = 3000
_SOON = (700, 10, 10)
"""What only waits for the collector is not counted."""
_MOST_BYTES_EACH = 500
"""Their id, what LiteLLM says of them and their step; or their line in the answer. What the stand-ins take is in it."""


async def peak(call: Callable[[], Awaitable[Any]]) -> tuple[int, Any]:
    """The most memory that the call takes at once, and what it returns."""
    await call()
    thresholds = gc.get_threshold()
    gc.set_threshold(*_SOON)
    tracemalloc.start()
    try:
        answer = await call()
        return tracemalloc.get_traced_memory()[1], answer
    finally:
        tracemalloc.stop()
        gc.set_threshold(*thresholds)


async def test_a_dry_run_and_its_report_are_small(make_organisation: MakeOrganisation) -> None:
    """Nothing is held twice: neither the rows, nor the plan, nor the answer."""
    organisation = make_organisation(1, directory=DirectorySettings(full_sweep_users=2 * _LEAVERS))
    for number in range(_LEAVERS):
        organisation.litellm.rows.add_user({"user_id": organisation.ref(f"leaver-{number}")})
    planning, report = await peak(organisation.dry_run)
    administration = organisation.orchestrator.cleanup_administration
    reading, answer = await peak(lambda: get_cleanup_run(administration, BOSS, report.run_id))
    assert answer.body.count(b'"action":"block"') == _LEAVERS
    print(f"{planning / _LEAVERS:.0f} and {reading / _LEAVERS:.0f} bytes each")
    assert max(planning, reading) < _MOST_BYTES_EACH * _LEAVERS


@pytest.mark.parametrize("length", [0, 1, 500, 501, 1001])
def test_a_long_answer_is_the_same_json(length: int) -> None:
    """Whatever is beside and below its many items."""
    items = [{"a": number, "b": [None, "\u00fc"]} for number in range(length)]
    whole = {"x": {}, "y": {"items": items, "z": {"more": items}}, "last": None}
    streamed = {"x": {}, "y": {"items": iter(items), "z": {"more": iter(items)}}, "last": None}
    assert bytes(long_json_response(streamed).body) == json_response(whole).body


async def test_a_report_of_version_0_2(organisation: Organisation) -> None:
    """It had the entries in itself, with other fields than there are now, and is still read."""
    organisation.leave("m0")
    before = await organisation.dry_run()
    assert before.plan is not None
    database = organisation.orchestrator.foundation.database
    entries = [asdict(entry) | {"forgotten": 1} for entry in before.plan.entries]
    async with database.transaction() as connection:
        kept = (await connection.execute(sa.select(cleanup_run.c.report))).scalar_one()
        older = kept | {"plan": kept["plan"] | {"entries": entries}}
        await connection.execute(sa.update(cleanup_run).values(report=older, plan_entries=None))
    after = await organisation.orchestrator.foundation.cleanup_runs.report(before.run_id)
    assert after is not None
    assert report_as_json(after) == report_as_json(before)
    assert len(entries) == 1
