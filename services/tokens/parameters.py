"""The parameters of OAuth's requests, and which programs may sign in, by the names that they ask with (`client_id`).

Programs are public: they keep no secret.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from domain.errors import TokenRequestError


def parameters_of(form: Mapping[str, object]) -> dict[str, str]:
    """The parameters of a form. An empty one counts as absent (RFC 6749, section 3.2)."""
    return {name: str(value) for name, value in form.items() if value}


def required(given: Mapping[str, str], *names: str) -> list[str]:
    """These parameters. Raises TokenRequestError that names all that are absent."""
    if missing := [name for name in names if name not in given]:
        raise TokenRequestError("invalid_request", f"The form lacks {' and '.join(missing)}")
    return [given[name] for name in names]


def require_client(clients: Collection[str], given: Mapping[str, str]) -> str:
    """The `client_id` of a request. Raises TokenRequestError."""
    (client,) = required(given, "client_id")
    if client not in clients:
        raise TokenRequestError("invalid_client", "client_id must be the name of a program that may sign in")
    return client


def require_no_scope(given: Mapping[str, str]) -> None:
    """Raises TokenRequestError for a scope."""
    if "scope" in given:
        raise TokenRequestError("invalid_scope", "There are no scopes: the person decides what the key may do")
