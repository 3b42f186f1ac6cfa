"""Owners of keys that are no people: the groups and components of Backstage's catalog whose software calls models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Literal

from domain.keys import Key
from domain.users import Tier

SoftwareKind = Literal["component", "group"]


@dataclass(frozen=True)
class OwnerEntry:
    """Which groups or components may have keys: those of `kind` that meet all `conditions`, and with which tier.

    A condition is one of a filter of the catalog, as in `spec.type=service`; of several with the same key one has to be
    met. At most `max_owners` of one group may have keys, None means any number.
    """

    kind: SoftwareKind
    conditions: tuple[str, ...]
    max_owners: int | None = None
    tier: Tier = field(default_factory=Tier)

    @property
    def name(self) -> str:
        """The name of the tier."""
        return f"{self.kind} {','.join(self.conditions)}"

    @property
    def limits(self) -> Tier:
        """The tier with its name."""
        return replace(self.tier, name=self.name)


@dataclass(frozen=True)
class CatalogOwner:
    """A group or component as the catalog has it, with its `ref` in lower case.

    `uid` is the catalog's own id: another one under the same ref was registered again. `belongs_to` are, in lower case,
    the refs that own a component, and the parents of a group.
    """

    ref: str
    uid: str
    title: str
    belongs_to: frozenset[str]


@dataclass(frozen=True)
class Owner:
    """A group or component that may have keys, and the first entry that it meets."""

    entity: CatalogOwner
    entry: OwnerEntry

    @property
    def managers(self) -> frozenset[str]:
        """Who manages it: of a group its members, of a component the members of the groups that own it, or people."""
        return frozenset({self.entity.ref}) if self.entry.kind == "group" else self.entity.belongs_to


@dataclass(frozen=True, slots=True)
class OwnerSum:
    """How many `owners` have a user in LiteLLM, and in USD what they may spend in sum and what they spent of it.

    `max_budget` is None if one of them has no budget.
    """

    owners: int
    max_budget: float | None
    spend: float


@dataclass(frozen=True, slots=True)
class EntryInSum:
    """The owners of an entry, and those of each group that `max_owners` counts them for."""

    entry: OwnerEntry
    total: OwnerSum
    groups: Mapping[str, OwnerSum]


@dataclass(frozen=True, slots=True)
class OwnersInSum:
    """The owners of each entry, and those that LiteLLM has and no entry matches."""

    entries: Sequence[EntryInSum]
    unmatched: OwnerSum


class Departure(StrEnum):
    """Why a group or component may have no keys any more."""

    MISSING = "missing"
    UNMATCHED = "unmatched"
    REGISTERED_AGAIN = "registeredAgain"


@dataclass(frozen=True, slots=True)
class Transfer:
    """That a key of the owner `giver` is `to`'s afterwards: the same one's if it did not come to that."""

    giver: str
    to: str


@dataclass(frozen=True, slots=True)
class ReceivedSecret:
    """That `by` received the secret of the key `key_id` of `owner`. `at` is in seconds since the epoch."""

    by: str
    owner: str
    key_id: str
    at: float


@dataclass(frozen=True, slots=True)
class KnownSecret:
    """A key of a group or component that `by` received `at` (seconds since the epoch)."""

    by: str
    owner: str
    key_id: str
    stable_id: str
    alias: str | None
    at: float


@dataclass(frozen=True, slots=True)
class KnownSecrets:
    """The keys of groups and components that `user_id` received, and those of which nobody knows who did."""

    user_id: str
    keys: Sequence[KnownSecret]
    unknown: Sequence[Key]
