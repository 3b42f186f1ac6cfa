"""The composition root: settings become clients, clients services, services an application. Nothing is global."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

import httpx
import yaml
from starlette.types import ASGIApp

import handlers
from clients.litellm import LiteLLM
from clients.tokens import Caller, Tokens
from clients.upstream import Sleep, Upstream
from edge import application
from services.access import Groups, Principal
from services.container import Services
from services.health import Health
from services.keys import Keys
from services.users import UserDefaults, Users
from settings import Settings

CONTRACT = Path(__file__).parent / "openapi.yaml"


@cache
def contract() -> dict[str, Any]:
    """The contract, parsed."""
    return cast(
        "dict[str, Any]", yaml.load(CONTRACT.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    )  # it is a safe loader


def _random_id() -> str:
    return uuid.uuid4().hex


@dataclass(frozen=True)
class World:
    """What the service takes from outside of itself; tests and standalone mode hand in their own.

    A transport of None is the network. `wall_clock` is seconds since the epoch, `clock` a monotonic one.
    `sign_in` may vouch for a token before Backstage is asked.
    """

    litellm: httpx.AsyncBaseTransport | None = None
    backstage: httpx.AsyncBaseTransport | None = None
    wall_clock: Callable[[], float] = time.time
    clock: Callable[[], float] = time.monotonic
    new_id: Callable[[], str] = _random_id
    sleep: Sleep = asyncio.sleep
    sign_in: Callable[[str], Caller | None] = lambda _: None


def create_app(settings: Settings, world: World | None = None) -> ASGIApp:
    """The service as an ASGI application."""
    world = world or World()
    upstream = partial(Upstream, timeouts=settings.timeouts, sleep=world.sleep)
    litellm = LiteLLM(
        upstream("LiteLLM", settings.litellm.base_url, token=settings.litellm.master_key, transport=world.litellm)
    )
    tokens = Tokens(
        upstream("Backstage", settings.backstage.base_url, transport=world.backstage),
        issuer=settings.backstage.issuer,
        service_tokens=settings.service_tokens,
        now=world.wall_clock,
    )
    defaults = UserDefaults(settings.litellm.max_budget, settings.litellm.budget_duration)
    users = Users(litellm, defaults, known_seconds=settings.known_user_seconds, now=world.clock)
    services = Services(users=users, keys=Keys(litellm, users), health=Health(litellm, tokens, world.clock))
    groups = Groups(allowed=settings.allowed_group, admin=settings.admin_group)

    async def authenticate(token: str) -> Principal:
        return groups.principal(world.sign_in(token) or await tokens.verify(token))

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        yield
        await litellm.aclose()
        await tokens.aclose()

    return application.build(
        contract(),
        handlers={name: getattr(handlers, name) for name in handlers.__all__},
        available={"services": services},
        authenticate=authenticate,
        cors=settings.cors,
        lifespan=lifespan,
        new_id=world.new_id,
        now=world.clock,
    )
