"""The contract without services."""

from __future__ import annotations

import asyncio
from typing import Any

from domain.identity import Principal, Role
from domain.redaction import BY_FORM
from edge import application
from edge.binding import handler_name
from settings.model import Cors
from telemetry.metrics import Metrics
from tests.conftest import BOB
from tests.support.contract import CONTRACT_DOCUMENT
from tests.support.requests import REQUESTS


def application_of(handlers: dict[str, Any]) -> Any:
    """The contract without services. Operations without a handler crash."""

    async def crash(**_: Any) -> Any:
        raise ZeroDivisionError

    async def authenticate(_: str) -> Principal:
        return Principal(BOB, frozenset({Role.ADMIN}))

    return application.build(
        CONTRACT_DOCUMENT,
        handlers={handler_name(operation): handlers.get(operation, crash) for operation in REQUESTS},
        services={},
        authenticate=authenticate,
        cors=Cors(),
        body_seconds=30,
        lifespan=asyncio.timeout,  # type: ignore[arg-type]  # never entered: this transport has no lifespan
        new_id=lambda: "request-1",
        now=lambda: 0.0,
        metrics=Metrics("0.0.0"),
        tracing=None,
        redaction=BY_FORM,
        trusted_proxies=(),
    )
