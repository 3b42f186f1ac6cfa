"""Workloads: software that shows an OpenID token of its own instead of keeping a secret, and the rules for such tokens.

Everything here is about tokens that are verified already (`clients/oidc`). What is compared is compared by type and to
the letter: no value is converted, folded or normalised, because the issuers do not do it either.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

ClaimValue = str | int | bool
"""What a rule may compare a claim with."""
Claims = tuple[tuple[tuple[str, ...], ClaimValue], ...]
"""The claims that a token must have: the keys that lead to each, and its value."""

SEPARATORS = (":", "/")
"""After which the `*` of a pattern may stand: a name ends there, so `repo:acme/*` does not match `repo:acme-evil/…`."""

MISSING: Any = object()
"""What stands for a claim that a token does not have."""

_HTTPS = re.compile(
    r"https://([A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?(/[^\s\\\x00-\x20\x7f-\U0010ffff]*)?"
)
_LOOPBACK = re.compile(
    r"http://(localhost|127\.0\.0\.[0-9]{1,3}|\[::1\])(:[0-9]{1,5})?(/[^\s\\\x00-\x20\x7f-\U0010ffff]*)?"
)
_MAX_SHOWN = 200


def is_loopback(url: str) -> bool:
    """Whether `url` is plain HTTP to this machine itself, as for a try-out or a sidecar."""
    return _LOOPBACK.fullmatch(url) is not None


def is_trustworthy(url: str) -> bool:
    """Whether what is read at `url` is the word of its host: https, or this machine. Without a user in it."""
    try:
        urlsplit(url).port  # noqa: B018  # raises for what looks like a port or an IPv6 address, and is none
    except ValueError:
        return False
    return _HTTPS.fullmatch(url) is not None or is_loopback(url)


@dataclass(frozen=True)
class KeySource:
    """Where the keys of an issuer are: at `url`, or `inline` (a JWKS); with neither, where its discovery says."""

    url: str | None = None
    inline: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Match:
    """What a token must have: a `sub`, exactly or up to the `*` at the end, and claims. Without both, none matches."""

    sub: str | None = None
    claims: Claims = ()


@dataclass(frozen=True)
class KeyTerms:
    """What a rule says of its keys: `life` in seconds, money in USD, rates per minute.

    None, and an empty `models`, mean what the tier of the owner says.
    """

    life: int = 900
    models: tuple[str, ...] = ()
    max_budget: float | None = None
    tpm_limit: int | None = None
    rpm_limit: int | None = None


@dataclass(frozen=True)
class Rule:
    """For which tokens of `issuer` (a name) there are keys of `owner` (an entity ref in lower case).

    At most `per_minute` keys a minute, and `max_living` at a time.
    """

    name: str
    issuer: str
    owner: str
    match: Match
    key: KeyTerms = field(default_factory=KeyTerms)
    per_minute: int = 60
    max_living: int = 100


@dataclass(frozen=True)
class VerifiedToken:
    """A token that the issuer named `issuer` signed for this service. Times are in seconds since the epoch.

    `replay_id` is the same whenever the same token is shown again, however its signature is written.
    """

    issuer: str
    subject: str
    claims: Mapping[str, Any] = field(repr=False)
    replay_id: str
    issued_at: float
    expires_at: float


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A token of this service's, which is a key for LiteLLM. `expires_in` is in seconds from now on.

    `session` is what it has beside that if a device is signed in.
    """

    access_token: str = field(repr=False)
    expires_in: int
    session: IssuedSession | None = None


@dataclass(frozen=True, slots=True)
class IssuedSession:
    """What a signed-in device learns with each key. `expires_in` is in seconds from now on.

    `litellm_url` is where the key works, None if the operator does not say.
    """

    refresh_token: str = field(repr=False)
    expires_in: int
    session_id: str
    principal: str
    owner: str
    litellm_url: str | None


