"""API keys of LiteLLM users ("virtual keys"), and what may be requested of them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self, TypedDict

from domain.resource_versions import version_of
from domain.users import USER_LIMITS
from domain.workloads import KeyTerms

KEY_LIMITS = USER_LIMITS
"""The limits of a key, under LiteLLM's names: those that a user can have."""
CHANGEABLE = (*KEY_LIMITS, "key_alias", "metadata", "blocked", "expires")
"""The fields of a key that a caller can change, under LiteLLM's names."""
_KEY_ID = re.compile(r"[0-9a-f]{64}")
_STABLE_ID = re.compile(r"key_[0-9a-f]{32}")
_DIGITS = 32


def is_key_id(value: Any) -> bool:
    """Whether `value` has the form of a key's hash."""
    return isinstance(value, str) and _KEY_ID.fullmatch(value) is not None


def is_stable_id(text: str) -> bool:
    """Whether it has the form of an id that outlives rotations; what LiteLLM calls a key has another."""
    return _STABLE_ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class KeyVersion:
    """Which version of which key it is.

    `stable_id` outlives rotations: `key_` and the first 32 hex digits of the hash of the first version. `number` counts
    from 1.
    """

    stable_id: str
    number: int

    @classmethod
    def derived(cls, key_id: str, replaces: str | None) -> Self:
        """That of a key with this hash whose annotations do not say it: the second one if it replaced another."""
        return cls(f"key_{(replaces or key_id)[:_DIGITS]}", 2 if replaces else 1)


class KeyRequest(TypedDict, total=False):
    """The requested properties of a new key. An absent field means no limit of the key's own.

    Money is in USD, `expires_in` in seconds, `expires_at` is ISO 8601, rates are per minute.
    """

    alias: str
    models: list[str]
    max_budget: float
    budget_duration: str
    expires_in: int
    expires_at: str
    tpm_limit: int
    rpm_limit: int
    metadata: dict[str, str]


class RotationRequest(KeyRequest, total=False):
    """The requested changes of a rotation: an absent field is copied from the old key. `overlap` is in seconds."""

    overlap: int


class KeyChanges(TypedDict, total=False):
    """The requested changes to a key: an absent field stays as it is, None clears it."""

    alias: str | None
    models: list[str] | None
    max_budget: float | None
    budget_duration: str | None
    tpm_limit: int | None
    rpm_limit: int | None
    metadata: dict[str, str]
    blocked: bool


class Replaced(StrEnum):
    """What becomes of a key in its overlap when the key that replaced it is deleted."""

    KEEP = "keep"
    DELETE = "delete"


class KeyStatus(StrEnum):
    """Whether LiteLLM accepts a key."""

    ACTIVE = "active"
    BLOCKED = "blocked"
    EXPIRED = "expired"


class Blocker(StrEnum):
    """As what somebody blocks a key, from the weakest to the strongest."""

    OWNER = "owner"
    OFFBOARDING = "offboarding"
    ADMIN = "admin"
    REPORT = "report"


_STRENGTHS = {str(blocker): strength for strength, blocker in enumerate(Blocker)}
_STRENGTH_ELSEWHERE = _STRENGTHS[Blocker.OFFBOARDING]


@dataclass(frozen=True, slots=True)
class Block:
    """That `subject` blocked a key through this service.

    `blocker` is a `Blocker`, or what a later version of this service wrote there. `since` is in seconds since the
    epoch; None for blocks from before it was recorded.
    """

    subject: str
    blocker: str
    since: float | None = None

    def takes_over(self, current: Block | None) -> bool:
        """Whether it replaces `current`, by which the key is blocked already; None for a block from elsewhere.

        Only the stronger does, so nobody weakens a block by repeating it.
        """
        strongest = len(_STRENGTHS)
        held = _STRENGTH_ELSEWHERE if current is None else _STRENGTHS.get(current.blocker, strongest)
        return _STRENGTHS.get(self.blocker, strongest) > held


