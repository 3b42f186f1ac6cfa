"""Five alerts rehearsed on the real products: a real Prometheus sees each come and go; and the dashboard's queries."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
import yaml

from tests.conftest import BASE, BOB, keys_path
from tests.support.alerts import ALERTS, dashboard_queries
from tests.support.faults import Line
from tests.support.processes import ROOT, listening
from tests.support.raw_http import free_port
from tests.support.real_products import RealProducts

pytestmark = [pytest.mark.live]

RULES = {alert["alert"]: alert["expr"] for alert in ALERTS}
LEAVER = "user:default/somebody.who.left"
_PATIENCE_SECONDS, _POLL_SECONDS = 120, 0.1
Act = Callable[[], Awaitable[Any]]


@dataclass
class Watched:
    """The service behind lines that can be cut, and the Prometheus that watches it."""

    products: RealProducts
    caller: httpx.AsyncClient
    prometheus: httpx.AsyncClient
    lines: dict[str, Line]
    database: str

    async def query(self, expression: str) -> list[Any]:
        """The samples of an instant query, which must be valid."""
        answer = await self.prometheus.get("/api/v1/query", params={"query": expression})
        assert answer.json()["status"] == "success", answer.text
        return list(answer.json()["data"]["result"])

    async def until(self, expression: str, *, holds: bool) -> float:
        """Seconds until `expression` has samples, or none any more although the service was scraped."""
        began = time.monotonic()
        awaited = expression if holds else f"up == 1 unless on () ({expression})"
        while not await self.query(awaited):
            if time.monotonic() - began > _PATIENCE_SECONDS:
                pytest.fail(f"{expression} is still {'false' if holds else 'true'}")
            await asyncio.sleep(_POLL_SECONDS)
        return time.monotonic() - began

    async def rehearse(self, alert: str, begin: Act, end: Act) -> None:
        """The alert is silent, true after `begin`, pending in Prometheus, and silent again after `end`."""
        assert await self.query(RULES[alert]) == []
        await begin()
        came = await self.until(RULES[alert], holds=True)
        await self.until(f'ALERTS{{alertname="{alert}"}}', holds=True)
        await end()
        went = await self.until(RULES[alert], holds=False)
        self.products.narrate(f"  {alert}: true {came:.1f} s after it began, false {went:.1f} s after it ended")

    async def execute(self, statement: str) -> None:
        """Executes an SQL statement on the service's database."""
        async with await psycopg.AsyncConnection.connect(self.database, autocommit=True) as connection:
            await connection.execute(statement.encode())


