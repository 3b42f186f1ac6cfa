"""The ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import structlog
from starlette.types import ASGIApp

import handlers
from app.contract import contract
from app.orchestrator import Orchestrator
from app.ports import Ports
from edge import application
from services.offboarding.schedule import run_forever
from services.repetition import repeat
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
        if orchestrator.cleanup is not None and settings.cleanup.enabled:
            jobs.append(run_forever(orchestrator.cleanup, settings.cleanup.interval, ports.sleep))
        else:
            log.warning("the cleanup is off: it needs litellmOrchestrator.backstage.catalogToken and cleanup.enabled")
            # Otherwise the cleanup advances the sweep of the directory.
            jobs.append(repeat(orchestrator.sweep.run_if_due, "sweep", settings.cleanup.interval, ports.sleep))
        if orchestrator.foundation.metrics.are_shared:
            jobs.append(orchestrator.monitoring.publish_forever(ports.sleep))
        if settings.maintenance_interval:
            jobs.append(orchestrator.background.run_forever(settings.maintenance_interval, ports.sleep))
        tasks = [asyncio.create_task(job) for job in jobs]
        on_start()
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await orchestrator.aclose()
        orchestrator.foundation.metrics.publish()

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
        metrics=orchestrator.foundation.metrics,
    )
