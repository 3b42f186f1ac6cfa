"""The composition root: settings become clients, clients services, services an application. Nothing is global."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

import httpx
import structlog
import yaml
from starlette.types import ASGIApp

import handlers
from clients.catalog import Catalog
from clients.cleanup_runs import CleanupRuns
from clients.database import Database
from clients.lease import Lease
from clients.litellm import LiteLLM
from clients.offboardings import Offboardings
from clients.tokens import Caller, Tokens
from clients.upstream import Sleep, Upstream
from edge import application
from services.access import GroupRefs, Principal
from services.container import Services
from services.health import Health
from services.keys import Keys
from services.membership import CatalogMembership, TokenMembership
from services.offboarding.administration import CleanupAdministration
from services.offboarding.cleanup import Cleanup, Neighbours
from services.offboarding.plan import Limits
from services.offboarding.schedule import jittered, run_forever
from services.users import UserDefaults, Users
from settings import Settings

CONTRACT = Path(__file__).parent / "openapi.yaml"
_LONGEST_LEASE = 60.0

log = structlog.get_logger(__name__)


@cache
def contract() -> dict[str, Any]:
    """The contract, parsed."""
    text = CONTRACT.read_text(encoding="utf-8")
    return cast("dict[str, Any]", yaml.load(text, Loader=yaml.CSafeLoader))  # it is a safe loader


def _random_id() -> str:
    return uuid.uuid4().hex


def _replica() -> str:
    return f"{socket.gethostname()}:{os.getpid()}:{_random_id()[:8]}"


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


class Parts:
    """Clients and services, wired. `cleanup` is None where there is no token to read the catalog with."""

    def __init__(self, settings: Settings, world: World) -> None:
        upstream = partial(Upstream, timeouts=settings.timeouts, sleep=world.sleep)
        at_backstage = partial(upstream, "Backstage", settings.backstage.base_url, transport=world.backstage)
        master_key = settings.litellm.master_key
        self.litellm = LiteLLM(
            upstream("LiteLLM", settings.litellm.base_url, token=master_key, transport=world.litellm)
        )
        self.tokens = Tokens(
            at_backstage(),
            issuer=settings.backstage.issuer,
            service_tokens=settings.service_tokens,
            now=world.wall_clock,
        )
        self.database = Database(settings.database_url, world.wall_clock)
        self.groups = GroupRefs(allowed=settings.allowed_group, admin=settings.admin_group)
        self.catalog: Catalog | None = None
        self.cleanup: Cleanup | None = None
        if settings.backstage.catalog_token is not None:
            self.catalog = Catalog(
                at_backstage(token=settings.backstage.catalog_token),
                include_nested_groups=settings.include_nested_groups,
            )
            self.cleanup = self._cleanup(settings, self.catalog)

    def _cleanup(self, settings: Settings, catalog: Catalog) -> Cleanup:
        interval = settings.cleanup.interval
        lease = Lease(self.database, "cleanup", life=min(_LONGEST_LEASE, interval))
        offboardings = Offboardings(self.database, lease)
        neighbours = Neighbours(catalog, self.litellm, lease, CleanupRuns(self.database), offboardings)
        limits = Limits(settings.cleanup.grace_period, settings.cleanup.max_removals)
        return Cleanup(neighbours, self.groups, limits, owner=_replica(), interval=lambda: jittered(interval))

    async def aclose(self) -> None:
        """Close every connection."""
        await self.litellm.aclose()
        await self.tokens.aclose()
        if self.catalog is not None:
            await self.catalog.aclose()
        await self.database.aclose()


def create_app(settings: Settings, world: World | None = None) -> ASGIApp:
    """The service as an ASGI application."""
    world = world or World()
    parts = Parts(settings, world)
    asked = None
    if parts.catalog is not None:
        asked = CatalogMembership(parts.catalog, parts.groups, seconds=settings.membership_seconds, now=world.clock)
    membership = asked if asked is not None and settings.membership == "catalog" else TokenMembership(parts.groups)
    defaults = UserDefaults(settings.litellm.max_budget, settings.litellm.budget_duration)
    users = Users(parts.litellm, defaults, asked, known_seconds=settings.known_user_seconds, now=world.clock)
    scheduled = parts.cleanup is not None and settings.cleanup.enabled
    services = Services(
        users=users,
        keys=Keys(parts.litellm, users),
        health=Health(parts.litellm, parts.tokens, world.clock),
        cleanup=CleanupAdministration(parts.cleanup, scheduled=scheduled),
    )

    async def authenticate(token: str) -> Principal:
        return await membership.principal(world.sign_in(token) or await parts.tokens.verify(token))

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        await parts.database.migrate()
        clockwork = None
        if parts.cleanup is not None and scheduled:
            clockwork = asyncio.create_task(run_forever(parts.cleanup, settings.cleanup.interval, world.sleep))
        else:
            log.warning("cleanup is off: it needs litellmOrchestrator.backstage.catalogToken, and cleanup.enabled")
        yield
        if clockwork is not None:
            clockwork.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await clockwork
        await services.cleanup.finish()
        await parts.aclose()

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
