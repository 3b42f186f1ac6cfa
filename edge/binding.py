"""Turns a routed request into a handler's arguments, by the contract. Everything is compiled once at start.

Connexion builds its own validators for each request, which is most of its cost, and they answer 500 to a dozen kinds of
malformed bodies. These replace them in its middleware stack.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from inspect import signature
from typing import Any, get_type_hints

import inflection
from connexion.operations import AbstractOperation
from starlette.datastructures import Headers
from starlette.responses import RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from domain.errors import InputError
from domain.identity import Principal
from edge.bodies import ABSENT, FORM, JSON, read_form, read_json
from edge.checks import ContractValidator, check
from edge.conditional import tagged, unless_matched, versions
from edge.origin import Networks, origin_of
from edge.parameters import Parameters
from edge.paths import ends_in_slash, without_slash
from services.owners.owners import Owners

Handler = Callable[..., Coroutine[Any, Any, Response]]
PRINCIPAL = "orchestrator.principal"


def handler_name(operation_id: str) -> str:
    """The name of the function for `operation_id`: `create_user` for `createUser`."""
    return inflection.underscore(operation_id)


class BoundOperation:
    """One operation: checks a request against the contract, then calls the handler.

    `services` are passed to the handler's parameters by their type. A body must arrive within `body_seconds`. What
    `trusted` proxies say of a caller's address is believed. Raises TypeError if a request would not give the handler
    what it takes.
    """

    def __init__(
        self, operation: AbstractOperation, services: Mapping[type, Any], body_seconds: float, trusted: Networks = ()
    ) -> None:
        self._body_seconds = body_seconds
        self._trusted = trusted
        self._handler: Handler = operation.function
        types = get_type_hints(self._handler)
        self._services = {name: services[kind] for name, kind in types.items() if kind in services}
        self._takes_principal = "principal" in types
        self._owners: Owners | None = services.get(Owners)
        self._takes_body = "body" in types
        self._takes_origin = "origin" in types
        self._parameters = Parameters(operation.parameters)
        body = operation.request_body
        self._body_required = bool(body.get("required"))
        self._moves = "308" in operation.responses
        self._is_conditional = any(row["name"] == "If-None-Match" for row in operation.parameters)
        self._is_form = FORM in body.get("content", {})
        self._read = read_form if self._is_form else read_json
        self._body = ContractValidator(operation.body_schema(FORM if self._is_form else JSON)) if body else None
        self._require_callable(operation.operation_id)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        arguments = self._services | self._parameters.read(scope)
        if self._moves and ends_in_slash(scope["raw_path"]):
            await RedirectResponse(without_slash(scope["raw_path"]), 308)(scope, receive, send)
            return
        if self._takes_principal:
            owner = arguments.get("user_id") or arguments.get("target")
            arguments["principal"] = await self._principal(scope, owner)
        if self._takes_origin:
            arguments["origin"] = origin_of(scope, self._trusted)
        if self._body is not None:
            body = self._checked_body(await self._read(Headers(scope=scope), receive, self._body_seconds))
            if self._takes_body:
                arguments["body"] = body
        if "if_match" in arguments:
            arguments["if_match"] = versions(arguments["if_match"])
        if_none_match = arguments.pop("if_none_match", None)
        response = await self._handler(**arguments)
        if self._is_conditional:
            response = unless_matched(response, if_none_match)
        elif "etag" in response.headers:
            response = tagged(response)
        await response(scope, receive, send)

    async def _principal(self, scope: Scope, owner: str | None) -> Principal:
        """The caller, with what they manage of the owner whom the path or a filter names."""
        principal: Principal = scope["extensions"][PRINCIPAL]
        return principal if owner is None or self._owners is None else await self._owners.acting(principal, owner)

    def _require_callable(self, operation_id: str) -> None:
        """What would fail at the first request fails at the start."""
        names = {*self._services, *self._parameters.names} - {"if_none_match"}
        given = {"principal": self._takes_principal, "body": self._takes_body, "origin": self._takes_origin}
        names |= {name for name, is_taken in given.items() if is_taken}
        try:
            signature(self._handler).bind(**dict.fromkeys(names))
        except TypeError as error:
            raise TypeError(f"The handler of {operation_id} and what its requests give it differ: {error}") from error

    def _checked_body(self, body: Any) -> dict[str, Any]:
        """The fields of the body in snake_case, as OAuth's are anyway: none of them if it is absent and may be."""
        if body is ABSENT and not self._body_required:
            return {}
        if body is ABSENT:
            raise InputError("A form is required" if self._is_form else "A JSON body is required")
        check(self._body, body, "The body")
        if self._is_form:
            return dict(body)
        return {inflection.underscore(name): value for name, value in body.items()}


def bind_principal(scope: Scope, principal: Principal) -> None:
    """Stores the caller for the operation and the request log."""
    scope.setdefault("extensions", {})[PRINCIPAL] = principal
