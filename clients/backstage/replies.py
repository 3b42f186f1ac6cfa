"""What Backstage itself answers, as against what stands before it."""

from __future__ import annotations

from clients.exchange import Reply


def error_name(reply: Reply) -> str | None:
    """The name of Backstage's own error, such as NotFoundError. An ingress before it has a 401 and a 404 of its own."""
    body = reply.parsed()
    error = body.get("error") if isinstance(body, dict) else None
    name = error.get("name") if isinstance(error, dict) else None
    return name if isinstance(name, str) else None
