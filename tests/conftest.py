"""The service on its stand-ins, and the three people who use it."""

from __future__ import annotations

import asyncio
import gc
import io
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from app import Orchestrator, Ports, create_app
from cli import ALLOCATIONS_PER_COLLECTION
from edge.logs import configure_logging
from settings.model import CleanupSettings, ServiceToken, Settings
from standalone.backstage import BackstageStandIn
from standalone.environment import standalone_ports, standalone_settings
from standalone.issuer import IssuerStandIn
from standalone.litellm import MASTER_KEY, LiteLLMStandIn
from tests.support.contract import checked_client
from tests.support.once import migrated_database, share_what_is_built
from tests.support.postgresql import empty_database
from tests.support.processes import end_fork_server

BASE = "/api/litellm-orchestrator"
TARGETS = ["stand-in", pytest.param("real", marks=pytest.mark.live)]
"""A test of these runs against the stand-ins and, under `make live`, against the real products."""
DATABASES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)]
"""A test of these runs on SQLite and, under `make postgresql-test`, on PostgreSQL."""
ALICE, BOB, CAROL, ERIN = (f"user:default/{name}" for name in ("alice", "bob", "carol", "erin.mixed"))
SERVICE_TOKEN = "service-token-for-tests"


_MEMORY, _ENOUGH = Path("/dev/shm"), 2 * 1024**3  # noqa: S108  # each test has a folder of its own in it


def pytest_configure() -> None:
    """Temporary folders are in memory if there is room: on a disk each commit of SQLite waits for it."""
    gc.set_threshold(ALLOCATIONS_PER_COLLECTION)  # as in production; without it tests take a quarter longer
    if _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ENOUGH:
        os.environ.setdefault("TMPDIR", str(_MEMORY))
        tempfile.tempdir = None


class Clock:
    """A clock that the test moves. Seconds since the epoch."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0

    def __call__(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.seconds += seconds


async def no_sleep(_: float) -> None:
    """Retries do not wait in tests."""


async def never(_: float) -> None:
    """No time passes between heartbeats, nor between runs of background jobs, in tests."""
    await asyncio.Event().wait()


class Service:
    """The service under test, with its stand-ins within reach."""

    def __init__(
        self,
        settings: Settings,
        ports: Ports,
        litellm: LiteLLMStandIn,
        backstage: BackstageStandIn,
        issuer: IssuerStandIn,
    ) -> None:
        self.settings, self.ports, self.litellm, self.backstage = settings, ports, litellm, backstage
        self.issuer = issuer
        self._clients: list[httpx.AsyncClient] = []
        self._app: Any = None
        self._background: Orchestrator | None = None

    async def run_background_jobs(self) -> None:
        """Runs what runs every ten seconds, once, as another process does it."""
        self._background = self._background or Orchestrator(self.settings, self.ports)
        await self._background.background.run()

    def client(self, token: str | None = None) -> httpx.AsyncClient:
        """A caller with `token`. Each response is checked against the contract."""
        self._app = self._app or create_app(self.settings, self.ports)
        client = checked_client("http://orchestrator", token, transport=httpx.ASGITransport(self._app))
        self._clients.append(client)
        return client

    def signed_in(self, ref: str) -> httpx.AsyncClient:
        """A caller with a genuine token for `ref`."""
        return self.client(self.backstage.user_token(ref))

    async def aclose(self) -> None:
        for client in self._clients:
            await client.aclose()
        if self._background is not None:
            await self._background.aclose()
        if self._app is not None:
            await stop(self._app)


async def stop(app: Any) -> None:
    """Start and stop the application's lifespan: it closes what requests have opened."""
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> dict[str, str]:
        return next(messages)

    async def send(_: Any) -> None:
        """The response is not needed."""

    await app({"type": "lifespan", "state": {}}, receive, send)


def stored_in(folder: Path) -> bytes:
    """All that the service wrote there."""
    return b"".join(path.read_bytes() for path in folder.iterdir())


def user_path(ref: str) -> str:
    """The path of a user, with the ref encoded as clients do."""
    return f"{BASE}/users/{ref.replace(':', '%3A').replace('/', '%2F')}"


def keys_path(ref: str, key_id: str = "") -> str:
    """The path of a user's keys, or of one."""
    return f"{user_path(ref)}/keys" + (f"/{key_id}" if key_id else "")


@pytest.fixture(scope="session", autouse=True)
def built_once() -> Iterator[None]:
    """What every application builds in the same way is built for the first of them."""
    with pytest.MonkeyPatch.context() as patch:
        share_what_is_built(patch)
        yield


