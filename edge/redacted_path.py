"""Request paths that are safe to log and to answer."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import quote, unquote_to_bytes

from domain.redaction import BY_FORM, MASK

_LONGEST_SEGMENT = 200
_REMEMBERED = 1024


def redacted_path(raw_path: bytes) -> str:
    """The path as received, with segments masked that contain a secret or are too long."""
    segments = raw_path.split(b"/")
    return "/".join(MASK if len(segment) > _LONGEST_SEGMENT else _redacted_segment(segment) for segment in segments)


@lru_cache(_REMEMBERED)
def _redacted_segment(segment: bytes) -> str:
    decoded = unquote_to_bytes(segment).decode("utf-8", "replace")
    return MASK if BY_FORM.text(decoded) != decoded else quote(segment, safe="%:@!$&'()*+,;=~")
