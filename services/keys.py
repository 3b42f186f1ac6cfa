"""A user's LiteLLM keys: create, list, delete, always proving whose they are."""

from __future__ import annotations

from clients.litellm import LiteLLM, MintedKey, no_such_user
from clients.litellm_fields import Key
from services.access import Access, Principal, authorize
from services.errors import NotFoundError
from services.users import Users


class Keys:
    """The keys of Backstage users. Ids are user refs in lower case and LiteLLM's key hashes."""

    def __init__(self, litellm: LiteLLM, users: Users) -> None:
        self._litellm = litellm
        self._users = users

    async def create(self, principal: Principal, user_id: str) -> MintedKey:
        """A new key. Raises NotAllowedError, NotFoundError for another's user that is not there, UpstreamError.

        LiteLLM mints keys for users that do not exist, and a user may be deleted while the key is made: so the user
        is looked for afterwards too, and a key that came out without an owner is deleted again.
        """
        access = authorize(principal, user_id)
        key = await self._mint(access, user_id)
        if key is None and access is Access.OWN:
            # The user was known here, but is gone from LiteLLM: that is noticed now, and they are made anew.
            key = await self._mint(access, user_id)
        if key is None:
            raise no_such_user(user_id)
        return key

    async def list(self, principal: Principal, user_id: str) -> list[Key]:
        """All keys, newest first. Raises NotAllowedError, NotFoundError for another's missing user, UpstreamError."""
        access = authorize(principal, user_id)
        if access is Access.OWN:
            await self._users.ensure_own(user_id)
        keys = await self._litellm.list_keys(user_id)
        if not keys and access is Access.FOR_ANOTHER:
            await self._require_user(access, user_id)
        return keys

    async def delete(self, principal: Principal, user_id: str, key_id: str) -> None:
        """Delete a key of this user. Raises NotAllowedError, NotFoundError also for another's key, UpstreamError."""
        if authorize(principal, user_id) is Access.OWN:
            await self._users.ensure_own(user_id)
        if await self._litellm.owner_of_key(key_id) != user_id:
            raise NotFoundError(f"{user_id} has no key with that id")
        await self._litellm.delete_key(key_id)

    async def _mint(self, access: Access, user_id: str) -> MintedKey | None:
        """A key, or None where its user went away while it was made; the key is deleted again then."""
        await self._require_user(access, user_id)
        key = await self._litellm.create_key(user_id)
        if await self._users.exists(user_id):
            return key
        await self._litellm.delete_key(key.key_id)
        return None

    async def _require_user(self, access: Access, user_id: str) -> None:
        if access is Access.OWN:
            await self._users.ensure_own(user_id)
        elif not await self._users.exists(user_id):
            raise no_such_user(user_id)
