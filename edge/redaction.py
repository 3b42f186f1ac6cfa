"""Request paths that are safe to log and to answer."""

from __future__ import annotations

from urllib.parse import quote, unquote_to_bytes

from domain.redaction import MASK, redact

_LONGEST_SEGMENT = 200


def redacted_path(raw_path: bytes) -> str:
    """The path as received, with segments masked that contain a secret or are too long."""
    return "/".join(_redacted_segment(segment) for segment in raw_path.split(b"/"))


def _redacted_segment(segment: bytes) -> str:
    decoded = unquote_to_bytes(segment).decode("utf-8", "replace")
    if len(segment) > _LONGEST_SEGMENT or redact(decoded) != decoded:
        return MASK
    return quote(segment, safe="%:@!$&'()*+,;=~")
