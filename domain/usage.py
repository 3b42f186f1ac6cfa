"""What users spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from domain.users import User

UNATTRIBUTED = "unattributed"
"""The group of what LiteLLM counts without a model or a key, such as calls of pass-through endpoints."""


@dataclass(frozen=True)
class UsageFigures:
    """The cost in USD, the tokens, and the number of calls including failed ones.

    The tokens read from and written to a provider's cache are among the prompt's.
    """

    spend: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    requests: int = 0
    failed_requests: int = 0
    cache_read_input_tokens: int = 0
    cache_creation_input_tokens: int = 0

    def __add__(self, other: UsageFigures) -> UsageFigures:
        """Adds field by field."""
        return UsageFigures(**{name: value + getattr(other, name) for name, value in vars(self).items()})

    def __sub__(self, other: UsageFigures) -> UsageFigures:
        """Subtracts field by field."""
        return UsageFigures(**{name: value - getattr(other, name) for name, value in vars(self).items()})


NOTHING = UsageFigures()


@dataclass(frozen=True, slots=True)
class DailyUsage:
    """The usage of one day (`YYYY-MM-DD`, UTC): in total, by model name at the proxy, and by key id.

    What has no model or no key is in the total only.
    """

    day: str
    total: UsageFigures
    models: Mapping[str, UsageFigures]
    keys: Mapping[str, UsageFigures]


@dataclass(frozen=True, slots=True)
class UsageGroup:
    """The usage of a day, a model, or a key (its stable id and its last alias), or of UNATTRIBUTED.

    A key is all its versions; `key_id` is the hash of the newest that is known. The keys of what ends by itself are one
    group, of a device with its own words as alias, and `user_id`, who signed it in. `parts` are the models or keys of a
    day, if that was asked for.
    """

    group: str
    alias: str | None
    figures: UsageFigures
    parts: Mapping[str, UsageFigures] | None = None
    key_id: str | None = None
    user_id: str | None = None


@dataclass(frozen=True, slots=True)
class UsageReport:
    """The usage of `user` from `first` to `last`, both included."""

    user: User
    first: date
    last: date
    total: UsageFigures
    groups: Sequence[UsageGroup]

    @property
    def remaining(self) -> float | None:
        """The rest of the budget in USD, at least 0. None without a budget."""
        return None if self.user.max_budget is None else max(0.0, self.user.max_budget - self.user.spend)
