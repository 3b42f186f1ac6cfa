"""Logs: one JSON object per line. Secrets are masked in the last step."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Any, TextIO

import structlog

from domain.redaction import MASK, redact


class _Redacting:
    """The last step of structlog: masks keys, tokens and the given secrets in the rendered line."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = [secret for secret in secrets if secret]

    def __call__(self, _logger: Any, _method: str, line: str) -> str:
        for secret in self._secrets:
            line = line.replace(secret, MASK)
        return redact(line)


def configure_logging(secrets: Sequence[str], stream: TextIO | None = None) -> None:
    """Sends the records of structlog and of the standard library to `stream` as JSON, without `secrets`."""
    stream = stream or sys.stderr
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    rendering: list[Any] = [structlog.processors.JSONRenderer(), _Redacting(secrets)]
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
