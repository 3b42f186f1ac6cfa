"""The command line: serving, stopping, and what it says when it cannot."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from signal import SIGKILL, SIGSTOP

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from cli.server import run_server
from settings.model import ConnectionLimits
from standalone.litellm import MASTER_KEY, LiteLLMStandIn
from tests.conftest import ALICE, BASE, SERVICE_TOKEN, keys_path, user_path
from tests.support.contract import CONTRACT_DOCUMENT
from tests.support.processes import PATIENCE, ROOT, listening, output
from tests.support.raw_http import serving

# Backstage is not there, which the first runs of the cleanup report.
OF_JOBS = {"retrying", "circuit opened", "background job failed"}


class Gate:
    """LiteLLM's stand-in on a real port, which holds each request for alice's user back while it is closed."""

    def __init__(self, app: Starlette) -> None:
        self._app = app
        self.open = asyncio.Event()
        self.open.set()
        self.waiting = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and b"alice" in scope["query_string"] and not self.open.is_set():
            self.waiting.set()
            await self.open.wait()
        await self._app(scope, receive, send)


@pytest.fixture
async def gate(litellm: LiteLLMStandIn) -> Gate:
    return Gate(litellm.app)


@pytest.fixture
async def config(tmp_path: Path, gate: Gate) -> AsyncIterator[str]:
    """An app-config.yaml that points at a LiteLLM on a port."""
    async with serving(gate) as port:
        path = tmp_path / "app-config.yaml"
        path.write_text(
            f"""
            liteLLM:
              baseUrl: http://127.0.0.1:{port}
              masterKey: ${{MASTER}}
              adminGroup: admins
              allowedGroup: litellm-users
            backend: {{baseUrl: 'http://127.0.0.1:9', listen: '127.0.0.1:0', cors: {{origin: 'http://*.example.com'}}}}
            litellmOrchestrator:
              database: {{url: 'sqlite:///{tmp_path}/state.sqlite3'}}
              serviceTokens: [{{token: {SERVICE_TOKEN}, subject: 'service:ci', role: admin}}]
            """
        )
        yield str(path)


async def test_the_log_of_a_start(config: str, tmp_path: Path) -> None:
    """It says what this process is and what it works with, and nothing about libraries; the first migrates too."""
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text(
        """
        liteLLM: {userDefaults: {models: [gpt-9]}}
        litellmOrchestrator: {backstage: {catalogToken: canary-catalog}, cleanup: {gracePeriod: 60}}
        """
    )
    async with listening("serve", "--config", config, "--config", str(catalog), MASTER=MASTER_KEY) as running:
        await running.says("1.104.5")
        await running.says("gpt-9")
        printed = "".join(running.printed)
        address = f"Listening on {running.origin}, process {running.process.pid}\n"
    started = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    told = {line["event"]: line for line in started if line["event"] not in OF_JOBS}
    assert address in printed
    assert told.keys() == {"ready", "tiers name models that LiteLLM does not serve", "LiteLLM"}
    assert told["ready"] | {"timestamp": "", "litellm": ""} == {
        "event": "ready",
        "level": "info",
        "timestamp": "",
        "version": CONTRACT_DOCUMENT["info"]["version"],
        "litellm": "",
        "backstage": "http://127.0.0.1:9",
        "membership": "catalog",
        "cleanup": "on",
        "grace_period": 60,
        "database": "sqlite",
    }
    assert told["LiteLLM"]["version"] == "1.104.5"
    assert told["tiers name models that LiteLLM does not serve"]["models"] == ["gpt-9"]


async def test_the_log_of_a_start_without_a_catalog(config: str) -> None:
    """The cleanup is off, and why."""
    async with listening("serve", "--config", config, MASTER=MASTER_KEY) as running:
        printed = "".join(running.printed)
    [ready] = [json.loads(line) for line in printed.splitlines() if '"event": "ready"' in line]
    assert ready["cleanup"] == "off"
    assert "the cleanup is off: it needs" in printed


async def test_the_first_start_says_nothing_of_libraries() -> None:
    """Standalone mode migrates an empty database while it logs."""
    async with listening("--port", "0", program="standalone") as running:
        printed = await running.stop()
    assert [
        word for word in ("alembic", "Alembic", "lifespan", "Waiting for", "server process") if word in printed
    ] == []


async def test_serve_runs_the_real_thing(config: str, litellm: LiteLLMStandIn) -> None:
    """By its settings; mock sign-in is refused there, and no secret is ever logged."""
    async with listening("serve", "--config", config, imports=True, MASTER=MASTER_KEY) as running:
        bearer = {"Authorization": f"Bearer {SERVICE_TOKEN}"}
        async with httpx.AsyncClient(base_url=running.origin) as client:
            created = await client.post(f"{BASE}/users", json={"userId": ALICE}, headers=bearer)
            key = (await client.post(keys_path(ALICE), headers=bearer)).json()
            listed = await client.get(keys_path(ALICE), headers=bearer)
            await client.delete(keys_path(ALICE, key["keySecret"]), headers=bearer)
            mocked = await client.get(user_path(ALICE), headers={"Authorization": "Bearer mock-user-token"})
            ready = await client.get("/.backstage/health/v1/readiness")
            allowed = await client.get(f"{BASE}/openapi.json", headers={"Origin": "http://portal.example.com"})
        printed = await running.stop()
    assert (created.status_code, mocked.status_code) == (201, 401)
    assert [row["token"] for row in listed.json()["keys"]] == [key["keyId"]]
    assert ready.json() == {
        "status": "degraded",
        "dependencies": {"litellm": "up", "backstage": "down", "database": "up"},
        "circuits": {"litellm": "closed", "backstage": "closed"},
    }
    assert allowed.headers["access-control-allow-origin"] == "http://portal.example.com"
    assert '"principal": "service:ci"' in printed
    for secret in (MASTER_KEY, SERVICE_TOKEN, key["keySecret"]):
        assert secret not in printed


async def test_a_request_under_way_is_answered_before_it_stops(
    config: str, gate: Gate, litellm: LiteLLMStandIn
) -> None:
    """SIGTERM takes no answer away."""
    litellm.rows.add_user({"user_id": ALICE})
    async with listening("serve", "--config", config, MASTER=MASTER_KEY) as running, httpx.AsyncClient() as client:
        gate.open.clear()
        request = client.get(running.origin + user_path(ALICE), headers={"Authorization": f"Bearer {SERVICE_TOKEN}"})
        under_way = asyncio.create_task(request)
        await gate.waiting.wait()
        running.process.terminate()
        gate.open.set()
        assert (await under_way).json()["userId"] == ALICE
        await running.printed_to_the_end()
    assert running.process.returncode == 0


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> list[uvicorn.Config]:
    """What workers would be started with."""
    found: list[uvicorn.Config] = []

    class Supervisor:
        def __init__(self, config: uvicorn.Config, sockets: list[socket.socket]) -> None:
            found.append(config)
            sockets[0].close()

        def run(self) -> None:
            """No worker is needed."""

    monkeypatch.setattr("cli.server._Supervisor", Supervisor)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    return found


def test_the_patience_with_workers_and_idle_callers(configured: list[uvicorn.Config]) -> None:
    """Uvicorn's five seconds are too short for imports on a busy machine, and shorter than a load balancer's minute."""
    run_server("nowhere:application", "127.0.0.1", 0, 2, limits=ConnectionLimits())
    assert [(config.timeout_worker_healthcheck, config.timeout_keep_alive) for config in configured] == [(60, 75)]


@pytest.mark.usefixtures("configured")
def test_it_listens_before_it_says_so() -> None:
    """A line that is pasted at once is answered when the application has started."""
    origins: list[str] = []

    def connect(origin: str) -> None:
        origins.append(origin)
        socket.create_connection(("127.0.0.1", int(origin.rpartition(":")[2]))).close()

    run_server("nowhere:application", "127.0.0.1", 0, 2, limits=ConnectionLimits(), announce=connect)
    assert len(origins) == 1


async def test_invalid_settings_are_reported_in_full_and_exit_2(tmp_path: Path) -> None:
    """One line each, and no traceback."""
    path = tmp_path / "app-config.yaml"
    path.write_text("liteLLM: {baseUrl: nowhere}")
    code, printed = await output("serve", "--config", str(path))
    assert code == 2
    assert printed.splitlines()[0] == "Invalid configuration:"
    assert "  liteLLM.baseUrl: expected a match of" in printed
    assert "Traceback" not in printed


async def test_settings_that_cannot_be_read_exit_2(tmp_path: Path) -> None:
    """The file is named."""
    code, printed = await output("serve", "--config", str(tmp_path / "nowhere.yaml"))
    assert code == 2
    assert printed.startswith("The configuration cannot be read: ")
    assert len(printed.splitlines()) == 1


async def test_a_taken_port_is_one_plain_sentence() -> None:
    """And exit 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, printed = await output("--port", port, program="standalone")
    assert (code, len(printed.splitlines())) == (1, 1)
    assert printed.startswith(f"Cannot listen on 127.0.0.1, port {port}: Address already in use.")


