"""A signed-in session: who, at which service, for which owner, and the secrets that it has now."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

from .clock import Clock, Moment

_LONGEST_MARGIN = 3600.0


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the service gave last. Lives are in seconds from `received`, the moment before the request was sent.

    `litellm_url` is where the key works; empty where the operator has not said it.
    """

    key: str = field(repr=False)
    refresh_token: str = field(repr=False)
    litellm_url: str
    key_life: float
    session_life: float
    received: Moment

    def remaining(self, clock: Clock) -> float:
        """The seconds for which LiteLLM still accepts the key; 0 if it is over or nobody knows."""
        age = self.received.age(clock)
        return 0.0 if age is None else max(0.0, self.key_life - age)

    def is_due(self, clock: Clock, *, for_long: bool) -> bool:
        """Whether the key should be renewed: less than a third of its life is left, and less than an hour.

        That is more than a clock is wrong, and than a tool remembers a key. `for_long`: for a program that gets one key
        for all its life, it is half.
        """
        margin = self.key_life / 2 if for_long else min(self.key_life / 3, _LONGEST_MARGIN)
        remaining = self.remaining(clock)
        return remaining <= 0 or remaining < margin

    def to_json(self) -> dict[str, Any]:
        """For the store."""
        return asdict(self)

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Tokens:
        """Raises KeyError, TypeError or ValueError for anything else."""
        return cls(
            key=str(body["key"]),
            refresh_token=str(body["refresh_token"]),
            litellm_url=str(body["litellm_url"]),
            key_life=float(body["key_life"]),
            session_life=float(body["session_life"]),
            received=Moment(float(body["received"]["wall"]), float(body["received"]["uptime"])),
        )


@dataclass(frozen=True, slots=True)
class Session:
    """One sign-in. `service` is the base URL, `principal` and `owner` are entity refs, `signed_in_at` is wall time.

    `kept_in` says in words where its secrets are. Without `tokens` it has `ended`, and the sentence says why.
    """

    service: str
    principal: str
    owner: str
    session_id: str
    signed_in_at: float
    tokens: Tokens | None = None
    kept_in: str = ""
    ended: str = ""

    @property
    def name(self) -> str:
        """For files: one session for each service and owner."""
        host = urlsplit(self.service).hostname or "service"
        return f"{host}-{sha256(f'{self.service} {self.owner}'.encode()).hexdigest()[:12]}"


def owner_ref(text: str) -> str:
    """An owner as the service names it: in lower case, and in the namespace `default` if none is given."""
    kind, colon, rest = text.strip().lower().partition(":")
    if not colon:
        kind, rest = "user", kind
    return f"{kind}:{rest if '/' in rest else f'default/{rest}'}"
