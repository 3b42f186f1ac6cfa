"""Every error of the rules. `edge/errors.py` maps each to an HTTP status.

OrchestratorError
├── CallerError                       the caller can correct it
│   ├── InputError                    the request is malformed
│   ├── AuthenticationError           no valid credentials
│   │   └── UnverifiedTokenError      the token of a workload does not verify
│   ├── NotAllowedError               valid credentials, but not enough authority
│   ├── NotFoundError                 no such user, or no such key of this user
│   ├── ConflictError                 the current state does not allow it
│   │   └── BusyError                 the same request, or a cleanup, is in progress; retry
│   ├── PreconditionFailedError       the resource changed since the caller read it
│   ├── TokenRequestError             a token request, in OAuth's words
│   ├── IdempotencyKeyReusedError     the Idempotency-Key belongs to another request
│   └── RateLimitedError              too many requests from this caller
├── OverloadedError                   too much is waiting for the same thing; retry
└── UpstreamError                     LiteLLM, Backstage or the database
    ├── UpstreamFaultError            it returned an unexpected response or refused our credentials
    │   └── ValuesRefusedError        it refused the values that were sent; in a caller's request an InputError
    ├── UpstreamUnavailableError      it cannot be reached
    │   ├── UpstreamBusyError         too many calls to it are in progress
    │   └── CircuitOpenError          it failed again and again, so calls to it are paused
    └── UpstreamTimeoutError          it did not answer in time

Callers see the messages: a message says what was wrong and what would be right. It never contains a secret or text
from an upstream.
"""

from __future__ import annotations

from domain.rates import RateLimit


class OrchestratorError(Exception):
    """The root of all errors. `message` is for the caller."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class CallerError(OrchestratorError):
    """The caller can correct it. Nothing was changed, or the change was undone."""


class InputError(CallerError):
    """The request is malformed."""


class AuthenticationError(CallerError):
    """The caller's own credentials are missing or invalid. Never for ours: it would sign the user out."""


class UnverifiedTokenError(AuthenticationError):
    """The token of a workload does not verify. `reason` is for the log, never for a caller: it helps who forges one."""

    def __init__(self, reason: str) -> None:
        super().__init__("The token cannot be verified")
        self.reason = reason


class NotAllowedError(CallerError):
    """The caller is known but may not do this."""


class NotFoundError(CallerError):
    """There is no such user, or no such key of this user."""


class ConflictError(CallerError):
    """The current state does not allow it."""


class BusyError(ConflictError):
    """The same request, or a cleanup, is in progress. `retry_after` is in seconds."""

    retry_after = 1


class TokenRequestError(CallerError):
    """No token is given. `code` is that of RFC 6749, section 5.2, or RFC 8693."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class PreconditionFailedError(CallerError):
    """The resource changed since the caller read it."""


class IdempotencyKeyReusedError(CallerError):
    """The caller used this Idempotency-Key for another request."""


class RateLimitedError(CallerError):
    """The caller sent too many requests, or asked for too much. `rate` says when the next one is allowed."""

    def __init__(self, rate: RateLimit, reason: str | None = None) -> None:
        reason = reason or f"At most {rate.limit} requests in {rate.window} s"
        super().__init__(f"{reason}. Retry after {rate.retry_after} s.")
        self.rate = rate


class OverloadedError(OrchestratorError):
    """Too much was asked of us for the same user at once. Nothing was changed. `retry_after` is in seconds."""

    def __init__(self, message: str, retry_after: int = 5) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class UpstreamError(OrchestratorError):
    """LiteLLM, Backstage or the database failed. What was asked may have happened. `retry_after` is in seconds."""

    retry_after = 5


class UpstreamFaultError(UpstreamError):
    """An upstream returned an unexpected response, failed, or refused our own credentials."""


class ValuesRefusedError(UpstreamFaultError):
    """LiteLLM refused the values that were sent: its configuration, its licence or a hook of its operator forbids them.

    `recognised` says what is allowed, None if LiteLLM's reason is not known here. `reason` is LiteLLM's own text: for
    the log, never for a caller. `concerns_alias` is set if the key's alias in LiteLLM is at fault.
    """

    def __init__(self, recognised: str | None, reason: str, *, concerns_alias: bool) -> None:
        super().__init__(recognised or "LiteLLM refused the values that were sent")
        self.recognised = recognised
        self.reason = reason
        self.concerns_alias = concerns_alias


class UpstreamUnavailableError(UpstreamError):
    """An upstream cannot be reached."""


class UpstreamBusyError(UpstreamUnavailableError):
    """Too many calls to an upstream are in progress, here or by its own word. This one was not accepted."""


class CircuitOpenError(UpstreamUnavailableError):
    """The upstream failed again and again. This call was not made; the next one is, in `retry_after` seconds."""

    def __init__(self, name: str, retry_after: int) -> None:
        super().__init__(f"{name} keeps failing, so calls to it are paused; retry after {retry_after} s")
        self.retry_after = retry_after


class UpstreamTimeoutError(UpstreamError):
    """An upstream did not answer in time. The requested change may have happened."""
