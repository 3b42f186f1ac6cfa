"""The ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import structlog
from starlette.types import ASGIApp

from app.contract import contract
from app.orchestrator import Orchestrator
from app.ports import Ports
from edge import application
from handlers import HANDLERS
from services.litellm_version import log_version
from services.offboarding.schedule import cleanup_job
from services.repetition import Job, repeat
from services.users.models import warn_of_models_not_served
from settings.model import Settings

log = structlog.get_logger(__name__)


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
        has_cleanup = orchestrator.cleanup is not None and settings.cleanup.enabled
        if orchestrator.cleanup is not None and has_cleanup:
            jobs.append(cleanup_job(orchestrator.cleanup, settings.cleanup.interval))
        else:
            log.warning("the cleanup is off: it needs litellmOrchestrator.backstage.catalogToken and cleanup.enabled")
            # Otherwise the cleanup advances the sweep of the directory.
            jobs.append(Job("sweep", orchestrator.sweep.run_if_due, settings.cleanup.interval))
        if settings.maintenance_interval:
            jobs.append(orchestrator.background.job(settings.maintenance_interval))
        traced = ports.tracing.job if ports.tracing else lambda _: nullcontext()
        tasks = [asyncio.create_task(repeat(job, ports.pause, traced=traced)) for job in jobs]
        foundation = orchestrator.foundation
        tasks.append(asyncio.create_task(log_version(foundation.litellm, ports.sleep)))
        warning = warn_of_models_not_served(settings.litellm.tiers, foundation.litellm_models, ports.sleep)
        tasks.append(asyncio.create_task(warning))
        if orchestrator.foundation.metrics.are_shared:
            tasks.append(asyncio.create_task(repeat(orchestrator.monitoring.job(), ports.pause)))
        on_start()
        log.info("ready", **_what_an_operator_needs(settings, has_cleanup=has_cleanup))
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await orchestrator.aclose()
        orchestrator.foundation.metrics.publish()
        if ports.tracing:
            await asyncio.to_thread(ports.tracing.shutdown)

    return application.build(
        contract(),
        handlers=HANDLERS,
        services={type(service): service for service in orchestrator.services},
        authenticate=orchestrator.principal,
        cors=settings.cors,
        body_seconds=settings.connections.body_seconds,
        lifespan=lifespan,
        new_id=ports.new_id,
        now=ports.clock,
        metrics=orchestrator.foundation.metrics,
        tracing=ports.tracing,
        redaction=orchestrator.redaction,
        trusted_proxies=settings.trusted_proxies,
    )


def _what_an_operator_needs(settings: Settings, *, has_cleanup: bool) -> dict[str, Any]:
    """What distinguishes this process from others, in one line of its log. Times are in seconds."""
    return {
        "version": contract()["info"]["version"],
        "litellm": settings.litellm.base_url,
        "backstage": settings.backstage.base_url,
        "membership": "catalog" if settings.asks_catalog else "token",
        "cleanup": "on" if has_cleanup else "off",
        "grace_period": settings.cleanup.grace_period,
        "database": settings.database_url.partition("+")[0],
    }
