"""The secrets in the settings, found by rule: a setting that is added later is not forgotten."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from domain.redaction import MASK


def secrets_in(settings: Any) -> list[str]:
    """Every field that is left out of its `repr`, and the password of every URL, wherever in `settings` they are."""
    return list(dict.fromkeys(_found(settings, is_secret=False)))


def without_password(url: str | URL) -> str:
    """`url` for an operator: the password before the host is masked, those in the query (libpq's) are left out."""
    parsed = _parsed(url)
    if parsed is None:
        return MASK if "@" in str(url) else str(url)
    in_query = [*filter(_is_password, parsed.query)]
    if parsed.password is None and not in_query:
        return str(url)
    shown = parsed.difference_update_query(in_query)
    return shown.render_as_string(hide_password=True)


def _found(value: Any, *, is_secret: bool) -> Iterator[str]:
    if isinstance(value, str):
        url = _parsed(value) if "://" in value else None
        if url is not None:
            yield from _passwords(url)
        elif value and is_secret:
            yield value
    elif is_dataclass(value):
        for field in fields(value):
            yield from _found(getattr(value, field.name), is_secret=not field.repr)
    elif isinstance(value, (Mapping, tuple, list, set, frozenset)):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _found(part, is_secret=is_secret)


def _passwords(url: URL) -> Iterator[str]:
    if url.password:
        yield str(url.password)
    for name, values in url.normalized_query.items():
        if _is_password(name):
            yield from values


def _parsed(url: str | URL) -> URL | None:
    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        return None


def _is_password(name: str) -> bool:
    return "password" in name
