"""More than the service can serve: it refuses by name, forgets nobody, keeps nothing, and goes on.

On a process of its own, over real sockets. Its deadlines are shorter than in production, so that nobody waits long.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from standalone.litellm import MASTER_KEY, LiteLLMStandIn
from tests.conftest import ALICE, BASE, SERVICE_TOKEN, keys_path, user_path
from tests.support.processes import Running, listening
from tests.support.raw_http import serving

LIVENESS = "/.backstage/health/v1/liveness"
BEARER = {"Authorization": f"Bearer {SERVICE_TOKEN}"}
HEAD_SECONDS, BODY_SECONDS, MAX_CONNECTIONS = 2, 2, 1000
HALF_A_HEAD = b"GET /api/litellm-orchestrator/me HTTP/1.1\r\nHost: a\r\n"
HALF_A_BODY = (
    f"POST {BASE}/users HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {SERVICE_TOKEN}\r\n"
    'Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"userId": '
).encode()
GROWTH_MIB = 64


# A process of its own, so that it measures the service and not the load.
PROBER = f"""
import http.client, sys, time
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=30)
while True:
    began = time.monotonic()
    connection.request("GET", "{LIVENESS}")
    response = connection.getresponse()
    assert response.status == 200 and response.read()
    print((time.monotonic() - began) * 1000, flush=True)
    time.sleep(0.02)
"""


class Hanging:
    """LiteLLM, which answers nothing while it hangs."""

    def __init__(self, litellm: LiteLLMStandIn) -> None:
        self._app = litellm.app
        self.works = asyncio.Event()
        self.works.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.works.wait()
        await self._app(scope, receive, send)


@dataclass
class Overloaded:
    """The service under load, and what a probe sees of it meanwhile."""

    running: Running
    litellm: Hanging
    litellm_port: int
    prober: Process

    @property
    def memory_mib(self) -> float:
        status = Path(f"/proc/{self.running.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    @property
    def connections_to_litellm(self) -> int:
        """How many are established, on the side that opened them."""
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return sum(int(row[2].partition(":")[2], 16) == self.litellm_port and row[3] == "01" for row in rows)

    async def works_again(self) -> None:
        """Within half a minute: connections that were dropped a moment ago may still count."""
        async with (
            httpx.AsyncClient(base_url=self.running.origin, headers=BEARER, timeout=30) as client,
            asyncio.timeout(30),
        ):
            while (status := (await client.get(user_path(ALICE))).status_code) == 503:  # noqa: ASYNC110  # it has no event
                await asyncio.sleep(0.05)
        assert status == 200

    async def report(self, what: str) -> None:
        """Prints what a reader of the proof wants to know, and asserts what must hold."""
        assert self.prober.stdout is not None
        one_more = await asyncio.wait_for(self.prober.stdout.readline(), 30)
        self.prober.terminate()
        printed, _ = await self.prober.communicate()
        worst = sorted(map(float, (one_more + printed).split()))
        half, most, last = worst[len(worst) // 2], worst[len(worst) * 95 // 100], worst[-1]
        print(
            f"{what}: {len(worst)} probes, half within {half:.0f} ms, 95 % within {most:.0f} ms, "
            f"the slowest {last:.0f} ms; {self.memory_mib:.0f} MiB"
        )
        assert most < 100


@asynccontextmanager
async def service(folder: Path, litellm: LiteLLMStandIn) -> AsyncIterator[Overloaded]:
    hanging = Hanging(litellm)
    litellm.rows.add_user({"user_id": ALICE})
    async with serving(hanging) as port:
        config = folder / "app-config.yaml"
        config.write_text(
            json.dumps(
                {
                    "liteLLM": {
                        "baseUrl": f"http://127.0.0.1:{port}",
                        "masterKey": MASTER_KEY,
                        "adminGroup": "admins",
                        "allowedGroup": "users",
                    },
                    "backend": {"baseUrl": "http://127.0.0.1:9", "listen": "127.0.0.1:0"},
                    "litellmOrchestrator": {
                        "database": {"url": f"sqlite:///{folder}/state.sqlite3"},
                        "serviceTokens": [{"token": SERVICE_TOKEN, "subject": "service:ci", "role": "admin"}],
                        "connections": {"head": HEAD_SECONDS, "body": BODY_SECONDS, "max": MAX_CONNECTIONS},
                        "circuitBreaker": {"seconds": 0.1},
                        "rateLimit": {"createsPerMinute": 100_000},
                        "timeouts": {"read": 2, "pool": 0.5, "deadline": 3},
                    },
                }
            )
        )
        async with listening("serve", "--config", str(config)) as running:
            prober = await asyncio.create_subprocess_exec(sys.executable, "-c", PROBER, str(running.port), stdout=PIPE)
            assert prober.stdout is not None
            await asyncio.wait_for(prober.stdout.readline(), 30)  # it probes from now on
            overloaded = Overloaded(running, hanging, port, prober)
            try:
                await overloaded.works_again()
                yield overloaded
                await overloaded.works_again()
            finally:
                hanging.works.set()
                if prober.returncode is None:
                    prober.terminate()
                    await prober.communicate()


@pytest.fixture
async def overloaded(tmp_path: Path, litellm: LiteLLMStandIn) -> AsyncIterator[Overloaded]:
    async with service(tmp_path, litellm) as overloaded:
        yield overloaded


async def answer_to(port: int, sent: bytes) -> int:
    """The status of what a connection gets that sends no more than this; 0 if it is closed without a word."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(sent)
        received = await asyncio.wait_for(reader.read(), 60)
    except ConnectionError:
        received = b""
    finally:
        writer.close()
    return int(received.split(b" ")[1]) if received else 0


