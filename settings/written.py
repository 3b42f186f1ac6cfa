"""Writes settings as the `app-config.yaml` tree that they are read from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from domain.redaction import MASK
from settings.model import FIRST, Settings
from settings.secrets import without_password
from settings.tree import write

_URL = re.compile(r"[\w+]+://")
_SUBSTITUTION = re.compile(r"\$\{[^{}]*\}")


def masked(settings: Settings) -> Settings:
    """The settings without what no `repr` shows and without passwords. What stands instead is accepted as well."""
    without: Settings = _masked(settings)
    return without


def to_app_config(settings: Settings) -> dict[str, Any]:
    """The tree of these settings, under the names that an operator writes. What is not set is left out."""
    tree = write(Settings, settings, {"liteLLM": dict.fromkeys(FIRST), "backend": {}})
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    tree["backend"]["listen"] = f"{host}:{settings.port}"
    return dict(_without_none(tree))


def _without_none(value: Any) -> Any:
    """`value` without what is None, and with texts that would not be read as a substitution."""
    if isinstance(value, Mapping):
        return {name: _without_none(part) for name, part in value.items() if part is not None}
    if isinstance(value, list):
        return [_without_none(part) for part in value]
    return _SUBSTITUTION.sub(lambda found: f"${found[0]}", value) if isinstance(value, str) else value


def _masked(value: Any, mask: str | None = None, number: int = 0) -> Any:
    """`number` tells the secrets of several rows apart."""
    if isinstance(value, tuple):
        return tuple(_masked(each, mask, index) for index, each in enumerate(value))
    if is_dataclass(value) and not isinstance(value, type):
        masks = {field: None if field.repr else field.metadata.get("mask", MASK) for field in fields(value)}
        held = {field.name: _masked(getattr(value, field.name), its, number) for field, its in masks.items()}
        return replace(value, **held)
    if mask is not None and value is not None:
        return mask.format(number)
    return without_password(value) if isinstance(value, str) and _URL.match(value) else value