@pytest.fixture(scope="session", autouse=True)
def fork_server() -> Iterator[None]:
    """It ends with the tests."""
    yield
    end_fork_server()


@pytest.fixture(params=TARGETS)
def is_real(request: pytest.FixtureRequest) -> bool:
    """Whether to use the real product."""
    return bool(request.param == "real")


@pytest.fixture(params=DATABASES)
def is_postgresql(request: pytest.FixtureRequest) -> bool:
    """Whether to use PostgreSQL."""
    return bool(request.param == "postgresql")


@pytest.fixture
async def database_settings(*, is_postgresql: bool) -> AsyncIterator[dict[str, Any]]:
    """SQLite as usual, and PostgreSQL."""
    if not is_postgresql:
        yield {}
        return
    async with empty_database() as url:
        yield {"database_url": url}


@pytest.fixture(autouse=True)
def log() -> io.StringIO:
    """What the service logs, as an operator gets it."""
    stream = io.StringIO()
    configure_logging(secrets=[MASTER_KEY, SERVICE_TOKEN], stream=stream)
    return stream


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still until the test moves it."""
    return Clock()


@pytest.fixture
def litellm(clock: Clock) -> LiteLLMStandIn:
    """An empty LiteLLM."""
    numbers = count(1)
    return LiteLLMStandIn(now=clock, new_id=lambda: f"secret{next(numbers):016}")


@pytest.fixture
def backstage(clock: Clock) -> BackstageStandIn:
    """A Backstage with alice, bob, carol and some others."""
    return BackstageStandIn(now=clock)


MakeService = Callable[..., Service]


@pytest.fixture
def issuer(clock: Clock) -> IssuerStandIn:
    """Who signs tokens of workloads."""
    return IssuerStandIn(clock)


def service_on(
    folder: Path,
    clock: Clock,
    litellm: LiteLLMStandIn,
    backstage: BackstageStandIn,
    /,
    *,
    numbers: Iterator[int],
    ports: dict[str, Any] | None = None,
    issuer: IssuerStandIn | None = None,
    **changes: Any,
) -> Service:
    """A service on stand-ins, with its state in `folder`, and `changes` to the settings and the ports of `make run`."""
    usual = Ports(wall_clock=clock, clock=clock, new_id=lambda: f"request-{next(numbers)}", sleep=no_sleep, pause=never)
    issuer = issuer or IssuerStandIn(clock)
    on_stand_ins = standalone_ports(litellm, backstage, usual, issuer)
    tokens = (ServiceToken(SERVICE_TOKEN, "service:ci", "admin"),)
    # Tests run the background jobs themselves.
    by_hand = CleanupSettings(enabled=False)
    migrated_database(folder)
    settings = replace(standalone_settings(str(folder)), service_tokens=tokens, cleanup=by_hand, maintenance_interval=0)
    ports_given = replace(on_stand_ins, **(ports or {}))
    return Service(replace(settings, **changes), ports_given, litellm, backstage, issuer)


@pytest.fixture
async def make_service(
    clock: Clock, litellm: LiteLLMStandIn, backstage: BackstageStandIn, issuer: IssuerStandIn, tmp_path: Path
) -> AsyncIterator[MakeService]:
    """Build services with other settings or transports than usual: `make_service(ports={...}, port=...)`."""
    built: list[Service] = []
    numbers = count(1)

    def make(ports: dict[str, Any] | None = None, **changes: Any) -> Service:
        service = service_on(
            tmp_path, clock, litellm, backstage, numbers=numbers, ports=ports, issuer=issuer, **changes
        )
        built.append(service)
        return service

    yield make
    for service in built:
        await service.aclose()


@pytest.fixture
def service(make_service: MakeService) -> Service:
    """The service as `make run` starts it, on a clock of its own."""
    return make_service()


@pytest.fixture
def nobody(service: Service) -> httpx.AsyncClient:
    """A caller without a token."""
    return service.client()


@pytest.fixture
def alice(service: Service) -> httpx.AsyncClient:
    """A member."""
    return service.signed_in(ALICE)


@pytest.fixture
def bob(service: Service) -> httpx.AsyncClient:
    """An admin."""
    return service.signed_in(BOB)


@pytest.fixture
def carol(service: Service) -> httpx.AsyncClient:
    """Signed in, and in neither group."""
    return service.signed_in(CAROL)


class Hasty:
    """A clock on which a minute passes between any two looks at it."""

    def __init__(self) -> None:
        self._now = 0.0

    def __call__(self) -> float:
        self._now += 60
        return self._now
