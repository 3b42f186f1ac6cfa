"""LiteLLM users, their tiers, and what may be changed of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypedDict

from domain.pages import Page
from domain.resource_versions import version_of

USER_LIMITS = ("models", "max_budget", "budget_duration", "tpm_limit", "rpm_limit")
"""The limits of a user, under LiteLLM's names."""


@dataclass(frozen=True)
class Tier:
    """The limits of a new user, and the upper limits of their keys.

    Money is in USD, durations are LiteLLM's (`30d`), rates are per minute, `max_key_life` is in seconds. None, and an
    empty `models`, mean no limit. `name` is the full ref of the tier's group in lower case, or `userDefaults`.
    """

    name: str = "userDefaults"
    max_budget: float | None = None
    budget_duration: str | None = None
    models: tuple[str, ...] = ()
    tpm_limit: int | None = None
    rpm_limit: int | None = None
    max_keys: int | None = None
    max_key_life: int | None = None


@dataclass(frozen=True)
class User:
    """A LiteLLM user.

    Times are ISO 8601, money is in USD, rates are per minute. `max_budget` None means no limit, 0 is a budget. Empty
    `models` means all models. `tier` is the name of the tier that applied when this service created the user;
    `taken_email` and `entity_uid`: as in `NewUser`, at that time.

    `odd` names the fields that make no sense in LiteLLM's row: the strictest value stands in their place. `created_at`
    is the time of the last change then, None if that is not known either.
    """

    user_id: str
    created_at: str | None
    max_budget: float | None
    budget_duration: str | None
    spend: float
    budget_reset_at: str | None = None
    models: tuple[str, ...] = ()
    tpm_limit: int | None = None
    rpm_limit: int | None = None
    tier: str | None = None
    display_name: str | None = None
    email: str | None = None
    odd: tuple[str, ...] = ()
    taken_email: str | None = None
    entity_uid: str | None = None

    @property
    def version(self) -> str:
        """Identifies the limits of the user. Spending does not change it."""
        return version_of([getattr(self, name) for name in USER_LIMITS])

    @property
    def is_over_budget(self) -> bool:
        """Whether LiteLLM refuses their calls until the budget resets."""
        return self.max_budget is not None and self.spend >= self.max_budget


@dataclass(frozen=True)
class NewUser:
    """The properties of a user to create. None, and an empty `models`, mean no limit. `tier` is stored with them.

    `taken_email` is the e-mail address that they have and LiteLLM does not take, because another user has it.
    `entity_uid` is the catalog's own id of a group or component; None for a person.
    """

    max_budget: float | None = None
    budget_duration: str | None = None
    models: tuple[str, ...] = ()
    tpm_limit: int | None = None
    rpm_limit: int | None = None
    tier: str | None = None
    display_name: str | None = None
    email: str | None = None
    taken_email: str | None = None
    entity_uid: str | None = None


class UserChanges(TypedDict, total=False):
    """The requested changes to a user: an absent field stays as it is, None clears it. `spend` can only become 0."""

    max_budget: float | None
    budget_duration: str | None
    spend: float
    models: list[str] | None
    tpm_limit: int | None
    rpm_limit: int | None
    entity_uid: str


class UserStatus(StrEnum):
    """Whether a user can call models."""

    ACTIVE = "active"
    OVER_BUDGET = "overBudget"
    OFFBOARDING = "offboarding"


@dataclass(frozen=True, slots=True)
class UserFilters:
    """Which users to list; None means any.

    `query` is a part of their id, name or address, `status` a UserStatus, `kind` that of the ref. `managed_by` is `me`
    for what the caller manages.
    """

    query: str | None = None
    status: str | None = None
    kind: str | None = None
    managed_by: str | None = None


@dataclass(frozen=True, slots=True)
class ListedUser:
    """A user with their status. `tier` is that of a group or component that the caller manages, else None."""

    user: User
    status: UserStatus
    tier: Tier | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A group or component that LiteLLM does not have yet, and the tier that it will have."""

    user_id: str
    display_name: str
    tier: Tier


@dataclass(frozen=True, slots=True)
class UserPage(Page[ListedUser]):
    """A page of users. `swept_at`: see `Sweep`. `candidates`: what the caller manages and LiteLLM does not have yet."""

    swept_at: float | None
    candidates: Sequence[Candidate] | None = None
