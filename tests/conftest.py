"""The service on its stand-ins, and the three people who use it."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from app import Parts, World, create_app, services_of
from edge.logs import configure_logging
from settings.model import CleanupSettings, ServiceToken, Settings
from standalone.backstage import BackstageStandIn
from standalone.environment import standalone_settings, standalone_world
from standalone.litellm import MASTER_KEY, LiteLLMStandIn
from tests.support.contract import check

BASE = "/api/litellm-orchestrator"
ALICE, BOB, CAROL, ERIN = (f"user:default/{name}" for name in ("alice", "bob", "carol", "erin.mixed"))
SERVICE_TOKEN = "service-token-for-tests"


class Clock:
    """A clock that moves when told to. Seconds since the epoch."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0

    def __call__(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.seconds += seconds


async def no_sleep(_: float) -> None:
    """What retries wait with in tests."""


class Service:
    """The service under test, with its stand-ins within reach."""

    def __init__(self, settings: Settings, world: World, litellm: LiteLLMStandIn, backstage: BackstageStandIn) -> None:
        self.settings, self.world, self.litellm, self.backstage = settings, world, litellm, backstage
        self._clients: list[httpx.AsyncClient] = []
        self._app: Any = None
        self._chores: Parts | None = None

    async def chores(self) -> None:
        """What runs by itself every ten seconds, once, as another process does it."""
        self._chores = self._chores or Parts(self.settings, self.world)
        await services_of(self._chores, self.settings, self.world, None).maintenance.run()

    def client(self, token: str | None = None) -> httpx.AsyncClient:
        """A caller with `token`; each of their answers is held against the contract."""
        self._app = self._app or create_app(self.settings, self.world)
        headers = {"Authorization": f"Bearer {token}"} if token else {}

        async def checked(response: httpx.Response) -> None:
            await response.aread()
            check(response)

        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self._app),
            base_url="http://orchestrator",
            headers=headers,
            event_hooks={"response": [checked]},
        )
        self._clients.append(client)
        return client

    def signed_in(self, ref: str) -> httpx.AsyncClient:
        """A caller with a genuine token for `ref`."""
        return self.client(self.backstage.user_token(ref))

    async def aclose(self) -> None:
        for client in self._clients:
            await client.aclose()
        if self._chores is not None:
            await self._chores.aclose()
        if self._app is not None:
            await stop(self._app)


async def stop(app: Any) -> None:
    """Start and stop the application's lifespan: it closes what requests have opened."""
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> dict[str, str]:
        return next(messages)

    async def send(_: Any) -> None:
        """Whoever waits for it is us."""

    await app({"type": "lifespan", "state": {}}, receive, send)


def user_path(ref: str) -> str:
    """The path of a user, with the ref encoded as clients do."""
    return f"{BASE}/users/{ref.replace(':', '%3A').replace('/', '%2F')}"


def keys_path(ref: str, key_id: str = "") -> str:
    """The path of a user's keys, or of one."""
    return f"{user_path(ref)}/keys" + (f"/{key_id}" if key_id else "")


@pytest.fixture(autouse=True)
def log() -> io.StringIO:
    """What the service logs, as an operator gets it."""
    stream = io.StringIO()
    configure_logging(secrets=[MASTER_KEY, SERVICE_TOKEN], stream=stream)
    return stream


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still until told to move."""
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
async def make_service(
    clock: Clock, litellm: LiteLLMStandIn, backstage: BackstageStandIn, tmp_path: Path
) -> AsyncIterator[MakeService]:
    """Build services with other settings or transports than usual: `make_service(world={...}, port=...)`."""
    built: list[Service] = []
    numbers = count(1)

    def make(world: dict[str, Any] | None = None, **changes: Any) -> Service:
        usual = World(wall_clock=clock, clock=clock, new_id=lambda: f"request-{next(numbers)}", sleep=no_sleep)
        on_stand_ins = standalone_world(litellm, backstage, usual)
        tokens = (ServiceToken(SERVICE_TOKEN, "service:ci", "admin"),)
        # What the clockwork would do is done by tests, when they want it.
        by_hand = CleanupSettings(enabled=False)
        settings = replace(
            standalone_settings(str(tmp_path)), service_tokens=tokens, cleanup=by_hand, maintenance_interval=0
        )
        service = Service(replace(settings, **changes), replace(on_stand_ins, **(world or {})), litellm, backstage)
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
    """Somebody who is not signed in."""
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
