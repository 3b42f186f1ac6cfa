"""Conditional requests (RFC 9110, section 13): a tag for each representation, and a 304 if the caller has it already.

A handler may give the version of the resource as its `ETag`: the state that a caller can change, which `If-Match`
compares. The tag that leaves has a hash of the whole representation as well, because `If-None-Match` must not hide
that a key has spent money.
"""

from __future__ import annotations

import hashlib
import re

from starlette.responses import Response

_HASH_DIGITS = 32
_ENTITY_TAG = re.compile(r'(W/)?"([^"]*)"')
_OPAQUE_TAG = re.compile(r'"([^"]*)"')


def versions(if_match: str | None) -> frozenset[str] | None:
    """The versions in `If-Match`; None means any (RFC 9110, section 13.1.1). A weak tag never matches."""
    if if_match is None or if_match.strip() == "*":
        return None
    return frozenset(tag.partition("-")[0] for weak, tag in _ENTITY_TAG.findall(if_match) if not weak)


def tagged(response: Response) -> Response:
    """Completes the `ETag` of a representation."""
    digest = hashlib.sha256(response.body).hexdigest()[:_HASH_DIGITS]
    version = response.headers.get("etag", "").strip('"')
    response.headers["etag"] = f'"{version}-{digest}"' if version else f'"{digest}"'
    return response


def unless_matched(response: Response, if_none_match: str | None) -> Response:
    """The tagged response, or a 304 if `if_none_match` has its tag. Tags are compared weakly, as the RFC demands."""
    if response.status_code != 200:
        return response
    tag = tagged(response).headers["etag"]
    if if_none_match is None:
        return response
    if if_none_match.strip() != "*" and tag.strip('"') not in _OPAQUE_TAG.findall(if_none_match):
        return response
    kept = {name: value for name, value in response.headers.items() if not name.startswith("content-")}
    return Response(status_code=304, headers=kept)
