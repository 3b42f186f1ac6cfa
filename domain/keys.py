"""API keys of LiteLLM users ("virtual keys"), and what may be requested of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypedDict

from domain.resource_versions import version_of
from domain.users import USER_LIMITS

KEY_LIMITS = USER_LIMITS
"""The limits of a key, under LiteLLM's names: those that a user can have."""
CHANGEABLE = (*KEY_LIMITS, "key_alias", "metadata", "blocked", "expires")
"""The fields of a key that a caller can change, under LiteLLM's names."""


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

    `operation` is the id of the change that created the key, `replaces` the id of the key that it replaced. `block`
    outlives an unblocking elsewhere: see `Key.block`. `metadata` is the owner's.
    """

    alias: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    operation: str | None = None
    replaces: str | None = None
    block: Block | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """A key without its secret.

    `id` is the SHA-256 of the secret, LiteLLM's own id. `expires_at` is in seconds since the epoch. `fields` holds what
    a caller may see, under LiteLLM's names. `other_metadata` is the metadata that others store on the key.
    `is_session`: LiteLLM made it for a sign-in to its own pages. `odd` names the fields of LiteLLM's row that make no
    sense: they are left out, or the strictest value stands in their place.
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
    def block(self) -> Block | None:
        """By whom it is blocked; None if it is not, or was blocked elsewhere."""
        return self.annotations.block if self.is_blocked and self.annotations else None

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


@dataclass(frozen=True, slots=True)
class RotatedKey:
    """The new key with its secret. The old key `revokes` is deleted at `revoke_at` (seconds since the epoch).

    `revoked_at_once` are the ids of the keys that the old one had replaced, and whose overlap ends now.
    """

    user_id: str
    key_id: str
    secret: str = field(repr=False)
    revokes: str
    revoke_at: float
    revoked_at_once: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Revocation:
    """The key `key_id` is deleted at `revoke_at` (seconds since the epoch) because `replaced_by` replaced it."""

    key_id: str
    user_id: str
    replaced_by: str
    revoke_at: float


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
