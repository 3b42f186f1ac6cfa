"""Which programs may sign in, by the names that they ask with (`client_id`). They are public: they keep no secret."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from domain.errors import TokenRequestError


def require_client(clients: Collection[str], given: Mapping[str, str]) -> str:
    """The `client_id` of a request. Raises TokenRequestError."""
    if "client_id" not in given:
        raise TokenRequestError("invalid_request", "The form lacks client_id")
    if given["client_id"] not in clients:
        raise TokenRequestError("invalid_client", "client_id must be the name of a program that may sign in")
    return given["client_id"]


def require_parameter(given: Mapping[str, str], name: str) -> str:
    """A parameter of a request. Raises TokenRequestError."""
    if name not in given:
        raise TokenRequestError("invalid_request", f"The form lacks {name}")
    return given[name]


def require_no_scope(given: Mapping[str, str]) -> None:
    """Raises TokenRequestError for a scope."""
    if "scope" in given:
        raise TokenRequestError("invalid_scope", "There are no scopes: the person decides what the key may do")