@asynccontextmanager
async def prometheus(folder: Path, target: int) -> AsyncIterator[httpx.AsyncClient]:
    """Prometheus with this repository's rules, scraping `target` twice a second."""
    program = shutil.which("prometheus")
    assert program is not None, "install prometheus"
    port = free_port()
    scrape = {"job_name": "litellm-orchestrator", "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}
    settings = {
        "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "1s"},
        "rule_files": [str(ROOT / "deploy/prometheus/alerts.yaml")],
        "scrape_configs": [scrape],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(settings))
    process = await asyncio.create_subprocess_exec(
        program,
        f"--config.file={folder}/prometheus.yaml",
        f"--storage.tsdb.path={folder}/prometheus",
        f"--web.listen-address=127.0.0.1:{port}",
        stdout=DEVNULL,
        stderr=DEVNULL,
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            yield client
    finally:
        process.terminate()
        await process.wait()


def line_to(url: str) -> Line:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return Line(parts.hostname, parts.port)


@pytest.fixture
async def watched(products: RealProducts, database: str, tmp_path: Path) -> AsyncIterator[Watched]:
    """Everything running, LiteLLM empty."""
    await products.empty_litellm()
    urls = {"litellm": os.environ["LITELLM_URL"], "backstage": os.environ["BACKSTAGE_URL"], "database": database}
    lines = {name: line_to(url) for name, url in urls.items()}
    for line in lines.values():
        await line.mend()
    state = database.replace(f":{lines['database'].port}/", f":{lines['database'].local_port}/")
    config = tmp_path / "app-config.yaml"
    config.write_text(
        f"""
        liteLLM:
          baseUrl: http://127.0.0.1:{lines["litellm"].local_port}
          masterKey: ${{LITELLM_MASTER_KEY}}
          adminGroup: admins
          allowedGroup: litellm-users
        backend: {{baseUrl: 'http://127.0.0.1:{lines["backstage"].local_port}', listen: '127.0.0.1:0'}}
        litellmOrchestrator:
          backstage: {{catalogToken: '${{BACKSTAGE_CATALOG_TOKEN}}'}}
          database: {{url: '{state}'}}
          cleanup: {{interval: 1, maxRemovals: 0}}
          maintenanceInterval: 1
          rateLimit: {{createsPerMinute: 4}}
        """
    )
    bearer = {"Authorization": f"Bearer {await products.token('bob')}"}
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(listening("serve", "--config", str(config)))
        caller = httpx.AsyncClient(base_url=running.origin, headers=bearer, timeout=60)
        await stack.enter_async_context(caller)
        watching = await stack.enter_async_context(prometheus(tmp_path, running.port))
        while True:
            try:
                if (await watching.get("/-/ready")).status_code == 200:
                    break
            except httpx.TransportError:
                await asyncio.sleep(_POLL_SECONDS)
        watched = Watched(products, caller, watching, lines, database)
        await watched.until('litellm_orchestrator_cleanup_last_run{outcome="done"} == 1', holds=True)
        yield watched
    for line in lines.values():
        line.cut()


async def test_rehearsal(watched: Watched) -> None:
    """LiteLLM, Backstage, the database, a refused cleanup, a revocation that cannot be done."""
    lines, litellm = watched.lines, watched.products.litellm

    async def cut(name: str) -> None:
        lines[name].cut()

    await watched.rehearse("LiteLLMDown", lambda: cut("litellm"), lines["litellm"].mend)
    await watched.rehearse("DatabaseDown", lambda: cut("database"), lines["database"].mend)
    await watched.rehearse(
        "CleanupRefused",
        lambda: litellm.post("/user/new", json={"user_id": LEAVER, "auto_create_key": False}),
        lambda: litellm.post("/user/delete", json={"user_ids": [LEAVER]}),
    )

    key = (await watched.caller.post(keys_path(BOB))).json()
    replaced = await watched.caller.post(f"{keys_path(BOB, key['keyId'])}/regenerate", json={"overlap": 600})
    assert replaced.status_code == 201

    async def time_passes_without_litellm() -> None:
        lines["litellm"].cut()
        await watched.execute(
            "update due set due_at = due_at - 1200, next_attempt_at = next_attempt_at - 1200 where kind = 'revocation'"
        )

    async def time_passes_with_litellm() -> None:
        await lines["litellm"].mend()
        # After many failures it would wait for minutes.
        await watched.execute("update due set next_attempt_at = due_at where kind = 'revocation'")

    await watched.rehearse("RevocationsOverdue", time_passes_without_litellm, time_passes_with_litellm)
    assert await watched.products.chat(key["keySecret"]) == 401
    await watched.rehearse("BackstageDown", lambda: cut("backstage"), lines["backstage"].mend)


async def test_the_dashboard_shows_something(watched: Watched) -> None:
    """Each of its queries is valid and has samples, once everything has happened."""
    named = {"Idempotency-Key": "one"}
    for _ in range(2):
        assert (await watched.caller.post(keys_path(BOB), headers=named)).status_code == 201
    while (await watched.caller.post(keys_path(BOB))).status_code != 429:
        pass
    await watched.caller.post(f"{BASE}/cleanup", json={"dryRun": True})
    await watched.products.litellm.post("/user/new", json={"user_id": LEAVER, "auto_create_key": False})
    queries = {
        expression.replace("$__rate_interval", "1m").replace("$job", ".*").replace("$namespace", ".*")
        for expression in dashboard_queries()
    }
    for query in sorted(queries):
        await watched.until(query, holds=True)
    watched.products.narrate(f"  {len(queries)} queries of the dashboard have samples")
