"""How operators write lists, durations, groups and databases, and how this service holds them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from domain.identity import BASE_PATH
from domain.refs import EntityRef
from domain.workloads import Claims, KeySource

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1, "w": 7 * 86400, "mo": 30 * 86400, "y": 365 * 86400}
_MOST_OF_A_UNIT = 99999
DURATION = f"[1-9][0-9]{{0,4}}({'|'.join(_UNITS)})"
"""The form of a duration, as a regular expression: as many of a unit as `_MOST_OF_A_UNIT`."""
_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg"}


def full_group_ref(ref: str) -> str:
    """The full ref in lower case: `admins` becomes `group:default/admins`.

    Backstage completes kind and namespace the same way in fields that name a group
    (https://backstage.io/docs/features/software-catalog/references).
    """
    return str(EntityRef.parse(ref, kind="group", namespace="default"))


def full_group_refs(refs: Iterable[str]) -> tuple[str, ...]:
    """The full refs, each once."""
    return tuple(dict.fromkeys(map(full_group_ref, refs)))


def one_or_several(given: str | list[str]) -> tuple[str, ...]:
    """What may be written as one text or as a list."""
    return (given,) if isinstance(given, str) else tuple(given)


def if_any(held: tuple[str, ...]) -> list[str] | None:
    """What may not be an empty list."""
    return list(held) or None


def conditions(given: Mapping[str, str | list[str]]) -> tuple[str, ...]:
    """A filter of the catalog as its conditions: `{"spec.type": "service"}` becomes `spec.type=service`."""
    return tuple(f"{name}={value}" for name, values in given.items() for value in one_or_several(values))


def filter_of(conditions: Iterable[str]) -> dict[str, list[str]]:
    """The filter with these conditions."""
    given: dict[str, list[str]] = {}
    for condition in conditions:
        name, _, value = condition.partition("=")
        given.setdefault(name, []).append(value)
    return given


def key_source(given: str | Mapping[str, Any]) -> KeySource:
    """Where an issuer's keys are: `discovery`, `{"url": …}` or `{"inline": {"keys": […]}}`."""
    return KeySource() if isinstance(given, str) else KeySource(given.get("url"), given.get("inline"))


def jwks(held: KeySource) -> str | dict[str, Any]:
    """The same as it is written."""
    given = {"url": held.url, "inline": held.inline}
    return {name: value for name, value in given.items() if value is not None} or "discovery"


def claims(given: Mapping[str, Any]) -> Claims:
    """The claims of a mapping, in which one may be in another: `{"kubernetes.io": {"namespace": "ci"}}`."""
    return tuple(_leaves(given, ()))


def claims_tree(held: Claims) -> dict[str, Any]:
    """The mapping with these claims."""
    tree: dict[str, Any] = {}
    for (*above, last), value in held:
        block = tree
        for key in above:
            block = block.setdefault(key, {})
        block[last] = value
    return tree


def _leaves(given: Mapping[str, Any], above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in given.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*above, key))
        else:
            yield (*above, key), value


def litellm_duration(duration: str | None) -> str | None:
    """The duration for LiteLLM, which rejects years and several months: `1y` becomes `365d`, `3mo` becomes `90d`."""
    if duration is None:
        return None
    count, unit = _parts(duration)
    return f"{seconds(duration) // 86400}d" if unit == "y" or (unit == "mo" and count > 1) else duration


def seconds(duration: str) -> int:
    """The seconds of a duration such as `30d`."""
    count, unit = _parts(duration)
    return count * _UNITS[unit]


def duration(seconds: int) -> str:
    """The duration that has so many seconds."""
    counts = {unit: divmod(seconds, length) for unit, length in _UNITS.items()}
    return next(f"{count}{unit}" for unit, (count, rest) in counts.items() if not rest and count <= _MOST_OF_A_UNIT)


def sqlalchemy_url(url: str) -> str:
    """The URL of a database for SQLAlchemy, with the driver that this service has for it."""
    scheme, _, rest = url.partition("://")
    return f"{_DRIVERS[scheme.partition('+')[0]]}://{rest}"


def without_base_path(url: str) -> str:
    """The address before the path of this service, with which it may be written, too."""
    return url.rstrip("/").removesuffix(BASE_PATH).rstrip("/")


def _parts(duration: str) -> tuple[int, str]:
    count = duration.rstrip("".join(_UNITS))
    return int(count), duration.removeprefix(count)
