"""Logs: one JSON object per line. Secrets are masked in each value, just before it is rendered."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, MutableMapping
from typing import Any, TextIO

import structlog

from domain.redaction import Redaction


def configure_logging(secrets: Iterable[str], stream: TextIO | None = None) -> None:
    """Sends the records of structlog and of the standard library to `stream` as JSON, without `secrets`."""
    stream = stream or sys.stderr
    redaction = Redaction(secrets)

    def masked(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        # The names are our own.
        return {name: redaction.value(value) for name, value in event.items()}

    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    rendering: list[Any] = [masked, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=[*shared, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(stream),
    )
    handler = logging.StreamHandler(stream)
    formatter_chain = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering]
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=formatter_chain))
    logging.root.handlers = [handler]
    logging.root.setLevel(logging.INFO)
    # Their own lines say nothing that an operator could use: Alembic's name its plugins, uvicorn's its phases.
    for library in ("connexion", "httpx", "alembic", "uvicorn"):
        logging.getLogger(library).setLevel(logging.WARNING)
