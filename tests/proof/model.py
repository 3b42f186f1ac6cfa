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

YEAR = 365 * 86400
COME_AGAIN = {502, 503, 504}
A_TOKEN_LIVES, LEEWAY = 3600.0, 61.0
HEARD_COUNTS, HEARD_MAY_BE_OLDER_BY = 600.0, 60.0
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
        # A token may or may not count in the last minute after its end.
        over = {401} if now > token.issued_at + A_TOKEN_LIVES else set[int]()
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
        return None if is_known else COME_AGAIN

    def access(self, role: str, who: str, owner: str) -> int:
        """200, 403, or 404 if a user is not there, and `who` is not the one whose first request creates them."""
        if role == "nobody" or (role == "member" and who != owner):
            return 403
        return 200 if who == owner or owner in self.users else 404

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

    def add_user(self, owner: str) -> None:
        """With the limits of the tier, unless they are there."""
        self.users.setdefault(owner, self.tier)

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

    def forget(self, owner: str) -> None:
        """User and keys."""
        self.users.pop(owner, None)
        self.missed.discard(owner)
        self.keys = {key_id: key for key_id, key in self.keys.items() if key.owner != owner}

    def clean_up(self) -> None:
        """Leavers lose their keys at once and are deleted by the next run; who is back has their keys as they were."""
        for owner in sorted(self.users):
            if self.roles[owner] == "nobody" and owner in self.missed:
                self.forget(owner)
            elif self.roles[owner] == "nobody":
                self.missed.add(owner)
                self._set_blocker(owner, None, "off-boarding")
            else:
                self.missed.discard(owner)
                self._set_blocker(owner, "off-boarding", None)

    def _set_blocker(self, owner: str, before: str | None, after: str | None) -> None:
        for key in self.keys_of(owner).values():
            if key.blocker == before:
                key.blocker = after
