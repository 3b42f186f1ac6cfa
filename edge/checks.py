"""Checks values against the contract's schemas, and describes violations in sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from connexion.json_schema import Draft4RequestValidator
from jsonschema import ValidationError
from jsonschema.validators import extend

from domain.errors import InputError


def _full_match(validator: Any, pattern: str, instance: Any, _: Any) -> Iterator[ValidationError]:
    """`pattern` with a strict end: a plain `$` also matches before a trailing newline."""
    if validator.is_type(instance, "string") and not re.search(re.sub(r"\$$", r"\\Z", pattern), instance):
        yield ValidationError("does not match")


ContractValidator: Any = extend(Draft4RequestValidator, {"pattern": _full_match})  # type: ignore[no-untyped-call]  # jsonschema's


def check(validator: Any, value: Any, name: str) -> None:
    """Raises InputError that says where the value is wrong and what is expected. Never repeats the value."""
    errors = sorted(validator.iter_errors(value), key=lambda error: list(map(str, error.path)))
    if errors:
        raise InputError("; ".join(dict.fromkeys(_sentence(error, name) for error in errors)))


def _sentence(error: ValidationError, name: str) -> str:
    schema: Mapping[str, Any] = error.schema if isinstance(error.schema, dict) else {}
    where = _place(error) or name
    rule: Any = error.validator_value
    known = ", ".join(schema.get("properties", {})) or "none"
    if error.validator == "required":
        return f"{where} lacks a required field; required: {', '.join(rule)}"
    if error.validator == "additionalProperties" and rule is False:
        return f"{where} has an unknown field; this operation accepts: {known}"
    if error.validator == "enum":
        return f"{where} must be one of {', '.join(map(str, rule))}"
    if error.validator == "type":
        return f"{where} must be of type {rule}"
    expected = schema.get("x-expected")
    return f"{where} must be {expected}" if expected else f"{where} violates the contract's {error.validator}"


def _place(error: ValidationError) -> str:
    """The place, by names of the contract only: names in a free-form object are the caller's and may be a secret."""
    path = list(map(str, error.absolute_path))
    if error.absolute_schema_path and "additionalProperties" in list(error.absolute_schema_path)[:-1]:
        path = path[: list(error.absolute_schema_path)[:-1].count("properties")]
    return ".".join(path)
