"""What a contract may change although an older one promised otherwise: `exceptions.yaml`, each proven by samples.

Why there are any: `docs/adr/0019-exceptions-of-the-contract.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from edge.checks import ContractValidator

_FILE = Path(__file__).parent / "exceptions.yaml"


@dataclass(frozen=True, slots=True)
class WidenedPattern:
    """Samples of a string in requests: what was accepted before, what is accepted since, and what stays refused."""

    before: tuple[str, ...]
    since: tuple[str, ...]
    refused: tuple[str, ...]

    def is_proven(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
        """Whether each sample is what it is said to be, under the schemas `old` and `new`."""
        return (
            all(_accepts(old, sample) and _accepts(new, sample) for sample in self.before)
            and all(not _accepts(old, sample) and _accepts(new, sample) for sample in self.since)
            and not any(_accepts(old, sample) or _accepts(new, sample) for sample in self.refused)
        )


@dataclass(frozen=True, slots=True)
class Exceptions:
    """The exceptions, by the name of a schema: of a component, else of a parameter or `Component.field`."""

    widened_patterns: Mapping[str, WidenedPattern] = field(default_factory=dict)
    open_strings: frozenset[str] = frozenset()

    def permit_pattern(self, name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
        """Whether the pattern of `name` in requests may change from `old` to `new`."""
        widened = self.widened_patterns.get(name)
        return widened is not None and widened.is_proven(old, new)

    def permit_opening(self, name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
        """Whether `name` in responses may become an open string: its description still names each value of `old`."""
        values = [f"`{value}`" for value in old.get("enum", ())]
        described = new.get("description", "")
        return name in self.open_strings and "enum" not in new and all(value in described for value in values)


def recorded() -> Exceptions:
    """The exceptions of this repository."""
    rows = yaml.safe_load(_FILE.read_text("utf-8"))
    widened = {
        name: WidenedPattern(*(tuple(row[kind]) for kind in ("before", "since", "refused")))
        for name, row in rows["widenedPatterns"].items()
    }
    return Exceptions(widened, frozenset(rows["openStrings"]))


def _accepts(schema: Mapping[str, Any], value: str) -> bool:
    return bool(ContractValidator(dict(schema)).is_valid(value))
