"""Masks keys and tokens in whatever is logged, stored or answered."""

from __future__ import annotations

import re
from typing import Any

MASK = "[redacted]"
# LiteLLM's keys, and compact JWTs (RFC 7515, section 3.1).
_SECRET = re.compile(r"sk-[A-Za-z0-9_-]+|eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]*)?")


def redact(text: str) -> str:
    """Masks each key and token in `text`."""
    return _SECRET.sub(MASK, text)


def redacted(value: Any) -> Any:
    """Masks each key and token in a JSON value, in names too."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {redact(name): redacted(part) for name, part in value.items()}
    return [redacted(part) for part in value] if isinstance(value, (list, tuple)) else value
