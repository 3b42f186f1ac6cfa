"""From a routed request to a handler's parameters, by the contract, with everything compiled once at start.

Connexion's own validators are built anew for each request (it makes up most of its cost) and answer 500 to a dozen
malformed bodies; these take their place in its middleware stack.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import inflection
from connexion.operations import AbstractOperation
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from domain.errors import InputError
from edge.bodies import ABSENT, read_json
from edge.checks import ContractValidator, check
from edge.parameters import Parameters
from services.access import Principal

Handler = Callable[..., Coroutine[Any, Any, Response]]
PRINCIPAL = "orchestrator.principal"


def handler_name(operation_id: str) -> str:
    """The name of the function for `operation_id`: `createUser` is `create_user`."""
    return inflection.underscore(operation_id)


class BoundOperation:
    """One operation: checks a request against the contract, then calls the handler with what it names."""

    def __init__(self, operation: AbstractOperation, available: Mapping[str, Any]) -> None:
        self._handler: Handler = operation.function
        wanted = inspect.signature(self._handler).parameters
        self._fixed = {name: value for name, value in available.items() if name in wanted}
        self._wants_principal = "principal" in wanted
        self._wants_body = "body" in wanted
        self._parameters = Parameters(operation.parameters)
        body = operation.request_body
        self._body_required = bool(body.get("required"))
        self._body = ContractValidator(operation.body_schema("application/json")) if body else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        arguments = self._fixed | self._parameters.read(scope)
        if self._wants_principal:
            arguments["principal"] = scope["extensions"][PRINCIPAL]
        if self._body is not None:
            body = self._checked_body(await read_json(Headers(scope=scope), receive))
            if self._wants_body:
                arguments["body"] = body
        response = await self._handler(**arguments)
        await response(scope, receive, send)

    def _checked_body(self, body: Any) -> Any | None:
        if body is ABSENT and not self._body_required:
            return None
        if body is ABSENT:
            raise InputError("A JSON body is required")
        check(self._body, body, "The body")
        return body


def bind_principal(scope: Scope, principal: Principal) -> None:
    """Leave the caller where the operation finds them."""
    scope.setdefault("extensions", {})[PRINCIPAL] = principal
