"""Checks values against the contract's schemas, and describes violations in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connexion.json_schema import Draft4RequestValidator
from jsonschema import ValidationError
from jsonschema.validators import extend

from domain.errors import InputError
from domain.redaction import BY_FORM
from settings.tree import full_match

_LONGEST_NAME = 64
_TYPES = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "object": "an object",
    "string": "a text",
}


ContractValidator: Any = extend(Draft4RequestValidator, {"pattern": full_match})  # type: ignore[no-untyped-call]  # jsonschema's


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
        return f"{where} must be {schema.get('x-expected') or _TYPES[rule]}"
    expected = schema.get("x-expected")
    return f"{where} must be {expected}" if expected else f"{where} violates the contract's {error.validator}"


def _place(error: ValidationError) -> str:
    """The place, such as `metadata.cost`. A caller's own name is left out if it is long, or looks like a secret."""
    path = list(map(str, error.absolute_path))
    rules = list(error.absolute_schema_path)[:-1]
    if "additionalProperties" in rules:
        named = rules.count("properties")
        path = path[:named] + [name for name in path[named:] if _is_harmless(name)]
    return ".".join(path)


def _is_harmless(name: str) -> bool:
    return len(name) <= _LONGEST_NAME and name.isprintable() and BY_FORM.text(name) == name
