"""Rotating a key: a new key replaces the old one, which keeps working for an overlap.

The new key is verified before the old one's revocation is scheduled, and the revocation is written in the transaction
that also keeps the answer. So at every moment one of them works, and the old one always ends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from domain.audit import Action
from domain.errors import ConflictError, NotFoundError, UpstreamFaultError
from domain.identity import Principal
from domain.keys import (
    LIMITS,
    CreatedKey,
    DescribedKey,
    Key,
    KeyAnnotations,
    KeyStatus,
    NewKey,
    Revocation,
    RotatedKey,
    RotationRequest,
)
from services import limits
from services.access import Access
from services.changes.change import Change, Created
from services.changes.changes import Changes
from services.keys.issuer import KeyIssuer
from services.keys.keys import Keys
from services.keys.policy import KeyPolicy
from services.keys.revoke import RevokeKeys
from services.users.tiers import Tiers
from services.users.users import Users
from state.rates import RatePolicy
from state.revocations import ReportedKeys

_SET_BY_OTHERS = (
    "team_id",
    "aliases",
    "soft_budget",
    "budget_limits",
    "budget_fallbacks",
    "model_max_budget",
    "tpd_limit",
    "tpm_limit_per_model",
    "rpm_limit_per_model",
    "max_parallel_requests",
    "allowed_cache_controls",
    "access_group_ids",
    "auto_rotate",
)
"""Properties that this service does not set, and that a new key would therefore lose."""


@dataclass(frozen=True, kw_only=True)
class RotateKey:
    """Replaces a key of a user."""

    changes: Changes
    users: Users
    replacement: Replacement
    issuer: KeyIssuer
    revoke_keys: RevokeKeys
    rate: RatePolicy

    async def __call__(
        self,
        principal: Principal,
        user_id: str,
        key_id: str,
        requested: RotationRequest,
        *,
        expected: frozenset[str] | None,
        idempotency_key: str | None,
    ) -> Created[RotatedKey]:
        """The new key with its secret. The old one must have one of the `expected` versions; None means any.

        Raises NotAllowedError, InputError, NotFoundError, PreconditionFailedError, ConflictError (blocked, expired,
        replaced, or alias taken), RateLimitedError, IdempotencyKeyReusedError, UpstreamError.
        """
        await self.users.ensure_own(principal, user_id)
        async with self.changes.begin(
            principal,
            Action.KEY_REGENERATE,
            user_id,
            key_id=key_id,
            requested=requested,
            idempotency_key=idempotency_key,
            rate=self.rate,
        ) as change:
            if change.kept_answer is not None:
                return Created(RotatedKey(**change.kept_answer), change.rate)
            await self.issuer.delete_abandoned(user_id, change.interrupted)
            new = await self.replacement.of(
                principal, change, owner=user_id, key_id=key_id, requested=requested, expected=expected
            )
            created = await self.issuer.create(user_id, new)
            await self.replacement.verify(created)
            revocation, rotated = await self._schedule(change, key_id, created, requested.get("overlap", 0))
        if requested.get("overlap", 0) == 0:
            await self.revoke_keys.try_to_revoke(revocation)
        return Created(rotated, change.rate)

    async def _schedule(
        self, change: Change, key_id: str, created: CreatedKey, overlap: int
    ) -> tuple[Revocation, RotatedKey]:
        async with change.transaction() as connection:
            revocation = await self.revoke_keys.schedule(connection, key_id, created, overlap)
            rotated = RotatedKey(created.user_id, created.key_id, created.secret, key_id, revocation.revoke_at)
            await change.done(rotated, after={"replacedBy": created.key_id}, connection=connection)
        return revocation, rotated


@dataclass(frozen=True, kw_only=True)
class Replacement:
    """The key that replaces another: its properties, and whether it may. `now` is in seconds since the epoch."""

    keys: Keys
    policy: KeyPolicy
    tiers: Tiers
    reported: ReportedKeys
    now: Callable[[], float]

    async def of(
        self,
        principal: Principal,
        change: Change,
        *,
        owner: str,
        key_id: str,
        requested: RotationRequest,
        expected: frozenset[str] | None,
    ) -> NewKey:
        """The properties of the old key, changed as requested. Raises what `RotateKey` raises."""
        old = await self.keys.read(owner, key_id, expected=expected)
        await self._require_replaceable(old)
        life = await self._life(principal, change.access, old.key, requested)
        if requested.get("alias") is not None:
            limits.require_free_alias(requested["alias"], await self.keys.active(owner), except_id=key_id)
        return _new_key(old.key, requested, change.operation, life)

    async def verify(self, created: CreatedKey) -> None:
        """Raises UpstreamFaultError if LiteLLM does not have the new key."""
        try:
            await self.keys.read(created.user_id, created.key_id)
        except NotFoundError as error:
            raise UpstreamFaultError("LiteLLM does not list the key that it created") from error

    async def _life(self, principal: Principal, access: Access, old: Key, requested: RotationRequest) -> int | None:
        life = await self.policy.check(access, await self.tiers.of(principal, old.owner), requested)
        if requested.keys() & {"expires_in", "expires_at"} or old.expires_at is None:
            return life
        return max(1, int(old.expires_at - self.now()))

    async def _require_replaceable(self, old: DescribedKey) -> None:
        key = old.key
        if old.revocation is not None:
            raise ConflictError("This key was replaced already; rotate the key that replaced it")
        if key.status(self.now()) is KeyStatus.EXPIRED:
            raise ConflictError("This key has expired; create a new one")
        if lost := _lost_properties(key):
            raise ConflictError(f"A new key would lose properties that were set elsewhere: {', '.join(lost)}")
        if key.is_blocked and not await self.reported.among([key.id]):
            raise ConflictError("This key is blocked; unblock it first")


def _new_key(old: Key, requested: RotationRequest, operation: str, life: int | None) -> NewKey:
    annotations = old.annotations or KeyAnnotations(old.alias, old.other_metadata)
    copied = {name: old.fields.get(name) for name in LIMITS}
    values = copied | {name: value for name, value in requested.items() if name in LIMITS}
    return NewKey(
        KeyAnnotations(
            requested.get("alias", annotations.alias),
            requested.get("metadata", annotations.metadata),
            operation,
            replaces=old.id,
        ),
        **values | {"models": tuple(values["models"] or ())},
        spend=old.fields["spend"],
        life=life,
        other_metadata=old.other_metadata,
    )


def _lost_properties(key: Key) -> list[str]:
    lost = [name for name in _SET_BY_OTHERS if key.fields.get(name)]
    routes = key.fields.get("allowed_routes")
    return lost + (["allowed_routes"] if routes and routes != ["llm_api_routes"] else [])
