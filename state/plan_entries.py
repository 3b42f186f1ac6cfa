"""The entries of a plan as `cleanup_run` keeps them: compressed, because there is one for each user who leaves."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import orjson

from domain.offboarding import Hold, PlanEntry, Step
from domain.owners import Departure

_LEVEL = 1


@dataclass(frozen=True, slots=True)
class PackedEntries(Iterable[PlanEntry]):
    """Entries that exist while they are read: a line of JSON each, in gzip."""

    packed: bytes

    def __iter__(self) -> Iterator[PlanEntry]:
        with gzip.open(BytesIO(self.packed)) as lines:
            for line in lines:
                yield entry_from(orjson.loads(line))


def pack(entries: Iterable[PlanEntry]) -> bytes:
    """The entries for `PackedEntries`."""
    packed = BytesIO()
    with gzip.open(packed, "wb", compresslevel=_LEVEL) as lines:
        for entry in entries:
            lines.write(orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE))
    return packed.getvalue()


def entry_from(row: Mapping[str, Any]) -> PlanEntry:
    """The entry of what was kept, also by another version, which has other fields."""
    known = {name: row[name] for name in PlanEntry.__dataclass_fields__ if name in row}
    hold, departure = row.get("hold"), row.get("departure")
    nouns = {
        "step": Step(row["step"]),
        "hold": None if hold is None else Hold(hold),
        "departure": None if departure is None else Departure(departure),
    }
    return PlanEntry(**known | nouns)
