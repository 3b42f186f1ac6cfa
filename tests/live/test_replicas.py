"""Two and three replicas on one real PostgreSQL: each interval runs once, also when the one that runs it is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from starlette.types import Receive, Scope, Send

from standalone.backstage import BackstageStandIn
from standalone.catalog import CATALOG_TOKEN
from standalone.litellm import MASTER_KEY, LiteLLMStandIn
from tests.conftest import ALICE, BOB, keys_path
from tests.support.processes import Running, listening
from tests.support.raw_http import serving

pytestmark = pytest.mark.live

_INTERVAL = 2.0
_POLL, _PATIENCE = 0.05, 60


class Held:
    """An upstream that holds back requests to one path while it is closed."""

    def __init__(self, app: Any, path: str) -> None:
        self._app, self._path = app, path
        self.open, self.waiting = asyncio.Event(), asyncio.Event()
        self.open.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == self._path and not self.open.is_set():
            self.waiting.set()
            await self.open.wait()
        await self._app(scope, receive, send)


def configured(litellm_port: int, backstage_port: int, database: str) -> str:
    """The settings of each replica."""
    return f"""
        liteLLM:
          baseUrl: http://127.0.0.1:{litellm_port}
          masterKey: {MASTER_KEY}
          adminGroup: admins
          allowedGroup: litellm-users
        backend: {{baseUrl: 'http://127.0.0.1:{backstage_port}', listen: '127.0.0.1:0'}}
        litellmOrchestrator:
          backstage: {{catalogToken: {CATALOG_TOKEN}}}
          database: {{url: '{database}'}}
          cleanup: {{interval: {_INTERVAL}}}
        """


async def runs(database: str) -> list[Any]:
    async with await psycopg.AsyncConnection.connect(database) as connection:
        query = (
            "select owner, fence, started_at, finished_at, outcome from cleanup_run where fence is not null order by id"
        )
        return await (await connection.execute(query)).fetchall()


async def until_runs(database: str, number: int) -> list[Any]:
    """Once so many have finished."""
    for _ in range(int(_PATIENCE / _POLL)):
        if len(rows := [row for row in await runs(database) if row[4] == "done"]) >= number:
            return rows
        await asyncio.sleep(_POLL)
    pytest.fail(f"there were never {number} runs")


async def test_replicas_share_rates_and_requests(
    database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fifty requests of one Idempotency-Key over two replicas make one key; thirty a minute are thirty in all."""
    litellm, backstage = LiteLLMStandIn(), BackstageStandIn()
    bearer = {"Authorization": f"Bearer {backstage.user_token(ALICE)}"}
    async with AsyncExitStack() as stack:
        litellm_port = await stack.enter_async_context(serving(litellm.app))
        backstage_port = await stack.enter_async_context(serving(backstage.app))
        config = tmp_path / "app-config.yaml"
        config.write_text(configured(litellm_port, backstage_port, database))
        starting = [stack.enter_async_context(listening("serve", "--config", str(config))) for _ in range(2)]
        one, other = [
            await stack.enter_async_context(httpx.AsyncClient(base_url=row.origin, headers=bearer, timeout=_PATIENCE))
            for row in await asyncio.gather(*starting)
        ]
        named, began = {"Idempotency-Key": "fifty"}, time.monotonic()
        answers = await asyncio.gather(
            *(client.post(keys_path(ALICE), headers=named) for _ in range(25) for client in (one, other))
        )
        made = {answer.json()["keyId"] for answer in answers if answer.status_code == 201}
        assert {answer.status_code for answer in answers} <= {201, 409}
        assert made == set(litellm.rows.keys)
        assert len(made) == 1
        again = [await client.post(keys_path(ALICE), headers=named) for client in (one, other)]
        assert [answer.json()["keyId"] for answer in again] == [*made, *made]
        plain = await asyncio.gather(*(client.post(keys_path(ALICE)) for _ in range(20) for client in (one, other)))
        seconds = time.monotonic() - began
        same = await asyncio.gather(
            *(client.post(keys_path(BOB), json={"alias": "a"}, headers=bob_of(backstage)) for client in (one, other))
        )
    statuses = Counter(answer.status_code for answer in plain)
    with capsys.disabled():
        print(f"\n50 x one Idempotency-Key over two replicas: {len(made)} key; 40 more: {dict(statuses)}")
    assert statuses[201] + statuses[429] == 40
    # Both together made thirty, the named one among them; one every two seconds comes back meanwhile.
    assert 29 <= statuses[201] <= 30 + seconds / 2
    assert sorted(answer.status_code for answer in same) == [201, 409], "one alias, at once, at two replicas"


def bob_of(backstage: BackstageStandIn) -> dict[str, str]:
    return {"Authorization": f"Bearer {backstage.user_token(BOB)}"}


@pytest.mark.parametrize("number", [2, 3])
async def test_replicas_run_each_interval_once(
    database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    """The holder is killed with SIGKILL in the middle of a run; another takes over within two intervals."""
    litellm = Held(LiteLLMStandIn().app, "/user/list")
    async with AsyncExitStack() as stack:
        litellm_port = await stack.enter_async_context(serving(litellm))
        backstage_port = await stack.enter_async_context(serving(BackstageStandIn().app))
        config = tmp_path / "app-config.yaml"
        config.write_text(configured(litellm_port, backstage_port, database))
        starting = [stack.enter_async_context(listening("serve", "--config", str(config))) for _ in range(number)]
        replicas: list[Running] = list(await asyncio.gather(*starting))
        before = await until_runs(database, 3)

        litellm.open.clear()
        litellm.waiting.clear()
        await asyncio.wait_for(litellm.waiting.wait(), _PATIENCE)
        holder = (await runs(database))[-1]
        victim = int(holder[0].split(":")[1])
        assert victim in [replica.process.pid for replica in replicas]
        os.kill(victim, signal.SIGKILL)
        litellm.open.set()
        after = await until_runs(database, len(before) + 3)
        rows = await runs(database)
    with capsys.disabled():
        print("\nruns: " + ", ".join(f"{row[0].split(':')[1]} #{row[1]} {row[4]}" for row in rows))
    finished = [row for row in rows if row[3] is not None]
    died = [row for row in rows if row[4] == "died"]
    assert [row[0] for row in died] == [holder[0]]
    assert [row[1] for row in rows] == sorted({row[1] for row in rows}), "each has a fence of its own"
    for earlier, later in pairwise(finished):
        assert later[2] >= earlier[3], "no two overlap"
        assert later[2] - earlier[3] >= _INTERVAL * 0.8, "an interval apart"
    taken_over = next(row for row in after if row[1] > holder[1])
    assert taken_over[0] != holder[0]
    assert taken_over[2] - holder[2] <= 2 * _INTERVAL, "within two intervals"
