"""The composition root: builds clients, state and services from settings, and an ASGI application from those.

Nothing is global, so several services can live in one process.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
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
from clients.backstage.tokens import TokenVerifier
from clients.litellm.client import LiteLLM
from clients.litellm.usage import LiteLLMUsage
from clients.upstream import Sleep, Upstream
from domain.identity import Caller, GroupRefs, Principal
from domain.offboarding import RemovalLimits
from edge import application
from services.background import BackgroundJobs
from services.changes.audit import AuditLog
from services.changes.changes import Changes, Context
from services.changes.queue import ChangeQueue
from services.changes.sealing import Sealing
from services.changes.store import ChangeStore
from services.health import Health
from services.keys.create import CreateKey, KeyPlacing
from services.keys.delete import DeleteKey
from services.keys.issuer import KeyIssuer
from services.keys.keys import Keys
from services.keys.policy import KeyPolicy
from services.keys.reconciliation import Reconciliation
from services.keys.report import ReportKey
from services.keys.revoke import RevokeKeys
from services.keys.rotate import Replacement, RotateKey
from services.keys.update import UpdateKey, UpdateRules
from services.offboarding.administration import CleanupAdministration
from services.offboarding.cleanup import Cleanup
from services.offboarding.execution import PlanExecution
from services.offboarding.removal import RemoveUser
from services.offboarding.schedule import run_forever
from services.offboarding.snapshot import SnapshotReader
from services.repetition import jittered, repeat
from services.single_flight import SingleFlight
from services.usage import Usage
from services.users.create import CreateUser, UserCreation
from services.users.known import KnownUsers
from services.users.list import ListUsers
from services.users.membership import CatalogMembership, TokenMembership
from services.users.models import Models
from services.users.sweep import DirectorySweep
from services.users.tiers import Tiers
from services.users.update import UpdateUser
from services.users.users import Users
from settings.model import Settings
from state.changes import ChangeTable
from state.cleanup_runs import CleanupRuns
from state.database import Database
from state.directory import Directory
from state.kept_answers import KeptAnswers
from state.lease import Lease
from state.offboardings import Offboardings
from state.rates import RatePolicy, Rates
from state.revocations import ReportedKeys, Revocations

CONTRACT = Path(__file__).parent / "openapi.yaml"
_LONGEST_LEASE_SECONDS = 60.0

log = structlog.get_logger(__name__)


@cache
def contract() -> dict[str, Any]:
    """The parsed contract."""
    text = CONTRACT.read_text(encoding="utf-8")
    return cast("dict[str, Any]", yaml.load(text, Loader=yaml.CSafeLoader))  # CSafeLoader is a safe loader


def _random_id() -> str:
    return secrets.token_hex(16)


@dataclass(frozen=True)
class Ports:
    """What the service takes from the outside. Tests and standalone mode pass their own.

    A transport of None is the network. `wall_clock` is in seconds since the epoch, `clock` is monotonic. `sleep` waits
    before retries, `heartbeat` between renewals of a lease. `sign_in` may accept a token before Backstage is asked.
    `patience` is the time in seconds that a caller waits for a dry run of the cleanup.
    """

    litellm: httpx.AsyncBaseTransport | None = None
    backstage: httpx.AsyncBaseTransport | None = None
    wall_clock: Callable[[], float] = time.time
    clock: Callable[[], float] = time.monotonic
    new_id: Callable[[], str] = _random_id
    sleep: Sleep = asyncio.sleep
    heartbeat: Sleep = asyncio.sleep
    sign_in: Callable[[str], Caller | None] = lambda _: None
    patience: float = 5.0


class Foundation:
    """The clients and the state of one process. Without a catalog token there is no catalog."""

    def __init__(self, settings: Settings, ports: Ports) -> None:
        upstream = partial(Upstream, timeouts=settings.timeouts, sleep=ports.sleep)
        to_backstage = partial(upstream, "Backstage", settings.backstage.base_url, transport=ports.backstage)
        to_litellm = upstream(
            "LiteLLM", settings.litellm.base_url, token=settings.litellm.master_key, transport=ports.litellm
        )
        self.litellm = LiteLLM(to_litellm)
        self.litellm_usage = LiteLLMUsage(to_litellm)
        self.tokens = TokenVerifier(
            to_backstage(),
            issuer=settings.backstage.issuer,
            service_tokens=settings.service_tokens,
            plugins=settings.backstage.allowed_plugins,
            now=ports.wall_clock,
        )
        self.catalog: Catalog | None = None
        if settings.backstage.catalog_token is not None:
            self.catalog = Catalog(
                to_backstage(token=settings.backstage.catalog_token),
                include_nested_groups=settings.include_nested_groups,
            )
        self.database = Database(settings.database_url, ports.wall_clock)
        self.directory = Directory(self.database)
        self.change_table = ChangeTable(self.database)
        self.kept_answers = KeptAnswers(self.database)
        self.rates = Rates(self.database)
        self.revocations = Revocations(self.database)
        self.reported = ReportedKeys(self.database)
        replica = f"{socket.gethostname()}:{os.getpid()}:{_random_id()[:8]}"
        lease_life = min(_LONGEST_LEASE_SECONDS, settings.cleanup.interval)
        self.lease = Lease(self.database, "cleanup", owner=replica, life=lease_life)
        self.offboardings = Offboardings(self.database, self.lease)
        self.cleanup_runs = CleanupRuns(self.database, owner=replica)

    async def aclose(self) -> None:
        """Closes every connection."""
        await self.litellm.aclose()
        await self.tokens.aclose()
        if self.catalog is not None:
            await self.catalog.aclose()
        await self.database.aclose()


class Orchestrator:
    """All services of one process. `services` are those that the handlers call."""

    def __init__(self, settings: Settings, ports: Ports | None = None) -> None:
        self.settings = settings
        self.ports = ports or Ports()
        self.foundation = Foundation(settings, self.ports)
        self._groups = GroupRefs(allowed=settings.allowed_group, admin=settings.admin_group)
        self._asked_catalog = self._catalog_membership()
        self._changes = self._write_path()
        self._execution = PlanExecution(
            changes=self._changes,
            litellm=self.foundation.litellm,
            offboardings=self.foundation.offboardings,
            lease=self.foundation.lease,
            reported=self.foundation.reported,
            directory=self.foundation.directory,
        )
        self.sweep = DirectorySweep(
            directory=self.foundation.directory,
            litellm=self.foundation.litellm,
            settings=settings.directory,
            interval=settings.cleanup.interval,
        )
        self.cleanup = self._cleanup()
        self.cleanup_administration = CleanupAdministration(
            cleanup=self.cleanup,
            scheduled=self.cleanup is not None and settings.cleanup.enabled,
            patience=self.ports.patience,
        )
        self.services: list[Any] = [
            AuditLog(changes=self.foundation.change_table),
            Health(
                litellm=self.foundation.litellm,
                tokens=self.foundation.tokens,
                database=self.foundation.database,
                now=self.ports.clock,
            ),
            self.cleanup_administration,
        ]
        self.background = self._users_and_keys()

    async def principal(self, token: str) -> Principal:
        """The principal of a bearer token. Raises AuthenticationError, UpstreamError."""
        caller = self.ports.sign_in(token) or await self.foundation.tokens.verify(token)
        if self._asked_catalog is not None and self.settings.membership == "catalog":
            return await self._asked_catalog.principal(caller)
        return await TokenMembership(groups=self._groups).principal(caller)

    async def aclose(self) -> None:
        """Waits for the runs of the cleanup that were started here, and closes every connection."""
        await self.cleanup_administration.finish()
        await self.foundation.aclose()

    def _catalog_membership(self) -> CatalogMembership | None:
        if self.foundation.catalog is None:
            return None
        return CatalogMembership(
            catalog=self.foundation.catalog,
            groups=self._groups,
            seconds=self.settings.membership_seconds,
            now=self.ports.clock,
        )

    def _write_path(self) -> Changes:
        store = ChangeStore(
            database=self.foundation.database,
            changes=self.foundation.change_table,
            kept_answers=self.foundation.kept_answers,
            rates=self.foundation.rates,
        )
        context = Context(
            new_id=self.ports.new_id,
            request_id=_request_id,
            sleep=self.ports.sleep,
            heartbeat=self.ports.heartbeat,
        )
        sealing = Sealing(self.settings.litellm.master_key)
        return Changes(store=store, queue=ChangeQueue(), sealing=sealing, context=context)

    def _cleanup(self) -> Cleanup | None:
        if self.foundation.catalog is None:
            return None
        cleanup = self.settings.cleanup
        snapshots = SnapshotReader(
            catalog=self.foundation.catalog,
            litellm=self.foundation.litellm,
            directory=self.foundation.directory,
            sweep=self.sweep,
            offboardings=self.foundation.offboardings,
            groups=self._groups,
        )
        return Cleanup(
            snapshots=snapshots,
            execution=self._execution,
            runs=self.foundation.cleanup_runs,
            lease=self.foundation.lease,
            limits=RemovalLimits(cleanup.grace_period, cleanup.max_removals),
            interval=lambda: jittered(cleanup.interval),
        )

    def _users_and_keys(self) -> BackgroundJobs:
        foundation, changes = self.foundation, self._changes
        litellm, now = foundation.litellm, self.ports.wall_clock
        creates = RatePolicy("creates", self.settings.creates_per_minute)
        reports = RatePolicy("reports", self.settings.creates_per_minute)

        known = KnownUsers(litellm=litellm, seconds=self.settings.known_user_seconds, now=self.ports.clock)
        tiers = Tiers(
            groups=self.settings.litellm.group_defaults,
            defaults=self.settings.litellm.user_defaults,
            catalog=self._asked_catalog,
        )
        creation = UserCreation(litellm=litellm, known=known, tiers=tiers, catalog=self._asked_catalog)
        create_user = CreateUser(
            changes=changes, creation=creation, known=known, directory=foundation.directory, rate=creates
        )
        users = Users(litellm=litellm, known=known, create_user=create_user)
        models = Models(usage=foundation.litellm_usage, litellm=litellm, tiers=tiers, now=self.ports.clock)
        list_users = ListUsers(
            litellm=litellm, directory=foundation.directory, sweep=self.sweep, first_sweep=SingleFlight()
        )

        keys = Keys(litellm=litellm, users=users, revocations=foundation.revocations, now=now)
        policy = KeyPolicy(models=models, now=now)
        issuer = KeyIssuer(litellm=litellm, known=known)
        placing = KeyPlacing(policy=policy, keys=keys, now=now)
        rules = UpdateRules(policy=policy, tiers=tiers, keys=keys, reported=foundation.reported)
        replacement = Replacement(keys=keys, policy=policy, tiers=tiers, reported=foundation.reported, now=now)
        revoke_keys = RevokeKeys(changes=changes, issuer=issuer, revocations=foundation.revocations)

        self.services += [
            tiers,
            users,
            models,
            keys,
            create_user,
            list_users,
            UpdateUser(changes=changes, litellm=litellm, models=models, directory=foundation.directory),
            RemoveUser(
                changes=changes,
                execution=self._execution,
                lease=foundation.lease,
                offboardings=foundation.offboardings,
                litellm=litellm,
                known=known,
            ),
            CreateKey(changes=changes, users=users, tiers=tiers, placing=placing, issuer=issuer, rate=creates),
            UpdateKey(changes=changes, users=users, keys=keys, litellm=litellm, rules=rules),
            DeleteKey(changes=changes, users=users, keys=keys, litellm=litellm, revocations=foundation.revocations),
            RotateKey(
                changes=changes,
                users=users,
                replacement=replacement,
                issuer=issuer,
                revoke_keys=revoke_keys,
                rate=creates,
            ),
            ReportKey(changes=changes, litellm=litellm, reported=foundation.reported, rate=reports),
            Usage(usage=foundation.litellm_usage, litellm=litellm, users=users, now=now),
        ]
        return BackgroundJobs(
            revoke_keys=revoke_keys,
            reconciliation=Reconciliation(
                changes=changes, interrupted=foundation.change_table, litellm=litellm, issuer=issuer
            ),
            changes=foundation.change_table,
            kept_answers=foundation.kept_answers,
            rates=foundation.rates,
            retention=self.settings.audit_retention,
        )


def create_app(
    settings: Settings, ports: Ports | None = None, *, on_start: Callable[[], None] = lambda: None
) -> ASGIApp:
    """The service as an ASGI application. `on_start` is called when it is ready for requests."""
    orchestrator = Orchestrator(settings, ports)
    ports = orchestrator.ports

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        await orchestrator.foundation.database.migrate()
        jobs = []
        if orchestrator.cleanup is not None and settings.cleanup.enabled:
            jobs.append(run_forever(orchestrator.cleanup, settings.cleanup.interval, ports.sleep))
        else:
            log.warning("the cleanup is off: it needs litellmOrchestrator.backstage.catalogToken and cleanup.enabled")
            # Otherwise the cleanup advances the sweep of the directory.
            jobs.append(repeat(orchestrator.sweep.run_if_due, "sweep", settings.cleanup.interval, ports.sleep))
        if settings.maintenance_interval:
            jobs.append(orchestrator.background.run_forever(settings.maintenance_interval, ports.sleep))
        tasks = [asyncio.create_task(job) for job in jobs]
        on_start()
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await orchestrator.aclose()

    return application.build(
        contract(),
        handlers={name: getattr(handlers, name) for name in handlers.__all__},
        services={type(service): service for service in orchestrator.services},
        authenticate=orchestrator.principal,
        cors=settings.cors,
        body_seconds=settings.connections.body_seconds,
        lifespan=lifespan,
        new_id=ports.new_id,
        now=ports.clock,
    )


def _request_id() -> str | None:
    """The id that the request log has bound; None outside of a request."""
    return structlog.contextvars.get_contextvars().get("request_id")