@pytest.mark.parametrize("sent", [HALF_A_HEAD, HALF_A_BODY], ids=["half a head", "half a body"])
async def test_connections_that_send_half(overloaded: Overloaded, sent: bytes) -> None:
    """Nine hundred of them get a 408 and are closed."""
    before, began = overloaded.memory_mib, time.monotonic()
    answers = Counter(await asyncio.gather(*(answer_to(overloaded.running.port, sent) for _ in range(900))))
    assert answers == {408: 900}
    assert time.monotonic() - began < 10 * HEAD_SECONDS
    assert overloaded.memory_mib - before < GROWTH_MIB
    await overloaded.report("900 halves")


async def test_more_connections_than_allowed(overloaded: Overloaded) -> None:
    """Requests above the limit are 503; far above it, connections are closed; probes are answered."""
    port = overloaded.running.port
    idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MAX_CONNECTIONS)]
    request = f"GET {BASE}/me HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {SERVICE_TOKEN}\r\nConnection: close\r\n\r\n"
    assert await answer_to(port, request.encode()) == 503
    assert await answer_to(port, f"GET {LIVENESS} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode()) == 200
    for _, writer in idle:
        writer.close()
    await overloaded.report(f"{MAX_CONNECTIONS} idle connections")


async def test_a_litellm_that_hangs(overloaded: Overloaded) -> None:
    """A hundred calls time out; who finds no free connection gets a 503 with `Retry-After`; no connection is leaked."""
    before = overloaded.memory_mib
    overloaded.litellm.works.clear()
    limits = httpx.Limits(max_connections=300)
    async with httpx.AsyncClient(
        base_url=overloaded.running.origin, headers=BEARER, timeout=60, limits=limits
    ) as client:
        answers = await asyncio.gather(*(client.get(user_path(ALICE)) for _ in range(300)))
    assert Counter(answer.status_code for answer in answers) == {504: 100, 503: 200}
    assert all("retry-after" in answer.headers for answer in answers if answer.status_code == 503)
    overloaded.litellm.works.set()
    await eventually(lambda: overloaded.connections_to_litellm <= 1)
    assert overloaded.memory_mib - before < GROWTH_MIB
    await overloaded.report("300 requests to a LiteLLM that hangs")


async def test_callers_who_hang_up(overloaded: Overloaded) -> None:
    """Three hundred callers who do not wait for their response leave no call to LiteLLM behind."""
    overloaded.litellm.works.clear()
    request = f"GET {user_path(ALICE)} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {SERVICE_TOKEN}\r\n\r\n".encode()

    async def hang_up() -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", overloaded.running.port)
        writer.write(request)
        await writer.drain()
        writer.transport.abort()

    await asyncio.gather(*(hang_up() for _ in range(300)))
    overloaded.litellm.works.set()
    await eventually(lambda: overloaded.connections_to_litellm <= 100)
    await overloaded.report("300 callers who hang up")


async def test_callers_who_do_not_read(overloaded: Overloaded) -> None:
    """Twenty megabytes to each of fifty callers who read nothing of it: they are cut off, and cost little memory."""
    before = overloaded.memory_mib
    request = f"GET {BASE}/docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: a\r\n\r\n".encode() * 20
    callers = []
    for _ in range(50):
        caller = socket.socket()
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        caller.setblocking(False)
        await asyncio.get_running_loop().sock_connect(caller, ("127.0.0.1", overloaded.running.port))
        await asyncio.get_running_loop().sock_sendall(caller, request)
        callers.append(caller)
    await asyncio.sleep(BODY_SECONDS + 1)
    assert all([await cut_off(caller) for caller in callers])
    assert overloaded.memory_mib - before < GROWTH_MIB
    await overloaded.report("50 callers who do not read")


async def cut_off(caller: socket.socket) -> bool:
    """Whether the other end gave up: what is still in the buffers can be read, and then no more."""
    received = 0
    with suppress(ConnectionError):
        while part := await asyncio.wait_for(asyncio.get_running_loop().sock_recv(caller, 65536), 10):
            received += len(part)
    caller.close()
    return received < 10_000_000


async def test_a_rolling_restart(tmp_path: Path, litellm: LiteLLMStandIn) -> None:
    """Two replicas behind a balancer, each restarted in its turn under load: no request fails."""
    in_rotation: list[Running] = []
    statuses: Counter[int] = Counter()
    done = asyncio.Event()

    async def call(number: int) -> None:
        async with httpx.AsyncClient(headers=BEARER, timeout=30) as client:
            while not done.is_set():
                replica = in_rotation[number % len(in_rotation)]
                number += 1
                if number % 4:
                    response = await client.get(replica.origin + user_path(ALICE))
                else:
                    response = await client.post(replica.origin + keys_path(ALICE), json={})
                statuses[response.status_code] += 1

    async with service(tmp_path, litellm), rolling(tmp_path) as (start, stop):
        in_rotation += [await start(), await start()]
        callers = [asyncio.create_task(call(number)) for number in range(8)]
        for _ in range(2):
            leaving = in_rotation.pop(0)
            await asyncio.gather(stop(leaving), eventually(lambda: sum(statuses.values()) > 100))
            in_rotation.append(await start())
        done.set()
        await asyncio.gather(*callers)
    assert set(statuses) == {200, 201}
    assert statuses[200] > 100
    print(f"rolling restart: {dict(statuses)}")


@asynccontextmanager
async def rolling(
    folder: Path,
) -> AsyncIterator[tuple[Callable[[], Awaitable[Running]], Callable[[Running], Coroutine[Any, Any, None]]]]:
    """Starts and stops replicas that share the database in `folder`."""
    started: dict[int, tuple[AbstractAsyncContextManager[Running], Running]] = {}

    async def start() -> Running:
        context = listening("serve", "--config", str(folder / "app-config.yaml"))
        running = await context.__aenter__()
        started[running.port] = context, running
        return running

    async def stop(running: Running) -> None:
        context, _ = started.pop(running.port)
        await context.__aexit__(None, None, None)

    try:
        yield start, stop
    finally:
        for _, running in list(started.values()):
            await stop(running)


async def eventually(holds: Callable[[], bool]) -> None:
    """Waits until it holds, half a minute at most."""
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110  # another process has no event for it
            await asyncio.sleep(0.05)
