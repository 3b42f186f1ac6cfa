"""The composition root: settings become clients, clients services, services an application. Nothing is global."""

from __future__ import annotations

import asyncio
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
from clients.backstage.catalog import Catalog
from clients.backstage.tokens import Caller, Tokens
from clients.litellm.client import LiteLLM
from clients.litellm.usage import LiteLLMUsage
from clients.upstream import Sleep, Upstream
from edge import application
from services.access import GroupRefs, Principal
from services.background import Maintenance
from services.changes.audit import Audit
from services.changes.creations import Creations
from services.changes.sealing import Sealing
from services.container import Services
from services.health import Health
from services.keys.create import Minting
from services.keys.keys import Keys
from services.keys.keys import Neighbours as KeyNeighbours
from services.keys.leaks import Leaks
from services.keys.reconciliation import Reconciliation
from services.keys.rotate import Rotation
from services.offboarding.administration import CleanupAdministration
from services.offboarding.apply import Steps
from services.offboarding.cleanup import Cleanup, Neighbours
from services.offboarding.plan import Limits
from services.offboarding.removal import Removal
from services.offboarding.schedule import jittered, run_forever
from services.usage import Usage
from services.users.administration import UserAdministration
from services.users.membership import CatalogMembership, TokenMembership
from services.users.models import Models
from services.users.tiers import Tiers
from services.users.users import Users
from settings.model import Settings
from state.changes import AuditLog
from state.cleanup_runs import CleanupRuns
from state.database import Database
from state.kept_answers import IdempotentRequests
from state.lease import Lease
from state.locks import Locks
from state.offboardings import Offboardings
from state.rates import Rates
from state.revocations import ReportedKeys, Revocations

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
        at_litellm = upstream(
            "LiteLLM", settings.litellm.base_url, token=settings.litellm.master_key, transport=world.litellm
        )
        self.owner = _replica()
        self.litellm = LiteLLM(at_litellm)
        self.litellm_usage = LiteLLMUsage(at_litellm)
        self.tokens = Tokens(
            at_backstage(),
            issuer=settings.backstage.issuer,
            service_tokens=settings.service_tokens,
            now=world.wall_clock,
        )
        self.database = Database(settings.database_url, world.wall_clock)
        self.groups = GroupRefs(allowed=settings.allowed_group, admin=settings.admin_group)
        self.audit_log = AuditLog(self.database)
        self.audit = Audit(self.audit_log, new_id=world.new_id, request_id=_request_id)
        lease = Lease(self.database, "cleanup", life=min(_LONGEST_LEASE, settings.cleanup.interval))
        offboardings = Offboardings(self.database, lease)
        self.steps = Steps(self.litellm, offboardings, lease, ReportedKeys(self.database), self.audit)
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
        neighbours = Neighbours(catalog, CleanupRuns(self.database), self.steps)
        limits = Limits(settings.cleanup.grace_period, settings.cleanup.max_removals)
        return Cleanup(neighbours, self.groups, limits, owner=self.owner, interval=lambda: jittered(interval))

    async def aclose(self) -> None:
        """Close every connection."""
        await self.litellm.aclose()
        await self.tokens.aclose()
        if self.catalog is not None:
            await self.catalog.aclose()
        await self.database.aclose()


def services_of(parts: Parts, settings: Settings, world: World, catalog: CatalogMembership | None) -> Services:
    """The services on `parts`; `catalog` is what is asked for groups and names, where there is one."""
    database, litellm, audit = parts.database, parts.litellm, parts.audit
    tiers = Tiers(settings.litellm.group_defaults, settings.litellm.user_defaults, catalog)
    rates = Rates(database)
    creations = Creations(
        IdempotentRequests(database),
        rates,
        Sealing(settings.litellm.master_key),
        a_minute=settings.creates_per_minute,
        new_id=world.new_id,
    )
    users = Users(litellm, creations, tiers, catalog, audit, known_seconds=settings.known_user_seconds, now=world.clock)
    models = Models(parts.litellm_usage, litellm, tiers, now=world.clock)
    locks = Locks(database, world.sleep, world.new_id)
    reported = parts.steps.reported
    neighbours = KeyNeighbours(
        litellm,
        database,
        users,
        creations,
        tiers,
        models,
        Revocations(database),
        reported,
        locks,
        audit,
        world.wall_clock,
    )
    keys, minting = Keys(neighbours), Minting(neighbours)
    rotation = Rotation(neighbours, keys, minting)
    reconciliation = Reconciliation(parts.audit_log, litellm, minting, locks)
    return Services(
        users=users,
        administration=UserAdministration(litellm, models, parts.steps.offboardings, audit, now=world.clock),
        removal=Removal(parts.steps, users, owner=parts.owner),
        tiers=tiers,
        keys=keys,
        minting=minting,
        rotation=rotation,
        leaks=Leaks(litellm, reported, creations, audit),
        models=models,
        usage=Usage(parts.litellm_usage, litellm, users, now=world.wall_clock),
        audit=audit,
        health=Health(litellm, parts.tokens, world.clock),
        cleanup=CleanupAdministration(parts.cleanup, scheduled=parts.cleanup is not None and settings.cleanup.enabled),
        maintenance=Maintenance(rotation, reconciliation, parts.audit_log, rates, retention=settings.audit_retention),
    )


def create_app(settings: Settings, world: World | None = None) -> ASGIApp:
    """The service as an ASGI application."""
    world = world or World()
    parts = Parts(settings, world)
    asked = None
    if parts.catalog is not None:
        asked = CatalogMembership(parts.catalog, parts.groups, seconds=settings.membership_seconds, now=world.clock)
    membership = asked if asked is not None and settings.membership == "catalog" else TokenMembership(parts.groups)
    services = services_of(parts, settings, world, asked)

    async def authenticate(token: str) -> Principal:
        return await membership.principal(world.sign_in(token) or await parts.tokens.verify(token))

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        await parts.database.migrate()
        clockworks = []
        if parts.cleanup is not None and settings.cleanup.enabled:
            clockworks.append(run_forever(parts.cleanup, settings.cleanup.interval, world.sleep))
        else:
            log.warning("cleanup is off: it needs litellmOrchestrator.backstage.catalogToken, and cleanup.enabled")
        if settings.maintenance_interval:
            clockworks.append(services.maintenance.run_forever(settings.maintenance_interval, world.sleep))
        running = [asyncio.create_task(clockwork) for clockwork in clockworks]
        yield
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
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


def _request_id() -> str | None:
    """The id that the request log has bound; None outside of a request."""
    return structlog.contextvars.get_contextvars().get("request_id")
