"""From a routed request to a handler's parameters, by the contract, with everything compiled once at start.

Connexion's own validators are built anew for each request (it makes up most of its cost) and answer 500 to a dozen
malformed bodies; these take their place in its middleware stack.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any

import inflection
from connexion.json_schema import Draft4RequestValidator
from connexion.operations import AbstractOperation
from jsonschema import ValidationError
from jsonschema.validators import extend
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from edge.bodies import ABSENT, read_json
from edge.paths import decode_segment
from services.access import Principal
from services.errors import InputError

Handler = Callable[..., Coroutine[Any, Any, Response]]
PRINCIPAL = "orchestrator.principal"


def _full_match(validator: Any, pattern: str, instance: Any, _: Any) -> Iterator[ValidationError]:
    """`pattern` with an end that is the end: `$` also stands before a trailing newline."""
    if validator.is_type(instance, "string") and not re.search(re.sub(r"\$$", r"\\Z", pattern), instance):
        yield ValidationError("does not match")


ContractValidator: Any = extend(Draft4RequestValidator, {"pattern": _full_match})  # type: ignore[no-untyped-call]


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
        self._parameters = [_PathParameter(row) for row in operation.parameters]
        body = operation.request_body
        self._body_required = bool(body.get("required"))
        self._body = ContractValidator(operation.body_schema("application/json")) if body else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        arguments = dict(self._fixed)
        if scope["query_string"]:
            raise InputError("This operation takes no query parameters")
        for parameter in self._parameters:
            arguments[parameter.argument] = parameter.checked(scope["path_params"])
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
        _check(self._body, body, "The body")
        return body


class _PathParameter:
    """A path parameter and its schema. Others do not stand in the contract so far."""

    def __init__(self, row: Mapping[str, Any]) -> None:
        if row["in"] != "path":
            raise NotImplementedError(f"a parameter in {row['in']}")
        self._name = row["name"]
        self.argument = inflection.underscore(row["name"])
        self._validator = ContractValidator(row["schema"])

    def checked(self, routed: Mapping[str, str]) -> str:
        value = decode_segment(routed[self._name])
        _check(self._validator, value, self._name)
        return value


def _check(validator: Any, value: Any, name: str) -> None:
    """Raise InputError that says where and what is expected, and repeats nothing of the value: it may be a secret."""
    errors = sorted(validator.iter_errors(value), key=lambda error: list(map(str, error.path)))
    if errors:
        raise InputError("; ".join(dict.fromkeys(_sentence(error, name) for error in errors)))


def _sentence(error: ValidationError, name: str) -> str:
    where = ".".join(map(str, error.path)) or name
    schema: Mapping[str, Any] = error.schema if isinstance(error.schema, dict) else {}
    rule: Any = error.validator_value
    known = ", ".join(schema.get("properties", {})) or "none"
    if error.validator == "required":
        return f"{where} lacks a required field; required are {', '.join(rule)}"
    if error.validator == "additionalProperties":
        return f"{where} has a field that this operation does not take; it takes {known}"
    if error.validator == "enum":
        return f"{where} must be one of {', '.join(map(str, rule))}"
    if error.validator == "type":
        return f"{where} must be of type {rule}"
    described = schema.get("description")
    return f"{where} must be {described}" if described else f"{where} breaks the contract's {error.validator}"


def bind_principal(scope: Scope, principal: Principal) -> None:
    """Leave the caller where the operation finds them."""
    scope.setdefault("extensions", {})[PRINCIPAL] = principal
