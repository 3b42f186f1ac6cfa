"""Adoption: users whom LiteLLM has under other ids become the users of their Backstage refs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from domain.offboarding import Progress, RunOutcome
from domain.users import User

MOST_PEOPLE = 1000
"""In one run."""


class Match(StrEnum):
    """How an account is known to be somebody's."""

    SPELLING = "spelling"
    EMAIL = "email"


class ConflictKind(StrEnum):
    """Why an account is left as it is."""

    TWO_ACCOUNTS = "twoAccounts"
    SHARED_ADDRESS = "sharedAddress"
    TEAM_KEY = "teamKey"
    OWNER_HAS_KEYS = "ownerHasKeys"
    OWNER_HAS_OTHER_LIMITS = "ownerHasOtherLimits"
    OFFBOARDING = "offboarding"
    ROLE = "role"
    SETTINGS = "settings"
    ODD = "odd"


@dataclass(frozen=True, slots=True)
class Takeover:
    """That a user continues the account `account`, of whose spend so much, in USD, is in theirs."""

    account: str
    spend: float


@dataclass(frozen=True, slots=True)
class Account:
    """A user of LiteLLM with what an adoption has to keep.

    `role` is LiteLLM's `user_role`. `settings` names what is set on the user and cannot be carried to another one.
    `metadata` is what others than this service store there, `annotations` what this service does; `takeover`, one of
    those, says whose account it continues.
    """

    user: User
    role: str | None
    max_parallel_requests: int | None = None
    settings: tuple[str, ...] = ()
    is_in_teams: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)
    annotations: Mapping[str, Any] = field(default_factory=dict)
    takeover: Takeover | None = None

    @property
    def has_address_to_give(self) -> bool:
        """Whether its e-mail address is only noted, because another user had it."""
        return self.user.email is None and self.user.taken_email is not None

    def uncounted(self, account: Account) -> float:
        """What `account` has spent, in USD, and is not in this user's spend yet."""
        spent = account.user.spend
        counted = self.takeover.spend if self.takeover and self.continues(account.user.user_id) else 0.0
        # Less than was counted: its budget was reset since.
        return spent if spent < counted else spent - counted

    @property
    def limits(self) -> dict[str, Any]:
        """Its limits, under LiteLLM's names. Empty `models`, and None, mean no limit."""
        user = self.user
        return {
            "models": list(user.models),
            "max_budget": user.max_budget,
            "budget_duration": user.budget_duration,
            "tpm_limit": user.tpm_limit,
            "rpm_limit": user.rpm_limit,
            "max_parallel_requests": self.max_parallel_requests,
        }

    def continues(self, account: str) -> bool:
        """Whether it was begun as the continuation of `account`."""
        return self.takeover is not None and self.takeover.account == account


@dataclass(frozen=True, slots=True)
class AccountKeys:
    """The keys of an account: the ids of those to move, of those in a team, and the number of odd ones.

    Keys that LiteLLM makes for sign-ins to its own pages are none of them.
    """

    ids: tuple[str, ...] = ()
    in_teams: tuple[str, ...] = ()
    odd: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether there is none, as far as can be known."""
        return not (self.ids or self.in_teams or self.odd)


@dataclass(frozen=True, slots=True)
class Candidate:
    """An account that seems to be one of `owners`: refs in lower case, several if it cannot be told."""

    account: str
    owners: tuple[str, ...]
    match: Match


@dataclass(frozen=True, slots=True)
class AdoptionEntry:
    """An account that becomes `owner`'s, who has no user yet if `is_new`.

    `keys` are moved; `spend` is what the account had when it was read, in USD.
    """

    owner: str
    account: str
    match: Match
    keys: tuple[str, ...]
    limits: Mapping[str, Any]
    spend: float
    is_new: bool


@dataclass(frozen=True, slots=True)
class AdoptionConflict:
    """An account that is left as it is, and what to do about it. `owner` is None if it may be several people's."""

    account: str
    owner: str | None
    kind: ConflictKind
    message: str


@dataclass(frozen=True, slots=True)
class AdoptionOrder:
    """What somebody asks for. `limit` is the number of people at most. A run needs the `plan_hash` of a dry run."""

    by_email: bool = False
    delete_emptied: bool = False
    limit: int = MOST_PEOPLE
    plan_hash: str | None = None


@dataclass(frozen=True, slots=True)
class AdoptionPlan:
    """Whom a run adopts. `hash` covers all that it would do.

    `postponed` is the number of those beyond the limit. `unmatched` is the number of LiteLLM's users who are nobody's
    in the groups: they are left as they are.
    """

    entries: tuple[AdoptionEntry, ...]
    conflicts: tuple[AdoptionConflict, ...]
    hash: str
    postponed: int = 0
    unmatched: int = 0


@dataclass(frozen=True, slots=True)
class Adopted:
    """An account that became `owner`'s. `keys` is the number of those moved; `deleted`: the emptied account is gone.

    `kept_because` is why it is not, although it was asked for.
    """

    owner: str
    account: str
    keys: int
    deleted: bool = False
    kept_because: str | None = None


@dataclass(frozen=True, slots=True)
class AdoptionResult:
    """What a run did, and the error of each owner that failed."""

    adopted: tuple[Adopted, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AdoptionReport:
    """A run or a dry run. Times are seconds since the epoch; None is what it did not get to."""

    adoption_id: int
    trigger: str
    dry_run: bool
    order: AdoptionOrder
    started_at: float
    outcome: RunOutcome = RunOutcome.RUNNING
    reason: str | None = None
    finished_at: float | None = None
    progress: Progress | None = None
    plan: AdoptionPlan | None = None
    result: AdoptionResult | None = None
