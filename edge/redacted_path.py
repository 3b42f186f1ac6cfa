"""Request paths that are safe to log and to answer."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import quote, unquote_to_bytes

from domain.redaction import BY_FORM, MASK

_LONGEST_SEGMENT = 200
_BEFORE_A_CODE = b"device-codes"
"""The next segment is a user code, which has no form by which it could be found."""
_REMEMBERED = 1024


def redacted_path(raw_path: bytes) -> str:
    """The path as received, with segments masked that are or contain a secret, or are too long."""
    segments = raw_path.split(b"/")
    return "/".join(map(_redacted, [b"", *segments], segments))


def _redacted(before: bytes, segment: bytes) -> str:
    is_code = unquote_to_bytes(before) == _BEFORE_A_CODE and segment
    return MASK if is_code or len(segment) > _LONGEST_SEGMENT else _redacted_segment(segment)


@lru_cache(_REMEMBERED)
def _redacted_segment(segment: bytes) -> str:
    decoded = unquote_to_bytes(segment).decode("utf-8", "replace")
    return MASK if BY_FORM.text(decoded) != decoded else quote(segment, safe="%:@!$&'()*+,;=~")
