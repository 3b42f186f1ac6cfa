"""The composition root: settings become clients, clients services, services an application. Nothing is global."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml
from starlette.types import ASGIApp

import handlers
from clients.litellm import LiteLLM
from clients.tokens import Caller, Tokens
from clients.upstream import Upstream
from edge import application
from services.access import Groups, Principal
from services.container import Services
from services.health import Health
from services.keys import Keys
from services.users import UserDefaults, Users
from settings import Settings

CONTRACT = Path(__file__).parent / "openapi.yaml"


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
    sign_in: Callable[[str], Caller | None] = lambda _: None


def create_app(settings: Settings, world: World | None = None) -> ASGIApp:
    """The service as an ASGI application."""
    world = world or World()
    litellm = LiteLLM(
        Upstream("LiteLLM", settings.litellm.base_url, settings.timeouts, token=settings.litellm.master_key, transport=world.litellm)
    )
    tokens = Tokens(
        Upstream("Backstage", settings.backstage.base_url, settings.timeouts, transport=world.backstage),
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
        yaml.safe_load(CONTRACT.read_text(encoding="utf-8")),
        handlers={name: getattr(handlers, name) for name in handlers.__all__},
        available={"services": services},
        authenticate=authenticate,
        cors=settings.cors,
        lifespan=lifespan,
        new_id=world.new_id,
        now=world.clock,
    )
