"""The model of the whole service: what callers are told, and what LiteLLM has afterwards. Pure; times are in seconds.

A tier gives its limits to new users, and bounds what people ask for themselves: who and what was there before stays.
While Backstage is away, the service goes on with what it has heard, and tells everybody else to come again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from domain.users import Tier
from domain.workloads import Rule

YEAR = 365 * 86400
COME_AGAIN = {502, 503, 504}
A_TOKEN_LIVES, LEEWAY = 3600.0, 61.0
HEARD_COUNTS, HEARD_MAY_BE_OLDER_BY = 600.0, 60.0
SAME_KEY, MOST_OF_A_TOKEN, GONE_AFTER_THE_END, NONE_AFTER_A_BLOCK = 60.0, 2, 2.0, 10.0
"""Of short keys: for how long a token gets the same one, how many it has, and when they are deleted; for how long an
owner gets none after a block or a deletion."""
PARTS = {"everything": "", "catalog": "/api/catalog/", "signing keys": "/jwks.json", "userinfo": "/v1/userinfo"}
"""What of Backstage can be away, and how the paths of that can be told."""
Wanted = Callable[[str], int]
"""The status for a caller with this role."""


@dataclass(frozen=True)
class Token:
    """What a caller signs in with; without `ent`, Backstage has to be asked whose groups it stands for."""

    text: str
    issued_at: float
    has_ent: bool = True


@dataclass
class Key:
    """What the model knows of a key. `blocker` is who blocked it: owner, admin or off-boarding."""

    owner: str
    alias: str | None = None
    blocker: str | None = None
    max_budget: float | None = None
    models: tuple[str, ...] = ()
    expires_at: float | None = None

    def set(self, wish: Mapping[str, Any]) -> None:
        """What the wish says; the rest stays."""
        self.max_budget = wish.get("maxBudget", self.max_budget)
        self.models = tuple(wish.get("models", self.models))


@dataclass(kw_only=True)
class ShortKey(Key):
    """A key that the rule `rule` gave for the token `token`; `expires_at` is its end."""

    rule: str
    token: str
    made_at: float
    ends_at: float

    def is_given_again(self, now: float) -> bool:
        """Unless that is of no use any more."""
        return now - self.made_at < SAME_KEY and self.ends_at - now > 1


@dataclass(frozen=True)
class WorkloadToken:
    """What a workload shows. `is_meant` if its subject is the one that the rules are for."""

    text: str
    expires_at: float
    is_meant: bool = True


@dataclass
class Budget:
    """What is left of the rate of a rule, at a time."""

    left: float
    at: float


@dataclass
class Heard:
    """What one process has heard from Backstage: whose role it was, and when."""

    has_signing_keys: bool = False
    tokens: set[Token] = field(default_factory=set)
    roles: dict[str, tuple[str, float]] = field(default_factory=dict)


@dataclass
class Model:
    """`roles` are those of Backstage, `users` have the tier that made them, `missed` are those of the last cleanup."""

    roles: dict[str, str]
    tier: Tier
    users: dict[str, Tier] = field(default_factory=dict)
    keys: dict[str, Key] = field(default_factory=dict)
    missed: set[str] = field(default_factory=set)
    away: str | None = None
    heard: Heard = field(default_factory=Heard)
    budgets: dict[str, Budget] = field(default_factory=dict)
    taken_away_at: dict[str, float] = field(default_factory=dict)

    # What callers are told.

    def is_away(self, part: str) -> bool:
        return self.away in ("everything", part)

    def role(self, who: str) -> str:
        """What the service takes them for."""
        return self.heard.roles[who][0] if self.is_away("catalog") else self.roles[who]

    def expected(self, who: str, token: Token, wanted: Wanted, now: float) -> set[int]:
        """The statuses of an answer. No outage lets anybody do what neither Backstage nor its last word allows."""
        if (refused := self._refused(token, now)) is not None:
            return refused
        over = self._may_be_over(token, now)
        if not self.is_away("catalog"):
            return over | {wanted(self.roles[who])}
        role, heard_at = self.heard.roles.get(who, ("nobody", -math.inf))
        if now - heard_at >= HEARD_COUNTS:
            return over | COME_AGAIN
        # An old answer only allows: who is refused by it may have joined a group since.
        is_sure = now - heard_at < HEARD_COUNTS - HEARD_MAY_BE_OLDER_BY and wanted(role) != 403
        return over | {wanted(role)} | (set() if is_sure else COME_AGAIN)

    def asked(self, who: str, token: Token, now: float) -> None:
        """What the service hears when `who` asks for something."""
        self.heard.has_signing_keys |= not self.is_away("signing keys")
        if self._refused(token, now) is None:
            self.heard.tokens.add(token)
            if not self.is_away("catalog"):
                self.heard.roles[who] = (self.roles[who], now)

    def _refused(self, token: Token, now: float) -> set[int] | None:
        """The statuses for a token that cannot be verified, or is over; None for one that counts."""
        if self.is_away("signing keys") and not self.heard.has_signing_keys:
            return COME_AGAIN
        if now > token.issued_at + A_TOKEN_LIVES + LEEWAY:
            return {401}
        is_known = token.has_ent or token in self.heard.tokens or not self.is_away("userinfo")
        return None if is_known else COME_AGAIN | self._may_be_over(token, now)

    def _may_be_over(self, token: Token, now: float) -> set[int]:
        """A token may or may not count in the last minute after its end."""
        return {401} if now > token.issued_at + A_TOKEN_LIVES else set()

    def access(self, role: str, who: str, owner: str) -> int:
        """200, 403, or 404 if a user is not there, and `who` is not the one whose first request creates them."""
        if role == "nobody" or (role == "member" and who != owner):
            return 403
        return 200 if who == owner or owner in self.users else 404

    # Answers to exchanges of tokens.

    def answer(self, rule: Rule, token: WorkloadToken, now: float) -> int:
        """The status for a token that is shown to a rule, and takes what that costs."""
        if self.is_refused(rule.owner, token, now):
            return 400
        if self.given_again(rule, token, now) is not None:
            return 400 if rule.owner in self.missed else 200
        budget = self.budget(rule, now)
        if budget.left < 1 - 1e-6:
            return 429
        if rule.owner in self.missed or now - self.taken_away_at.get(rule.owner, -math.inf) <= NONE_AFTER_A_BLOCK:
            return 400
        if self.living(rule, now) >= rule.max_living:
            return 429
        self.budgets[rule.name] = replace(budget, left=budget.left - 1)
        return 200

    def is_refused(self, owner: str, token: WorkloadToken, now: float) -> bool:
        """Whatever there is already; LiteLLM counts whole seconds, so a token needs one more."""
        return not token.is_meant or token.expires_at - now < 1 or self.roles[owner] == "nobody"

    def given_again(self, rule: Rule, token: WorkloadToken, now: float) -> str | None:
        """The id of the key that this token got a moment ago."""
        newest = [key_id for key_id, key in self.given(rule, token)[:1] if key.is_given_again(now)]
        return newest[0] if newest else None

    def budget(self, rule: Rule, now: float) -> Budget:
        """It fills evenly, within a minute."""
        known = self.budgets.get(rule.name, Budget(rule.per_minute, now))
        return Budget(min(rule.per_minute, known.left + (now - known.at) * rule.per_minute / 60), now)

    def given(self, rule: Rule, token: WorkloadToken) -> list[tuple[str, ShortKey]]:
        """The keys for this token, the newest first."""
        theirs = [(key_id, key) for key_id, key in self.short_keys().items() if key.rule == rule.name]
        return sorted([row for row in theirs if row[1].token == token.text], key=lambda row: -row[1].made_at)

    def living(self, rule: Rule, now: float) -> int:
        return sum(key.rule == rule.name and key.ends_at > now for key in self.short_keys().values())

    def give(self, key_id: str, rule: Rule, token: WorkloadToken, now: float) -> ShortKey:
        """A key that ends with its token at the latest. More than two of a token are too many."""
        for too_many, _ in self.given(rule, token)[MOST_OF_A_TOKEN - 1 :]:
            del self.keys[too_many]
        end = now + min(rule.key.life, int(token.expires_at - now))
        key = ShortKey(
            rule.owner,
            max_budget=rule.key.max_budget,
            expires_at=end,
            rule=rule.name,
            token=token.text,
            made_at=now,
            ends_at=end,
        )
        self.keys[key_id] = key
        return key

    def end_short_keys(self, now: float) -> None:
        """What the background jobs do."""
        for key_id, key in self.short_keys().items():
            if key.ends_at + GONE_AFTER_THE_END <= now:
                del self.keys[key_id]

    def short_keys(self) -> dict[str, ShortKey]:
        return {key_id: key for key_id, key in self.keys.items() if isinstance(key, ShortKey)}

    # What tiers allow.

    def exceeds(self, wish: Mapping[str, Any]) -> bool:
        """Whether the tier forbids it to those who act for themselves."""
        tier = self.tier
        return (
            (tier.max_budget is not None and wish.get("maxBudget", 0) > tier.max_budget)
            or (bool(tier.models) and not set(wish.get("models", ())) <= set(tier.models))
            or (tier.max_key_life is not None and wish.get("expiresIn", 0) > tier.max_key_life)
        )

    def has_room(self, owner: str) -> bool:
        return self.tier.max_keys is None or len(self.keys_of(owner)) < self.tier.max_keys

    def expiry(self, wish: Mapping[str, Any], *, own: bool, now: float) -> float | None:
        """Of a new key: an admin's for another lives as long as they say."""
        life = wish.get("expiresIn", self.tier.max_key_life if own else None)
        return None if life is None else now + life

    # What there is.

    def keys_of(self, owner: str) -> dict[str, Key]:
        return {key_id: key for key_id, key in self.keys.items() if key.owner == owner}

    def lasting_keys(self) -> dict[str, Key]:
        """Those of people."""
        return {key_id: key for key_id, key in self.keys.items() if not isinstance(key, ShortKey)}

    def add_user(self, owner: str, tier: Tier | None = None) -> None:
        """With the limits of the tier, unless they are there."""
        self.users.setdefault(owner, tier or self.tier)

    def rotate(self, key_id: str, new_id: str, wish: Mapping[str, Any], *, own: bool, now: float) -> None:
        """The new key expires when the old one would, unless the wish says otherwise."""
        old = self.keys.pop(key_id)
        stays = "expiresIn" not in wish and old.expires_at is not None
        new = replace(old, expires_at=old.expires_at if stays else self.expiry(wish, own=own, now=now))
        new.set(wish)
        self.keys[new_id] = new

    def block(self, key: Key, who: str, *, blocked: bool) -> None:
        """Nobody weakens a block by repeating it."""
        if not blocked:
            key.blocker = None
        elif key.blocker != "admin":
            key.blocker = "owner" if who == key.owner else "admin"

    def forget(self, owner: str, now: float) -> None:
        """User and keys."""
        self.taken_away_at[owner] = now
        self.users.pop(owner, None)
        self.missed.discard(owner)
        self.keys = {key_id: key for key_id, key in self.keys.items() if key.owner != owner}

    def clean_up(self, now: float) -> None:
        """Leavers lose their keys at once and are deleted by the next run; who is back has their keys as they were."""
        for owner in sorted(self.users):
            if self.roles[owner] == "nobody" and owner in self.missed:
                self.forget(owner, now)
            elif self.roles[owner] == "nobody":
                self.missed.add(owner)
                self.taken_away_at[owner] = now
                self._set_blocker(owner, None, "off-boarding")
            else:
                self.missed.discard(owner)
                self._set_blocker(owner, "off-boarding", None)

    def _set_blocker(self, owner: str, before: str | None, after: str | None) -> None:
        for key in self.keys_of(owner).values():
            if key.blocker == before:
                key.blocker = after