@pytest.mark.parametrize(
    "url", ["postgresql://user:canary-password@127.0.0.1:9/state", "sqlite:////nowhere/at/all.sqlite3"]
)
async def test_a_database_that_cannot_be_used_is_one_plain_sentence(config: str, url: str) -> None:
    """Without its password, and exit 1."""
    environment = {"MASTER": MASTER_KEY, "APP_CONFIG_litellmOrchestrator_database_url": url}
    code, printed = await output("serve", "--config", config, variables=environment)
    assert (code, len(printed.splitlines())) == (1, 1), printed
    assert printed.startswith("The database ")
    assert "canary" not in printed


async def bash(command: str, folder: Path) -> int:
    """Its exit code, with the name of the database's file in `FILE`."""
    environment = os.environ | {"FILE": str(folder / "state.sqlite3")}
    return await (await asyncio.create_subprocess_exec("bash", "-c", command, cwd=folder, env=environment)).wait()


async def test_a_copy_of_sqlite_is_a_backup(config: str, tmp_path: Path) -> None:
    """The commands of the operations page: made on a running service, it brings its answers and its audit log back."""
    _, backup, _, restore = re.findall(r"```sh\n(.*?)\n```", (ROOT / "docs/operations.md").read_text(), re.DOTALL)
    bearer = {"Authorization": f"Bearer {SERVICE_TOKEN}"}
    once = {"Idempotency-Key": "one"}
    async with (
        listening("serve", "--config", config, MASTER=MASTER_KEY) as running,
        httpx.AsyncClient(base_url=running.origin, headers=bearer) as client,
    ):
        await client.post(f"{BASE}/users", json={"userId": ALICE})
        first = await client.post(keys_path(ALICE), headers=once)
        assert await bash(backup, tmp_path) == 0
        await client.post(keys_path(ALICE))
        running.process.send_signal(SIGKILL)
    assert await bash(restore, tmp_path) == 0
    async with (
        listening("serve", "--config", config, MASTER=MASTER_KEY) as running,
        httpx.AsyncClient(base_url=running.origin, headers=bearer) as client,
    ):
        assert (await client.post(keys_path(ALICE), headers=once)).json() == first.json()
        events = (await client.get(f"{BASE}/audit")).json()["events"]
    assert [event["action"] for event in events] == ["key.create", "user.create"]