@dataclass(frozen=True, slots=True)
class KeyAnnotations:
    """What this service stores in a key's metadata.

    `operation` is the id of the change that created the key, `replaces` the hash of the key that it replaced, `version`
    which version it is, if it is a later one. `block` outlives an unblocking elsewhere: see `Key.block`. `source` is
    what a short key was made for: `workload:` and the name of a rule, or `device:` and a session. `metadata` is the
    owner's.
    """

    alias: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    operation: str | None = None
    replaces: str | None = None
    version: KeyVersion | None = None
    block: Block | None = None
    source: str | None = None


def key_version_of(key_id: str, annotations: KeyAnnotations | None) -> KeyVersion:
    """Which version of which key the key with this hash is, made here or elsewhere."""
    written = annotations or KeyAnnotations()
    return written.version or KeyVersion.derived(key_id, written.replaces)


@dataclass(frozen=True, slots=True)
class Key:
    """A key without its secret.

    `id` is the SHA-256 of the secret, LiteLLM's own id: another one for each version of a key (see `key_version`).
    `expires_at` is in seconds since the epoch. `fields` holds what a caller may see, under LiteLLM's names.
    `other_metadata` is the metadata that others store on the key. `is_session`: LiteLLM made it for a sign-in to its
    own pages. `odd` names the fields of LiteLLM's row that make no sense: they are left out, or the strictest value
    stands in their place.
    """

    id: str
    owner: str
    alias: str | None
    created_at: str
    expires_at: float | None
    is_blocked: bool
    fields: Mapping[str, Any]
    annotations: KeyAnnotations | None
    other_metadata: Mapping[str, Any]
    is_session: bool = False
    odd: frozenset[str] = frozenset()

    @property
    def undecidable(self) -> frozenset[str]:
        """The columns by which nothing may be decided. Nothing is ever decided by the time of creation."""
        return self.odd - {"created_at"}

    @property
    def position(self) -> tuple[str, str]:
        """The sort key of lists: by age, unique."""
        return (self.created_at, self.id)

    @property
    def key_version(self) -> KeyVersion:
        """Which version of which key it is."""
        return key_version_of(self.id, self.annotations)

    @property
    def age(self) -> tuple[int, str, str]:
        """The sort key of the versions of one key: unique, the newest has the greatest."""
        return (self.key_version.number, *self.position)

    @property
    def block(self) -> Block | None:
        """By whom it is blocked; None if it is not, or was blocked elsewhere."""
        return self.annotations.block if self.is_blocked and self.annotations else None

    @property
    def source(self) -> str | None:
        """What a short key was made for; None for every other key."""
        return self.annotations.source if self.annotations else None

    @property
    def to_annotate(self) -> KeyAnnotations:
        """The annotations to change: for a key that was created elsewhere, what its owner sees of it."""
        return self.annotations or KeyAnnotations(self.alias, self.other_metadata)

    @property
    def changeable(self) -> dict[str, Any]:
        """The fields that a caller can change, and as what somebody blocked it."""
        return {name: self.fields.get(name) for name in CHANGEABLE} | {
            "blocked_by": self.block.blocker if self.block else None
        }

    def status(self, now: float) -> KeyStatus:
        """The status at `now`, in seconds since the epoch. An expired key counts as expired even if blocked.

        A key that may be blocked or expired, because its row does not say so, counts as blocked.
        """
        if self.expires_at is not None and self.expires_at <= now:
            return KeyStatus.EXPIRED
        return KeyStatus.BLOCKED if self.is_blocked or self.odd & {"blocked", "expires"} else KeyStatus.ACTIVE


@dataclass(frozen=True, slots=True)
class OwnedKey:
    """Whose key it is, and which version of which."""

    owner: str
    key_version: KeyVersion


@dataclass(frozen=True, slots=True)
class ShownKeys:
    """The keys of a user, newest first, and the number of those that LiteLLM cannot show or name."""

    keys: Sequence[Key]
    unreadable: int


@dataclass(frozen=True, slots=True)
class ListedKey:
    """A key as far as blocking it goes. `id`: as in `Key`.

    `token` is the name that LiteLLM's row has for it: the id, or in an odd row perhaps a secret. Then `id` is its
    SHA-256, and the token is only for LiteLLM. If this service annotated the key, `metadata` is LiteLLM's, and
    `blocker` says as what somebody blocked it.
    """

    id: str
    is_blocked: bool
    token: str = field(repr=False)
    metadata: Mapping[str, Any] | None = field(default=None, repr=False)
    blocker: str | None = None


