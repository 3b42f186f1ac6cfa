"""Secrets are masked wherever they strayed, and words that resemble them are not."""

from __future__ import annotations

import io
import json
import logging
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
import structlog

from domain.redaction import BY_FORM, Redaction
from edge.logs import configure_logging
from edge.redacted_path import redacted_path
from tests.support.redaction import JWT, KNOWN, PEM, SECRETS, WORDS


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("around", ["{}", "before {} after", "key={}", '"{}"', "(%22{}%22)", "a\\n{}\\n", "x:{},"])
def test_secrets_are_masked_by_their_form(secret: str, around: str) -> None:
    """In a sentence, in quotes, in a URL, and behind an escaped newline."""
    assert BY_FORM.text(around.format(secret)) == around.format("[redacted]")


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("around", ["{}", "before {} after", 'user:default/{}, "{}"', "%22{}%22"])
def test_words_stay_readable(word: str, around: str) -> None:
    """Whatever a key, a person or a model is called."""
    assert Redaction([*KNOWN.values(), "postgres", "db"]).text(around.format(word, word)) == around.format(word, word)


WRITTEN: dict[str, Any] = {
    "as it is": str,
    "as JSON": json.dumps,
    "as JSON with all characters": lambda secret: json.dumps(secret, ensure_ascii=False),
    "as JSON in JSON": lambda secret: json.dumps({"body": json.dumps({"password": secret})}),
    "as a repr": repr,
    "as bytes": lambda secret: repr(secret.encode()),
    "in a path": lambda secret: quote(secret, safe=""),
    "in a path, in lower case": lambda secret: quote(secret, safe="").replace("%C", "%c").replace("%B", "%b"),
    "in a form": quote_plus,
    "in a JSON body's repr": lambda secret: repr(json.dumps([secret]).encode()),
}


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize("secret", KNOWN)
def test_a_known_secret_is_found_however_it_is_written(secret: str, written: str) -> None:
    """Quotes, backslashes, newlines and letters of any script are escaped in many ways before a text is logged."""
    text = f"before {WRITTEN[written](KNOWN[secret])} after"
    masked = Redaction([KNOWN[secret]]).text(text)
    assert "[redacted]" in masked
    assert len(masked) < len("before after") + len("[redacted]") + 40, masked


@pytest.mark.parametrize(
    ("secret", "text", "masked"),
    [
        ("db", "the db has been asked by db", "the db has been asked by db"),
        ("db", "db", "[redacted]"),
        ("postgres", "postgresql://postgres:postgres@host", "postgresql://[redacted]:[redacted]@host"),
        ("postgres", "user=%22postgres%22", "user=%22[redacted]%22"),
        ("hunter2hunter2", "xhunter2hunter2x", "x[redacted]x"),
        ("", "nothing is masked", "nothing is masked"),
    ],
)
def test_a_short_secret_does_not_mask_everything(secret: str, text: str, masked: str) -> None:
    """A short one is masked as a word, a very short one where nothing else is."""
    assert Redaction([secret]).text(text) == masked


def test_a_private_key_is_masked_in_parts_too() -> None:
    """A traceback shows a line of it, and a message may end in the middle."""
    line = PEM.splitlines()[2]
    assert Redaction([PEM]).text(f"invalid: {line}") == "invalid: [redacted]"
    assert BY_FORM.text(f"read {PEM[:60]}") == "read [redacted]"


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        (b"/users/user%3Adefault%2Falice", "/users/user%3Adefault%2Falice"),
        (b"/users/user%3Adefault%2Fdesk-lamp", "/users/user%3Adefault%2Fdesk-lamp"),
        (b"/keys/sk-canary", "/keys/[redacted]"),
        (b"/keys/%73k-canary", "/keys/[redacted]"),
        (b"/keys/user%3Ask-canary", "/keys/[redacted]"),
        (b"/device-codes/WDJB-MJHT/approval", "/device-codes/[redacted]/approval"),
        (b"/device%2Dcodes/WDJB-MJHT", "/device%2Dcodes/[redacted]"),
        (b"/" + b"x" * 300, "/[redacted]"),
        (b'/\xff<script>"', "/%FF%3Cscript%3E%22"),
    ],
)
def test_paths_are_shown_without_secrets(sent: bytes, shown: str) -> None:
    """Segment by segment, also where the secret is percent-encoded."""
    assert redacted_path(sent) == shown


def test_logs_are_json_without_secrets() -> None:
    """Secrets are gone from structlog's lines, the standard library's, and tracebacks; words are still there."""
    stream = io.StringIO()
    secrets = [*SECRETS, *KNOWN.values()]
    configure_logging(secrets=KNOWN.values(), stream=stream)
    for secret in secrets:
        structlog.get_logger().info(
            "started", key=secret, deep=[{"in": ("a", secret)}, {secret}], error=OSError(secret)
        )
        logging.getLogger("other").warning("token %s of %r", secret, {"body": secret})
        try:
            raise ValueError(secret)
        except ValueError:
            structlog.get_logger().exception("failed", words=WORDS)
            logging.getLogger("other").exception("failed")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(lines) == 4 * len(secrets)
    assert {line["event"] for line in lines if "words" in line} == {"failed"}
    assert all("ValueError: [redacted]" in line["exception"] for line in lines if line["event"] == "failed")
    assert all(line["words"] == WORDS for line in lines if "words" in line)
    written = [stream.getvalue(), *(text for line in lines for text in texts_of(line))]
    for secret in [*secrets, JWT.split(".")[1], *PEM.splitlines()[1:-1]]:
        assert not [text for text in written if secret in text]


def texts_of(value: Any) -> list[str]:
    """Every text in a JSON value."""
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for part in parts for text in texts_of(part)]