@dataclass(frozen=True)
class KeysHealth:
    """How many keys of an issuer are known, and when they were last read, with the last failure, also if it is over.

    Times are in seconds since the epoch, None if it never happened. Keys that the settings have are not read.
    """

    count: int
    read_at: float | None = None
    failed_at: float | None = None
    failure: str | None = None

    @property
    def problem(self) -> str | None:
        """Why the keys could not be read the last time; None if they could."""
        is_over = self.read_at is not None and (self.failed_at is None or self.failed_at < self.read_at)
        return None if is_over else self.failure


@dataclass(frozen=True)
class Mismatch:
    """The first check of a rule that a token does not meet. For admins: no caller learns it.

    `check` is `issuer`, `match`, `sub` or `claims.` and the keys, so it has as many values as the rule has checks;
    `reason` is a sentence with what was found, cut if it is long, and what is expected.
    """

    check: str
    reason: str


@dataclass(frozen=True, slots=True)
class RuleVerdict:
    """Whether a rule matches a token, and the first check that does not."""

    name: str
    matched: bool
    problem: str | None


@dataclass(frozen=True, slots=True)
class TokenVerdict:
    """What the rules say of a token. `verified` is None for claims that were not signed; `problem`: why it is not.

    `issuer` is the name of the one that `iss` names, None if none is configured.
    """

    verified: bool | None
    issuer: str | None
    problem: str | None
    rules: Sequence[RuleVerdict]


def source_of(rule: Rule) -> str:
    """The actor of what is done by the rule, and the source of its keys."""
    return f"workload:{rule.name}"


def mismatch(rule: Rule, token: VerifiedToken) -> Mismatch | None:
    """Why `token` does not match `rule`; None if it does."""
    return next(_mismatches(rule, token), None)


def compared(rule: Rule, token: VerifiedToken) -> dict[str, ClaimValue]:
    """The claims of `token` that `rule` compares, by their names (`kubernetes.io/namespace`), as far as it has them."""
    found = {name_of(path): claim_at(token.claims, path) for path, _ in rule.match.claims}
    if rule.match.sub is not None:
        found = {"sub": token.subject} | found
    return {name: value for name, value in found.items() if isinstance(value, ClaimValue)}


def claim_at(claims: Any, path: tuple[str, ...]) -> Any:
    """The claim to which the keys of `path` lead, or MISSING."""
    for key in path:
        if not isinstance(claims, Mapping) or key not in claims:
            return MISSING
        claims = claims[key]
    return claims


def name_of(path: tuple[str, ...]) -> str:
    """The keys that lead to a claim, as one name."""
    return "/".join(path)


def _mismatches(rule: Rule, token: VerifiedToken) -> Iterator[Mismatch]:
    if token.issuer != rule.issuer:
        yield Mismatch("issuer", f"the token is of {_shown(token.issuer)}, the rule is for {_shown(rule.issuer)}")
    if rule.match.sub is None and not rule.match.claims:
        yield Mismatch("match", "the rule compares nothing, so nothing matches it")
    if rule.match.sub is not None and not _is_meant(rule.match.sub, token.subject):
        yield Mismatch("sub", f"sub is {_shown(token.subject)}, expected {_shown(rule.match.sub)}")
    for path, expected in rule.match.claims:
        found = claim_at(token.claims, path)
        # bool is a kind of int in Python, and 1 == 1.0 == True.
        if type(found) is not type(expected) or found != expected:
            is_there = "missing" if found is MISSING else _shown(found)
            yield Mismatch(f"claims.{name_of(path)}", f"{name_of(path)} is {is_there}, expected {_shown(expected)}")


def _is_meant(pattern: str, subject: str) -> bool:
    if "*" in subject:
        return False
    prefix = pattern.removesuffix("*")
    if prefix == pattern or not prefix.endswith(SEPARATORS):
        return subject == pattern
    return subject.startswith(prefix) and len(subject) > len(prefix)


def _shown(value: Any) -> str:
    """As JSON, in which types differ, and in ASCII, so that characters that only look alike differ, too."""
    text = json.dumps(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"
