"""Off-boarding: users who left both groups, and the runs of the cleanup that off-boards them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from domain.owners import Departure
from domain.refs import kind_of


class Step(StrEnum):
    """What the cleanup does to a user."""

    BLOCK = "block"
    HOLD = "hold"
    DELETE = "delete"
    RESTORE = "restore"


class Hold(StrEnum):
    """Why a user whose keys are blocked is not deleted by a run that nobody confirmed."""

    GRACE = "grace"
    POSTPONED = "postponed"
    FOREIGN = "foreign"


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

    `blocked_keys` are the keys that this service blocked, or is about to block. `confirmed_by` is who confirmed the
    off-boarding. At `looked_at` all keys were blocked, and LiteLLM counted `key_count` of them; None where they have to
    be read again.
    """

    user_id: str
    since: float
    blocked_keys: tuple[str, ...] = ()
    confirmed_by: str | None = None
    key_count: int | None = None
    looked_at: float | None = None


@dataclass(frozen=True, slots=True)
class FoundUser:
    """A user that LiteLLM has, with the number of their keys. `is_ours`: this service created them."""

    keys: int
    is_ours: bool


@dataclass(frozen=True, slots=True)
class Deletion:
    """A user was deleted, or is about to be, although nobody confirmed it. `at` is in seconds since the epoch."""

    user_id: str
    at: float


@dataclass(frozen=True, slots=True)
class AcceptedBaseline:
    """The sizes at the last run whose snapshot was accepted: of each group, and of the owners of each other kind."""

    members: int
    admins: int
    groups: int = 0
    components: int = 0


@dataclass(frozen=True, slots=True)
class CleanupFinding:
    """A user whom the cleanup leaves as they are, and why an admin should look. `kind` names the kind of reason."""

    kind: str
    user_id: str
    message: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What LiteLLM, Backstage and our own records said at one moment.

    `members` and `admins` are user refs in lower case, `orphans` the number of those whom the catalog has only as
    orphans, whether or not they count. `users` is the number of Backstage users in the directory,
    `swept_at` the age of the directory (see `Sweep`). `found` has, by LiteLLM's ids as they are, each user who is in
    neither group or is being off-boarded, and exists. `deletions` are those of the last 24
    hours. `new_owners` own an unblocked key that was created since the last run, None if that is not known;
    `newest_key_at` is where the next run begins to look for such keys.

    `software` are the groups and components with LiteLLM users that the catalog has unchanged, and that may have keys;
    `departures` has those that do not, and why.
    """

    members: frozenset[str]
    admins: frozenset[str]
    users: int
    swept_at: float | None
    found: Mapping[str, FoundUser]
    offboardings: Mapping[str, Offboarding]
    deletions: Sequence[Deletion] = ()
    new_owners: Collection[str] | None = None
    newest_key_at: float | None = None
    findings: tuple[CleanupFinding, ...] = ()
    orphans: int = 0
    software: frozenset[str] = frozenset()
    departures: Mapping[str, Departure] = field(default_factory=dict)

    @property
    def sizes(self) -> AcceptedBaseline:
        """What the next run compares its own sizes with, if this snapshot is accepted."""
        kinds = Counter(map(kind_of, self.software))
        return AcceptedBaseline(len(self.members), len(self.admins), kinds["group"], kinds["component"])


@dataclass(frozen=True, slots=True)
class CleanupLimits:
    """What a run may do without a confirmation. `grace_period` is in seconds.

    `max_removals` users are blocked in one run, None means the larger of 10 and 10 %. `max_deletions` are deleted in
    any 24 hours, None means the larger of 3 and 10 %. `delete_foreign`: users that this service did not create, too.
    """

    grace_period: float
    max_removals: int | None = None
    max_deletions: int | None = None
    delete_foreign: bool = False


@dataclass(frozen=True, slots=True)
class PlanEntry:
    """The step for one user. `since`, `confirmed_by`: as in `Offboarding`.

    `keys` is the number of their keys, None if LiteLLM does not have the user. `hold` says why a step is HOLD, `until`
    when their grace period ends, in seconds since the epoch. `is_due`: the keys of a user on hold have to be read.
    `departure` says why a group or component may have no keys any more.
    """

    user_id: str
    step: Step
    since: float | None = None
    keys: int | None = None
    confirmed_by: str | None = None
    hold: Hold | None = None
    until: float | None = None
    is_due: bool = True
    departure: Departure | None = None

    @property
    def when_confirmed(self) -> Step:
        """The step in a plan that an admin confirmed."""
        return Step.DELETE if self.hold in (Hold.POSTPONED, Hold.FOREIGN) else self.step


@dataclass(frozen=True, slots=True)
class Plan:
    """All steps of a run, which may be read again for each use.

    `refusal` says why nobody is blocked or deleted unless an admin confirms the plan by its `hash`, which covers whom a
    confirmed run blocks and deletes. `max_deletions` is the limit for 24 hours that applied.
    """

    entries: Iterable[PlanEntry]
    hash: str
    refusal: str | None
    max_deletions: int | None = None


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
    orphans: int | None = None


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
