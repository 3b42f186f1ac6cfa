"""Creating a key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from domain.actions import Action
from domain.identity import Principal
from domain.keys import KEY_LIMITS, CreatedKey, KeyAnnotations, KeyRequest, NewKey
from services.changes.change import Created
from services.changes.changes import Changes
from services.keys.issuer import KeyIssuer
from services.keys.rules import KeyRules
from services.users.users import Users
from state.rates import RatePolicy


@dataclass(frozen=True, kw_only=True)
class CreateKey:
    """Creates a key for a user, within the limits of their tier."""

    changes: Changes
    users: Users
    rules: KeyRules
    issuer: KeyIssuer
    rate: RatePolicy

    async def __call__(
        self, principal: Principal, user_id: str, requested: KeyRequest, idempotency_key: str | None
    ) -> Created[CreatedKey]:
        """The new key with its secret.

        Raises NotAllowedError (also beyond the tier), InputError, NotFoundError (another person who is no user yet),
        ConflictError (alias taken, too many keys), RateLimitedError, IdempotencyKeyReusedError, UpstreamError.
        """
        await self.users.ensure_for_key(principal, user_id)
        async with self.changes.begin(
            principal,
            Action.KEY_CREATE,
            user_id,
            requested=requested,
            idempotency_key=idempotency_key,
            rate=self.rate,
        ) as change:
            if change.kept_answer is not None:
                return Created(CreatedKey(**change.kept_answer), change.rate)
            await self.users.require(change.scope, user_id)
            await self.issuer.delete_abandoned(user_id, change.interrupted)
            life = await self.rules.check_creation(principal, change.scope, user_id, requested)
            created = await self.issuer.create(user_id, _new_key(requested, change.operation, life))
            async with change.transaction() as connection:
                change.key_version = created.key_version
                await self.issuer.schedule_owner_check(connection, created.key_id, user_id, created.key_version)
                await change.done(created, key_id=created.key_id, connection=connection)
            return Created(created, change.rate)


def _new_key(requested: KeyRequest, operation: str, life: int | None) -> NewKey:
    annotations = KeyAnnotations(requested.get("alias"), requested.get("metadata", {}), operation)
    given: dict[str, Any] = {name: value for name, value in requested.items() if name in KEY_LIMITS}
    return NewKey(annotations, **given | {"models": tuple(requested.get("models", ()))}, life=life)
