"""Everything that can go wrong, as the rules see it. `edge/errors.py` alone says how each is answered over HTTP.

OrchestratorError
├── CallerError                  the caller can do something about it
│   ├── InputError               malformed
│   ├── AuthenticationError      no valid credentials
│   ├── NotAllowedError          valid credentials, not enough authority
│   ├── NotFoundError            no such user, or no such key of theirs
│   ├── ConflictError            what there is already stands against it
│   ├── ChangedError             not any more what the caller thinks it is
│   ├── ReusedKeyError           this Idempotency-Key named another request
│   └── TooManyRequestsError     more in a minute than one caller may
└── UpstreamError                LiteLLM or Backstage
    ├── UpstreamFaultError       answered nonsense, or refused our own credentials
    ├── UpstreamUnavailableError cannot be reached
    └── UpstreamTimeoutError     did not answer in time

Messages are shown to callers: they say what was wrong and what would be right, and never hold a secret or an
upstream's own words.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Allowance:
    """What is left of how often somebody may do something.

    `limit` times in `window` seconds, of which `remaining` are left; all are back in `reset` seconds. `retry_after` is
    0 where it was allowed, else the seconds until one more is.
    """

    name: str
    limit: int
    window: int
    remaining: int
    reset: int
    retry_after: int


class OrchestratorError(Exception):
    """`message` is for the caller."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class CallerError(OrchestratorError):
    """The caller can do something about it."""


class InputError(CallerError):
    """The request is malformed."""


class AuthenticationError(CallerError):
    """The caller's own credentials are missing or not valid. Never for ours: it would sign the user out."""


class NotAllowedError(CallerError):
    """The caller is known, and may not do this."""


class NotFoundError(CallerError):
    """There is no such user, or no such key of this user."""


class ConflictError(CallerError):
    """What there is already stands against it."""


class ChangedError(CallerError):
    """It is not any more what the caller thinks it is."""


class ReusedKeyError(CallerError):
    """The caller used this Idempotency-Key for another request."""


class TooManyRequestsError(CallerError):
    """The caller asks more often than they may. `allowance` says when they may again."""

    def __init__(self, allowance: Allowance) -> None:
        super().__init__(f"At most {allowance.limit} in {allowance.window} s; try again in {allowance.retry_after} s")
        self.allowance = allowance


class UpstreamError(OrchestratorError):
    """LiteLLM or Backstage failed us."""


class UpstreamFaultError(UpstreamError):
    """An upstream answered nonsense, failed inside, or refused our own credentials."""


class UpstreamUnavailableError(UpstreamError):
    """An upstream cannot be reached. `retry_after` is in seconds."""

    retry_after = 5


class UpstreamTimeoutError(UpstreamError):
    """An upstream did not answer in time; what was asked of it may have happened."""
