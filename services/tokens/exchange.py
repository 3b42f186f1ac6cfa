"""Token exchange (RFC 8693): a workload's own token becomes a key of the rule's owner.

Outside nobody learns which check failed: what is refused always has the same answer. Inside, the log line has the
reason, and an admin tries a token at `POST /workloads/test`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from clients.oidc.issuers import Issuers
from domain.errors import (
    BusyError,
    CallerError,
    OverloadedError,
    RateLimitedError,
    TokenRequestError,
    UnverifiedTokenError,
    ValuesRefusedError,
)
from domain.keys import MintRequest, ShortLivedKey
from domain.sessions import Origin
from domain.workloads import IssuedToken, Rule, VerifiedToken, claim_at, compared, mismatch, source_of
from services.single_flight import SingleFlight
from services.tokens.mint import MintKey
from services.tokens.parameters import required
from state.rates import RatePolicy
from state.refused_exchanges import RefusedExchanges
from telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:token-exchange"
_TYPES = "urn:ietf:params:oauth:token-type:"
_ACCESS_TOKEN = f"{_TYPES}access_token"
_TAKEN = (f"{_TYPES}jwt", f"{_TYPES}id_token")
_REFUSALS = RatePolicy("refused exchanges", 600)
"""How many of one issuer are counted in a minute: anybody has a token of a public issuer."""
_LIMITS = {"exchanges": "perMinute", "living": "maxLiving"}
"""The limits that are settings of a rule, by their names in answers."""
_RUNS = (("run_id",), ("job_id",), ("pipeline_id",), ("kubernetes.io", "pod", "name"), ("build_number",))
"""Where issuers name what is running: GitHub, GitLab (twice), Kubernetes, Buildkite."""
_REPEATED_SECONDS = 60.0
_DIGITS = 8


@dataclass(frozen=True, kw_only=True)
class TokenExchange:
    """Exchanges tokens by the rules, by their names. `now` is in seconds since the epoch."""

    rules: Mapping[str, Rule]
    issuers: Issuers
    mint: MintKey
    refused: RefusedExchanges
    running: SingleFlight[ShortLivedKey]
    metrics: Metrics
    now: Callable[[], float]

    async def __call__(self, parameters: Mapping[str, str], _origin: Origin) -> IssuedToken:
        """The key as an access token. `parameters`: see `Grant`.

        Raises TokenRequestError, RateLimitedError, OverloadedError, UpstreamError.
        """
        _require_plain(parameters)
        rule = self.rules.get(parameters["client_id"])
        if rule is None:
            raise TokenRequestError("invalid_client", "client_id must be the name of a rule")
        result = "unavailable"
        try:
            key = await self._key(rule, parameters["subject_token"])
            result = "issued"
        except UnverifiedTokenError as error:
            result = "unverified"
            log.info("a token did not verify", rule=rule.name, reason=error.reason)
            raise _not_accepted() from error
        except RateLimitedError:
            result = "limited"
            raise
        except TokenRequestError:
            result = "refused"
            raise
        finally:
            self.metrics.token_exchanges.labels(rule.name, result).inc()
        return IssuedToken(key.secret, max(1, int(key.ends_at - self.now())))

    async def _key(self, rule: Rule, subject_token: str) -> ShortLivedKey:
        token = await self.issuers.verify(rule.issuer, subject_token)
        found = mismatch(rule, token)
        if found is not None:
            log.info("a token does not match the rule", rule=rule.name, check=found.check, reason=found.reason)
            raise await self._refused(rule, f"{found.check} does not match")
        if token.expires_at - self.now() < 1:
            raise await self._refused(rule, "the token is about to expire")
        request = _request(rule, token)
        try:
            return await self.running.run(f"{rule.name} {token.replay_id}", lambda: self.mint(request))
        except BusyError as error:
            raise OverloadedError("The same exchange is running; retry", BusyError.retry_after) from error
        except RateLimitedError as error:
            await self._count(rule, f"above {_LIMITS.get(error.rate.name, error.rate.name)}")
            raise
        except CallerError as error:
            log.info("no key was made", rule=rule.name, reason=error.message)
            raise await self._refused(rule, _reason(error)) from error

    async def _refused(self, rule: Rule, reason: str) -> TokenRequestError:
        """Counts a refusal, and makes the answer."""
        await self._count(rule, reason)
        return _not_accepted()

    async def _count(self, rule: Rule, reason: str) -> None:
        """Counts a refusal of a verified token for the audit log."""
        await self.refused.count(source_of(rule), reason, issuer=rule.issuer, rate=_REFUSALS)


def _require_plain(given: Mapping[str, str]) -> None:
    """Raises TokenRequestError for what this service gives to nobody (RFC 8693, section 2.1)."""
    _, token_type = required(given, "subject_token", "subject_token_type")
    if token_type not in _TAKEN:
        raise TokenRequestError("invalid_request", f"subject_token_type must be {' or '.join(_TAKEN)}")
    if given.get("requested_token_type", _ACCESS_TOKEN) != _ACCESS_TOKEN:
        raise TokenRequestError("invalid_request", f"requested_token_type must be {_ACCESS_TOKEN}, or absent")
    if "actor_token" in given or "actor_token_type" in given:
        raise TokenRequestError("invalid_request", "actor_token is not taken: a workload acts for itself")
    if "scope" in given:
        raise TokenRequestError("invalid_scope", "There are no scopes: the rule says what the key may do")
    if "audience" in given or "resource" in given:
        raise TokenRequestError("invalid_target", "The key is for LiteLLM, and for nothing else")


def _reason(error: CallerError) -> str:
    """For the audit log, which counts each reason: without what differs each time, such as the id of a request."""
    if isinstance(refusal := error.__cause__, ValuesRefusedError):
        return refusal.recognised or "LiteLLM's policy refuses the key"
    return error.message


def _not_accepted() -> TokenRequestError:
    return TokenRequestError("invalid_grant", "The token is not accepted for this client_id")


def _request(rule: Rule, token: VerifiedToken) -> MintRequest:
    return MintRequest(
        source=source_of(rule),
        owner=rule.owner,
        token=token.replay_id,
        alias=f"{rule.name} {_run_of(token)}",
        terms=rule.key,
        repeated_for=_REPEATED_SECONDS,
        per_minute=rule.per_minute,
        most_living=rule.max_living,
        evidence={"rule": rule.name, "issuer": rule.issuer, "claims": compared(rule, token)},
        ends_by=token.expires_at,
    )


def _run_of(token: VerifiedToken) -> str:
    """What is running, as its issuer names it; else the beginning of what names the token."""
    for path in _RUNS:
        value = claim_at(token.claims, path)
        if isinstance(value, str | int) and str(value).isprintable() and str(value).strip():
            return str(value).strip()
    return token.replay_id[:_DIGITS]
