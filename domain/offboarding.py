"""Off-boarding: users who left both groups, and the runs of the cleanup that removes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Step(StrEnum):
    """What the cleanup does to a user."""

    BLOCK = "block"
    HOLD = "hold"
    DELETE = "delete"
    RESTORE = "restore"


class RunOutcome(StrEnum):
    """How a run ended."""

    RUNNING = "running"
    PLANNED = "planned"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Offboarding:
    """A user being off-boarded. `since` is the first accepted run without them, in seconds since the epoch.

    `blocked_keys` are the keys that this service blocked, or is about to block. `confirmed` is set if an admin
    confirmed the removal.
    """

    user_id: str
    since: float
    confirmed: bool
    blocked_keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AcceptedBaseline:
    """The size of each group at the last run whose snapshot was accepted."""

    members: int
    admins: int


@dataclass(frozen=True, slots=True)
class CleanupFinding:
    """A user whom the cleanup leaves as they are, and why an admin should look. `kind` names the kind of reason."""

    kind: str
    user_id: str
    message: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What LiteLLM, Backstage and our own records said at one moment.

    `members` and `admins` are user refs in lower case. `users` is the number of Backstage users in the directory,
    `swept_at` the age of the directory (see `Sweep`). `leavers` are LiteLLM's ids, as they are, of those in neither
    group. `keys` has the number of keys of each user who leaves or is being off-boarded, and exists.
    """

    members: frozenset[str]
    admins: frozenset[str]
    users: int
    swept_at: float | None
    leavers: frozenset[str]
    keys: Mapping[str, int]
    offboardings: Mapping[str, Offboarding]
    findings: tuple[CleanupFinding, ...] = ()


@dataclass(frozen=True, slots=True)
class RemovalLimits:
    """`grace_period` is in seconds. `max_removals` None means the larger of 10 users and 10 %."""

    grace_period: float
    max_removals: int | None


@dataclass(frozen=True, slots=True)
class PlanEntry:
    """The step for one user. `since`: as in `Offboarding`. `keys` is the number of their keys, None without them."""

    user_id: str
    step: Step
    since: float | None = None
    confirmed: bool = False
    keys: int | None = None

    @property
    def is_removal(self) -> bool:
        """Whether it counts against `max_removals`. A removal that an admin confirmed does not count again."""
        return self.step is Step.BLOCK or (self.step is Step.DELETE and not self.confirmed)


@dataclass(frozen=True, slots=True)
class Plan:
    """All steps of a run. `refusal` says why nobody is removed unless an admin confirms the plan by its `hash`."""

    entries: tuple[PlanEntry, ...]
    hash: str
    refusal: str | None


@dataclass(frozen=True, slots=True)
class ExecutionResult:
    """What the execution of a plan did: users and number of keys by step, and the error of each user that failed."""

    users: dict[Step, list[str]] = field(default_factory=lambda: {step: [] for step in Step})
    keys: dict[Step, int] = field(default_factory=lambda: dict.fromkeys(Step, 0))
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Progress:
    """How many of those who may leave were looked up in LiteLLM."""

    checked: int
    total: int


@dataclass(frozen=True, slots=True)
class CleanupReport:
    """What a run found and did. Times are seconds since the epoch; None is what the run did not get to."""

    run_id: int
    trigger: str
    dry_run: bool
    started_at: float
    outcome: RunOutcome = RunOutcome.FAILED
    reason: str | None = None
    finished_at: float | None = None
    members: int | None = None
    admins: int | None = None
    users: int | None = None
    swept_at: float | None = None
    progress: Progress | None = None
    plan: Plan | None = None
    result: ExecutionResult | None = None
    findings: tuple[CleanupFinding, ...] = ()


@dataclass(frozen=True, slots=True)
class CleanupStatus:
    """Whether the cleanup is scheduled and running. `next_run_at` is in seconds since the epoch.

    `grace_period` is in seconds, None without a catalog.
    """

    enabled: bool
    running: bool
    next_run_at: float | None
    grace_period: float | None
    last_report: CleanupReport | None
