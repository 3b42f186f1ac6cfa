"""Rotating a key: a new key replaces the old one, which keeps working for an overlap.

The new key is compared with the old one before the old one's revocation is scheduled, and the revocation is written in
the transaction that also keeps the answer. So at every moment one of them works, and the old one always ends. What the
old one had replaced itself ends with that transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from domain.actions import Action
from domain.identity import Principal
from domain.keys import (
    KEY_LIMITS,
    CreatedKey,
    DescribedKey,
    Key,
    KeyAnnotations,
    KeyVersion,
    NewKey,
    Revocation,
    RotatedKey,
    RotationRequest,
)
from services.changes.change import Change, Created
from services.changes.changes import Changes
from services.keys.issuer import KeyIssuer
from services.keys.keys import Keys
from services.keys.revoke import RevokeKeys
from services.keys.rules import KeyRules
from services.users.users import Users
from state.events import Events
from state.rates import RatePolicy


@dataclass(frozen=True, kw_only=True)
class RotateKey:
    """Replaces a key of a user."""

    changes: Changes
    users: Users
    keys: Keys
    rules: KeyRules
    issuer: KeyIssuer
    revoke_keys: RevokeKeys
    events: Events
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

        By stable id the old one is the newest version. Raises NotAllowedError, InputError, NotFoundError,
        PreconditionFailedError, ConflictError (blocked, expired, replaced, alias taken, or with properties that a new
        key would lose), RateLimitedError, IdempotencyKeyReusedError, UpstreamError.
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
            old_id, _ = await self.keys.find(change, user_id, key_id)
            old = await self.keys.read(user_id, old_id, expected=expected)
            change.key_version = old.key.key_version
            life = await self.rules.check_replacement(principal, change.scope, old, requested)
            version = await self._next_version(old.key)
            new = _new_key(old.key, requested, change.operation, life, version)
            created = await self.issuer.create_from(old_id, user_id, new, changed=requested.keys() & set(KEY_LIMITS))
            due_now, rotated = await self._schedule(change, old, created, version, requested.get("overlap", 0))
        for revocation in due_now:
            await self.revoke_keys.try_to_revoke(revocation)
        return Created(rotated, change.rate)

    async def _next_version(self, old: Key) -> KeyVersion:
        """That of the key that replaces it. What an earlier rotation made keeps its number, also if it is gone."""
        stable_id, number = old.key_version.stable_id, old.key_version.number
        last = await self.events.last_version(old.owner, stable_id)
        return KeyVersion(stable_id, max(number, last or 0) + 1)

    async def _schedule(
        self, change: Change, old: DescribedKey, created: CreatedKey, version: KeyVersion, overlap: int
    ) -> tuple[list[Revocation], RotatedKey]:
        async with change.transaction() as connection:
            await self.issuer.schedule_owner_check(connection, created.key_id, created.user_id, version)
            ending, at_once = await self.revoke_keys.schedule(connection, old, created, overlap)
            older = [row.key_id for row in at_once]
            rotated = RotatedKey(
                created.user_id,
                created.key_id,
                created.secret,
                ending.key_id,
                ending.revoke_at,
                older,
                version.stable_id,
                version.number,
            )
            after: dict[str, Any] = {"replacedBy": created.key_id, "version": version.number}
            after |= {"revokedAtOnce": older} if older else {}
            await change.done(rotated, after=after, connection=connection)
        return at_once + ([ending] if overlap == 0 else []), rotated


def _new_key(old: Key, requested: RotationRequest, operation: str, life: int | None, version: KeyVersion) -> NewKey:
    annotations = old.to_annotate
    copied = {name: old.fields.get(name) for name in KEY_LIMITS}
    values = copied | {name: value for name, value in requested.items() if name in KEY_LIMITS}
    return NewKey(
        KeyAnnotations(
            requested.get("alias", annotations.alias),
            requested.get("metadata", annotations.metadata),
            operation,
            replaces=old.id,
            version=version,
        ),
        **values | {"models": tuple(values["models"] or ())},
        spend=old.fields["spend"],
        life=life,
        other_metadata=old.other_metadata,
    )
