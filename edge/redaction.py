"""What is taken out before anything is written down or answered: keys and tokens, wherever they strayed."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote_to_bytes

MASK = "[redacted]"
# LiteLLM's keys, and compact JWTs (RFC 7515, section 3.1).
_SECRET = re.compile(r"sk-[A-Za-z0-9_-]+|eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]*)?")
_LONGEST_SEGMENT = 200


def redact(text: str) -> str:
    """`text` with each key and token in it masked."""
    return _SECRET.sub(MASK, text)


def redacted_path(raw_path: bytes) -> str:
    """A request's path as it came, but for segments that hold a secret or are too long to be anything we know."""
    return "/".join(_redacted_segment(segment) for segment in raw_path.split(b"/"))


def _redacted_segment(segment: bytes) -> str:
    decoded = unquote_to_bytes(segment).decode("utf-8", "replace")
    if len(segment) > _LONGEST_SEGMENT or redact(decoded) != decoded:
        return MASK
    return quote(segment, safe="%:@!$&'()*+,;=~")
