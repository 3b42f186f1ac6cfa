"""A new secret for a key: the old one goes on working for a while, and is then deleted, whatever restarts meanwhile.

The new key is proved to be there before the old one's end is written down, and that is written down in the one
transaction that also keeps the answer: so at no moment are both gone, and the old one always ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from clients.litellm.client import NewKey
from clients.litellm.rows import Key, KeyNote
from domain.errors import ConflictError, OrchestratorError
from services import limits as key_terms
from services.access import Access, Principal, authorize
from services.changes.audit import Action, Outcome
from services.changes.creations import Created, Creation
from services.keys.create import Minting
from services.keys.keys import DescribedKey, Keys, Neighbours, keys_of, require_version
from state.revocations import Revocation

log = structlog.get_logger(__name__)

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
ROTATION = Principal("rotation", frozenset())
"""Who deletes replaced keys."""


@dataclass(frozen=True)
class RotatedKey:
    """The new key, with its secret; the old one, `revokes`, ends at `revoke_at` (seconds since the epoch)."""

    user_id: str
    key_id: str
    secret: str = field(repr=False)
    revokes: str
    revoke_at: float


class Rotation:
    """Replaces keys, and deletes those that were replaced when their time has come."""

    def __init__(self, neighbours: Neighbours, keys: Keys, minting: Minting) -> None:
        self._keys = keys
        self._minting = minting
        self._database = neighbours.database
        self._creations = neighbours.creations
        self._tiers = neighbours.tiers
        self._revocations = neighbours.revocations
        self._unreplaced = neighbours.unreplaced
        self._reported = neighbours.reported
        self._locks = neighbours.locks
        self._audit = neighbours.audit
        self._now = neighbours.now

    async def regenerate(
        self,
        principal: Principal,
        user_id: str,
        key_id: str,
        asked: Mapping[str, Any],
        *,
        expected: frozenset[str] | None,
        idempotency_key: str | None,
    ) -> Created[RotatedKey]:
        """A new key in the place of `key_id`, which ends `asked["overlap"]` seconds from now.

        The rest of `asked` overrides the old key's properties. Raises what `Keys.update` and `Creations.run` raise, and
        ConflictError for a key that is blocked, over, or replaced already.
        """
        return await self._creations.run(
            principal,
            idempotency_key,
            ["regenerateUserKey", user_id, key_id, asked],
            make=lambda creation: self._replace(principal, (user_id, key_id), asked, expected, creation),
            load=RotatedKey,
            permit=lambda: self._audit.permit(principal, Action.KEY_REGENERATE, user_id, key_id),
        )

    async def revoke_due(self) -> None:
        """Delete the keys whose time has come; what fails is tried again later."""
        for revocation in await self._revocations.take_due():
            await self._try_to_revoke(revocation)

    async def _replace(
        self,
        principal: Principal,
        whose_and_which: tuple[str, str],
        asked: Mapping[str, Any],
        expected: frozenset[str] | None,
        creation: Creation,
    ) -> RotatedKey:
        user_id, key_id = whose_and_which
        overlap = asked.get("overlap", 0)
        changes = {name: value for name, value in asked.items() if name != "overlap"}
        async with self._audit.attempt(
            principal, Action.KEY_REGENERATE, user_id, key_id, operation=creation.operation
        ) as attempt:
            access = authorize(principal, user_id)
            async with self._locks.hold(keys_of(user_id)):
                old = await self._keys.get(principal, user_id, key_id)
                require_version(old, expected)
                await self._minting.discard(user_id, creation.cut_short)
                await self._require_replaceable(old)
                new = await self._replacement(principal, access, old.key, changes, creation.operation)
                await attempt.begin(wanted={**changes, "overlap": overlap})
                minted = await self._minting.mint(principal, access, user_id, new)
                await self._keys.get(principal, user_id, minted.key_id)
                async with self._database.transaction():
                    planned = await self._revocations.plan(key_id, user_id, minted.key_id, revoke_in=overlap)
                    rotated = RotatedKey(user_id, minted.key_id, minted.secret, key_id, planned.revoke_at)
                    await attempt.conclude(Outcome.DONE, key_id=minted.key_id)
                    await creation.keep(minted.key_id, rotated)
        if overlap == 0:
            await self._try_to_revoke(planned)
        return rotated

    async def _try_to_revoke(self, revocation: Revocation) -> None:
        try:
            async with self._audit.attempt(
                ROTATION, Action.KEY_REVOKE, revocation.user_id, revocation.key_id
            ) as attempt:
                await attempt.begin(wanted={"replacedBy": revocation.replaced_by})
                await self._minting.delete(revocation.key_id)
                await self._revocations.done(revocation.key_id)
        except OrchestratorError as error:
            log.warning("a replaced key is not deleted yet", key=revocation.key_id, error=error.message)

    async def _require_replaceable(self, old: DescribedKey) -> None:
        key = old.key
        if old.revocation is not None:
            raise ConflictError("This key was replaced already; rotate the one that took its place")
        if key_terms.is_over(key, self._now()):
            raise ConflictError("This key has expired; make a new one")
        if uncarried := _uncarried(key):
            raise ConflictError(f"A new key would not keep what was set elsewhere: {', '.join(uncarried)}")
        if key.is_blocked and not await self._reported.among([key.key_id]):
            raise ConflictError("This key is blocked; unblock it first")

    async def _replacement(
        self, principal: Principal, access: Access, old: Key, changes: Mapping[str, Any], operation: str
    ) -> NewKey:
        user_id = old.row["user_id"]
        tier = await self._tiers.of(principal, user_id)
        life = await self._minting.check(access, tier, changes)
        if not changes.keys() & {"expires_in", "expires_at"}:
            expires = key_terms.expires_at(old)
            life = life if expires is None else max(1, int(expires - self._now()))
        if "alias" in changes:
            key_terms.require_free_alias(changes["alias"], await self._unreplaced(user_id), old.key_id)
        note = old.note or KeyNote(old.alias, old.foreign_metadata)
        kept = {name: old.row.get(name) for name in key_terms.LIMITS} | {"spend": old.row["spend"]}
        limits = kept | {name: value for name, value in changes.items() if name in key_terms.LIMITS}
        return NewKey(
            KeyNote(
                changes.get("alias", note.alias),
                changes.get("metadata", note.metadata),
                operation,
                replaces=old.key_id,
            ),
            **limits | {"models": tuple(limits["models"] or ())},
            life=life,
            foreign_metadata=old.foreign_metadata,
        )


def _uncarried(key: Key) -> list[str]:
    """What others set on the key that a new one would lose."""
    set_ = [name for name in _SET_BY_OTHERS if key.row.get(name)]
    routes = key.row.get("allowed_routes")
    return set_ + (["allowed_routes"] if routes and routes != ["llm_api_routes"] else [])