async def test_variables_override_the_file(config: str) -> None:
    """`APP_CONFIG_…`, also in the workers' own processes."""
    code, printed = await output(
        "serve", "--config", config, MASTER=MASTER_KEY, APP_CONFIG_liteLLM_adminGroup=json.dumps(5)
    )
    assert code == 2
    assert "liteLLM.adminGroup: expected string" in printed


async def test_several_workers(config: str) -> None:
    """Each is a process of its own, and all end together.

    Metrics are added up, whichever worker answers a scrape; and one that was killed takes its levels with it, but not
    its counts.
    """
    arguments = ("serve", "--config", config, "--workers", "2", "--port", "0")
    expected = 'request_duration_seconds_count{operation="getLiveness",status="200"} 20.0'
    without_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # httpx would read all authorities for each client
    async with listening(*arguments, imports=True, MASTER=MASTER_KEY) as running:

        async def get(path: str) -> str:
            """Over a new connection, which either worker may accept."""
            async with httpx.AsyncClient(base_url=running.origin, verify=without_tls) as client:
                answer = await client.get(path)
            assert answer.status_code == 200
            return answer.text

        await get(f"{BASE}/openapi.json")
        await running.says('"event": "ready"', times=2)
        for _ in range(20):
            await get("/.backstage/health/v1/liveness")
        async with asyncio.timeout(PATIENCE):
            # A worker publishes what it counted when it answers a scrape: several at once reach both.
            while not any(expected in scraped for scraped in await asyncio.gather(*map(get, ["/metrics"] * 8))):
                pass
        folder = shared_folder(running.process.pid)
        killed = worker_pids(running.process.pid)[0]
        os.kill(killed, SIGSTOP)
        await waits_for_an_answer(running.process.pid)
        os.kill(killed, SIGKILL)
        async with asyncio.timeout(50):  # it would wait a minute for the answer
            await running.says('"event": "ready"', times=3)
        await get("/metrics")
        assert killed not in levels_of(folder)
        assert expected in await get("/metrics")
        await running.stop()
    assert running.process.returncode == 0
    assert not folder.exists()


async def waits_for_an_answer(supervisor: int) -> None:
    """Until it asks a worker whether it is alive, and gets no answer."""
    place = Path(f"/proc/{supervisor}/wchan")
    async with asyncio.timeout(PATIENCE):
        while "poll" not in await asyncio.to_thread(place.read_text):  # noqa: ASYNC110  # the kernel has no event for it
            await asyncio.sleep(0.02)


def worker_pids(supervisor: int) -> list[int]:
    """The processes below the supervisor that serve."""
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    return [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def shared_folder(supervisor: int) -> Path:
    """Where the workers' metrics meet."""
    variables = Path(f"/proc/{worker_pids(supervisor)[0]}/environ").read_bytes().decode().split("\0")
    return Path(dict(row.partition("=")[::2] for row in variables)["PROMETHEUS_MULTIPROC_DIR"])


def levels_of(folder: Path) -> set[int]:
    """The processes whose levels are in `folder`."""
    return {int(path.stem.rpartition("_")[2]) for path in folder.glob("gauge_live*.db")}
