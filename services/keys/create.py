"""New keys: checked against what their owner may have, and never left behind without an owner or without a reader."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clients.litellm.client import MintedKey, NewKey, no_such_user
from clients.litellm.rows import KeyNote
from domain.errors import NotFoundError
from services import limits as key_terms
from services.access import Access, Principal, authorize
from services.changes.audit import Action, Outcome
from services.changes.creations import Created, Creation
from services.keys.keys import Neighbours, keys_of
from settings.model import Tier


class Minting:
    """Makes keys. Ids are user refs in lower case."""

    def __init__(self, neighbours: Neighbours) -> None:
        self._litellm = neighbours.litellm
        self._database = neighbours.database
        self._users = neighbours.users
        self._creations = neighbours.creations
        self._tiers = neighbours.tiers
        self._models = neighbours.models
        self._unreplaced = neighbours.unreplaced
        self._locks = neighbours.locks
        self._audit = neighbours.audit
        self._now = neighbours.now

    async def create(
        self, principal: Principal, user_id: str, asked: Mapping[str, Any], idempotency_key: str | None
    ) -> Created[MintedKey]:
        """A new key as `asked` (see `key_terms`).

        Raises NotAllowedError also where the tier is exceeded, InputError, NotFoundError for another's user that is not
        there, ConflictError for an alias or a number of keys that cannot be, UpstreamError, and what `Creations.run`
        raises.
        """
        return await self._creations.run(
            principal,
            idempotency_key,
            ["createUserKey", user_id, asked],
            make=lambda creation: self._create(principal, user_id, asked, creation),
            load=MintedKey,
            permit=lambda: self._audit.permit(principal, Action.KEY_CREATE, user_id),
        )

    async def check(self, access: Access, tier: Tier, asked: Mapping[str, Any]) -> int | None:
        """Raise where `asked` makes no sense, or is not within the tier; answers the seconds that the key may live.

        A tier binds who serves themselves; an admin who acts for another may go beyond it.
        """
        key_terms.require_names(asked)
        await self._models.require_served(asked)
        life = key_terms.life_of(asked, self._now())
        if access is not Access.OWN:
            return life
        key_terms.require_within(tier, asked)
        return key_terms.life_within(tier, life)

    async def mint(self, principal: Principal, access: Access, user_id: str, new: NewKey) -> MintedKey:
        """A key with an owner, or NotFoundError.

        LiteLLM mints keys for users that do not exist, and a user may be deleted while the key is made: so the user
        is looked for afterwards too, and a key that came out without an owner is deleted again.
        """
        key = await self._mint(user_id, new)
        if key is None and access is Access.OWN:
            # The user was known here, but is gone from LiteLLM: that is noticed now, and they are made anew.
            await self._users.ensure_own(principal)
            key = await self._mint(user_id, new)
        if key is None:
            raise no_such_user(user_id)
        return key

    async def discard(self, user_id: str, operation: str | None) -> list[str]:
        """Delete what `operation` made and never handed out; answers the ids of those keys."""
        if operation is None:
            return []
        keys = [key for key in await self._litellm.list_keys(user_id) if key.note and key.note.operation == operation]
        for key in keys:
            await self.delete(key.key_id)
        return [key.key_id for key in keys]

    async def delete(self, key_id: str) -> None:
        """Delete a key that may be gone already."""
        try:
            await self._litellm.delete_key(key_id)
        except NotFoundError:
            return

    async def _create(
        self, principal: Principal, user_id: str, asked: Mapping[str, Any], creation: Creation
    ) -> MintedKey:
        async with self._audit.attempt(principal, Action.KEY_CREATE, user_id, operation=creation.operation) as attempt:
            access = authorize(principal, user_id)
            tier = await self._tiers.of(principal, user_id)
            async with self._locks.hold(keys_of(user_id)):
                await self._users.require(principal, user_id)
                await self.discard(user_id, creation.cut_short)
                life = await self.check(access, tier, asked)
                await self._require_place(user_id, tier, asked)
                note = KeyNote(asked.get("alias"), asked.get("metadata", {}), creation.operation)
                await attempt.begin(wanted=asked)
                minted = await self.mint(principal, access, user_id, _new_key(note, asked, life))
                async with self._database.transaction():
                    await attempt.conclude(Outcome.DONE, key_id=minted.key_id)
                    await creation.keep(minted.key_id, minted)
                return minted

    async def _mint(self, user_id: str, new: NewKey) -> MintedKey | None:
        key = await self._litellm.create_key(user_id, new)
        if await self._users.exists(user_id):
            return key
        await self.delete(key.key_id)
        return None

    async def _require_place(self, user_id: str, tier: Tier, asked: Mapping[str, Any]) -> None:
        if tier.max_keys is None and asked.get("alias") is None:
            return
        keys = await self._unreplaced(user_id)
        key_terms.require_free_alias(asked.get("alias"), keys)
        key_terms.require_room(tier, keys, self._now())


def _new_key(note: KeyNote, asked: Mapping[str, Any], life: int | None) -> NewKey:
    limits = {name: asked[name] for name in key_terms.LIMITS if name in asked}
    return NewKey(note, **limits | {"models": tuple(asked.get("models", ()))}, life=life)
