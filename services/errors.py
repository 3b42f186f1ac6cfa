"""Everything that can go wrong, as the rules see it. `edge/errors.py` alone says how each is answered over HTTP.

OrchestratorError
├── CallerError                  the caller can do something about it
│   ├── InputError               malformed
│   ├── AuthenticationError      no valid credentials
│   ├── NotAllowedError          valid credentials, not enough authority
│   ├── NotFoundError            no such user, or no such key of theirs
│   └── ConflictError            exists already
└── UpstreamError                LiteLLM or Backstage
    ├── UpstreamFaultError       answered nonsense, or refused our own credentials
    ├── UpstreamUnavailableError cannot be reached
    └── UpstreamTimeoutError     did not answer in time

Messages are shown to callers: they say what was wrong and what would be right, and never hold a secret or an
upstream's own words.
"""

from __future__ import annotations


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
    """It exists already."""


class UpstreamError(OrchestratorError):
    """LiteLLM or Backstage failed us."""


class UpstreamFaultError(UpstreamError):
    """An upstream answered nonsense, failed inside, or refused our own credentials."""


class UpstreamUnavailableError(UpstreamError):
    """An upstream cannot be reached. `retry_after` is in seconds."""

    retry_after = 5


class UpstreamTimeoutError(UpstreamError):
    """An upstream did not answer in time; what was asked of it may have happened."""
