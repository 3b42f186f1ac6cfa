"""Keys and tokens are masked wherever they strayed."""

from __future__ import annotations

import io
import json
import logging

import pytest
import structlog

from domain.redaction import redact
from edge.logs import configure_logging
from edge.redaction import redacted_path

JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ1In0.c2lnbmF0dXJl"


@pytest.mark.parametrize("secret", ["sk-canary123", "sk-canary_1-2", JWT, JWT.rpartition(".")[0]])
def test_secrets_are_masked_in_text(secret: str) -> None:
    """LiteLLM's keys and JWTs."""
    assert redact(f"before {secret} after") == "before [redacted] after"


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        (b"/users/user%3Adefault%2Falice", "/users/user%3Adefault%2Falice"),
        (b"/keys/sk-canary", "/keys/[redacted]"),
        (b"/keys/%73k-canary", "/keys/[redacted]"),
        (b"/keys/user%3Ask-canary", "/keys/[redacted]"),
        (b"/" + b"x" * 300, "/[redacted]"),
        (b'/\xff<script>"', "/%FF%3Cscript%3E%22"),
    ],
)
def test_paths_are_shown_without_secrets(sent: bytes, shown: str) -> None:
    """Segment by segment, also where the secret is percent-encoded."""
    assert redacted_path(sent) == shown


def test_logs_are_json_without_secrets() -> None:
    """Configured secrets, keys and tokens are gone from structlog's lines, the standard library's, and tracebacks."""
    stream = io.StringIO()
    configure_logging(secrets=["canary-master", ""], stream=stream)
    structlog.get_logger().info("started", key="sk-canary1", master="canary-master")
    logging.getLogger("other").warning("token %s", JWT)
    try:
        int("sk-canary2 canary-master")
    except ValueError:
        structlog.get_logger().exception("failed")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["started", "token [redacted]", "failed"]
    assert "ValueError" in lines[2]["exception"]
    assert "canary" not in stream.getvalue()