@dataclass(frozen=True, slots=True)
class ListedKeys:
    """The keys of a user, as far as blocking them goes, and the number of those that LiteLLM cannot show or name."""

    keys: tuple[ListedKey, ...]
    unreadable: int = 0

    @property
    def live(self) -> tuple[ListedKey, ...]:
        """Those that are not blocked."""
        return tuple(key for key in self.keys if not key.is_blocked)


@dataclass(frozen=True, slots=True)
class NewestKeys:
    """Who owns an unblocked key among the newest of a LiteLLM.

    `latest` is when the newest of them was created, in LiteLLM's time: seconds since the epoch, None if no row says so.
    """

    owners: frozenset[str]
    latest: float | None


@dataclass(frozen=True, slots=True)
class NewKey:
    """The properties of a key to create. None, and empty `models`, mean no limit of its own. `life` is in seconds."""

    annotations: KeyAnnotations
    models: tuple[str, ...] = ()
    max_budget: float | None = None
    budget_duration: str | None = None
    life: int | None = None
    tpm_limit: int | None = None
    rpm_limit: int | None = None
    spend: float = 0.0
    other_metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CreatedKey:
    """A new key with its secret, which LiteLLM does not store.

    `expires_at` (ISO 8601), `max_budget` (USD) and `models` are LiteLLM's, whose configuration may fill in what was
    left out; None and empty mean no limit.
    """

    user_id: str
    key_id: str
    secret: str = field(repr=False)
    expires_at: str | None = None
    max_budget: float | None = None
    models: Sequence[str] = ()

    @property
    def key_version(self) -> KeyVersion:
        """It is the first one."""
        return KeyVersion.derived(self.key_id, None)


@dataclass(frozen=True, slots=True)
class MintRequest:
    """A short key to make for `owner`. `source` is what it is made for, `token` names the token that it is given for.

    `terms` hold within the tier of the owner. For `repeated_for` seconds the same token gets the same key again; 0 is
    never. `per_minute` and `most_living` bound the keys of the source. `evidence` is for the audit log. No key lives
    beyond `ends_by`, in seconds since the epoch.
    """

    source: str
    owner: str
    token: str
    alias: str
    terms: KeyTerms
    repeated_for: float
    per_minute: int
    most_living: int
    evidence: Mapping[str, Any]
    ends_by: float = math.inf


@dataclass(frozen=True, slots=True)
class ShortLivedKey:
    """A short key with its secret, which LiteLLM does not store. `ends_at` is in seconds since the epoch."""

    key_id: str
    secret: str = field(repr=False)
    ends_at: float


@dataclass(frozen=True, slots=True)
class RotatedKey:
    """The new key with its secret. The old key `revokes` is deleted at `revoke_at` (seconds since the epoch).

    `revoked_at_once` are the hashes of the keys that the old one had replaced, and whose overlap ends now. `stable_id`
    and `number` are those of its `key_version`; answers that were kept by an earlier release lack them.
    """

    user_id: str
    key_id: str
    secret: str = field(repr=False)
    revokes: str
    revoke_at: float
    revoked_at_once: Sequence[str] = ()
    stable_id: str | None = None
    number: int | None = None

    @property
    def key_version(self) -> KeyVersion:
        """Which version of which key it is."""
        if self.stable_id is None or self.number is None:
            return KeyVersion.derived(self.key_id, self.revokes)
        return KeyVersion(self.stable_id, self.number)


@dataclass(frozen=True, slots=True)
class Revocation:
    """The key `key_id` is deleted at `revoke_at` (seconds since the epoch) because `replaced_by` replaced it.

    `key_version` is None if an earlier release scheduled it.
    """

    key_id: str
    user_id: str
    replaced_by: str
    revoke_at: float
    key_version: KeyVersion | None = None


@dataclass(frozen=True, slots=True)
class DescribedKey:
    """A key with the pending revocations of the keys that it replaced, and with its own."""

    key: Key
    replaced: tuple[Revocation, ...] = ()
    revocation: Revocation | None = None

    @property
    def version(self) -> str:
        """Identifies the changeable state of the key. Spending does not change it."""
        return version_of([self.key.changeable, self.revocation, self.replaced])
