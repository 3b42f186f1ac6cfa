"""Reading a user's keys. Ownership is checked on every read: a key of another user does not exist here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from clients.litellm.client import LiteLLM
from domain.errors import NotFoundError
from domain.identity import Permission, Principal
from domain.keys import DescribedKey, Key, KeyStatus, Revocation, is_stable_id
from domain.pages import Page, cursor_of, position_in
from domain.resource_versions import require_version
from services.access import authorize
from services.changes.change import Change
from services.users.users import Users
from state.revocations import Revocations


@dataclass(frozen=True, kw_only=True)
class Keys:
    """Lists and reads keys. Ids are user refs in lower case and hashes of keys; some methods take a stable id too.

    `now` is in seconds since the epoch.
    """

    litellm: LiteLLM
    users: Users
    revocations: Revocations
    now: Callable[[], float]

    async def page(
        self,
        principal: Principal,
        user_id: str,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        alias: str | None = None,
        status: str | None = None,
    ) -> Page[DescribedKey]:
        """The user's keys, newest first; all of them without a `limit`.

        Raises NotAllowedError, InputError, NotFoundError (another's user who does not exist), UpstreamError.
        """
        scope = authorize(principal, Permission.KEYS_READ, user_id)
        after = position_in(cursor, str, str)
        await self.users.ensure_own(principal, user_id)
        keys = await self.litellm.show_keys(user_id)
        if not keys:
            await self.users.require(scope, user_id)
        rest = keys if after is None else [key for key in keys if key.position < after]
        matching = [key for key in rest if self._matches(key, alias, status)]
        shown = matching[:limit]
        next_cursor = cursor_of(*shown[-1].position) if len(matching) > len(shown) else None
        return Page(_described(shown, await self._revocations_among(user_id, keys)), next_cursor)

    async def get(self, principal: Principal, user_id: str, key_id: str) -> DescribedKey:
        """One key: by its stable id, its newest version.

        Raises NotAllowedError, NotFoundError (also for a key of another user), UpstreamError.
        """
        authorize(principal, Permission.KEYS_READ, user_id)
        await self.users.ensure_own(principal, user_id)
        if not is_stable_id(key_id):
            return await self.show(user_id, key_id)
        newest = next(iter(await self.litellm.versions_of(user_id, key_id)), None)
        return await self._describe(newest, user_id, None)

    async def versions(self, user_id: str, stable_id: str) -> list[Key]:
        """What a change by stable id is about: the versions that LiteLLM has, the newest first.

        Those that they replaced and that still work for their overlap are among them, whatever became of their
        annotations. Raises NotFoundError, UpstreamError.
        """
        found = await self.litellm.versions_of(user_id, stable_id)
        if not found:
            raise no_such_key(user_id)
        known = {key.id for key in found}
        for row in await self.revocations.of_user(user_id):
            if row.replaced_by in known and row.key_id not in known:
                replaced = await self.litellm.show_key(user_id, row.key_id)
                found += [] if replaced is None else [replaced]
        return found

    async def find(self, change: Change, user_id: str, key_id: str) -> tuple[str, list[Key]]:
        """The hash of the key that a change is about, and the other versions that it is about by stable id.

        Under the lock of the change, so that no rotation makes another version the newest; the change records them.
        Raises NotFoundError, UpstreamError.
        """
        if not is_stable_id(key_id):
            return key_id, []
        newest, *others = await self.versions(user_id, key_id)
        await change.find(newest, newest.changeable | {"versions": [newest.id, *(key.id for key in others)]})
        return newest.id, others

    async def show(self, user_id: str, key_id: str, *, expected: frozenset[str] | None = None) -> DescribedKey:
        """The user's key with what can be read of it, for a caller whose authority is checked.

        Raises NotFoundError, PreconditionFailedError unless it has one of the `expected` versions, UpstreamError.
        """
        return await self._describe(await self.litellm.show_key(user_id, key_id), user_id, expected)

    async def read(self, user_id: str, key_id: str, *, expected: frozenset[str] | None = None) -> DescribedKey:
        """As `show`, for decisions: UpstreamFaultError also if the key is odd where a decision may look."""
        return await self._describe(await self.litellm.read_key(user_id, key_id), user_id, expected)

    async def _describe(self, key: Key | None, user_id: str, expected: frozenset[str] | None) -> DescribedKey:
        if key is None:
            raise no_such_key(user_id)
        (described,) = _described([key], await self.revocations.of_user(user_id))
        require_version(described.version, expected, "key")
        return described

    async def read_among(
        self, user_id: str, key_id: str, *, expected: frozenset[str] | None
    ) -> tuple[DescribedKey, list[Key]]:
        """As `read`, with the same call of LiteLLM as `active`, which is returned beside the key."""
        keys = await self.litellm.list_keys(user_id)
        key = next((key for key in keys if key.id == key_id), None)
        return await self._describe(key, user_id, expected), await self._active_among(keys, user_id)

    async def active(self, user_id: str) -> list[Key]:
        """The user's keys except those that another unexpired key has replaced."""
        return await self._active_among(await self.litellm.list_keys(user_id), user_id)

    async def _active_among(self, keys: list[Key], user_id: str) -> list[Key]:
        replacements = {key.id for key in keys if key.to_annotate.replaces and self._is_unexpired(key)}
        if not replacements:
            return keys
        replaced = {row.key_id for row in await self.revocations.of_user(user_id) if row.replaced_by in replacements}
        return [key for key in keys if key.id not in replaced]

    async def _revocations_among(self, user_id: str, keys: Sequence[Key]) -> Sequence[Revocation]:
        # A key that replaced another says so: of a replaced key without one, the replacement was deleted in LiteLLM.
        if not keys:
            return ()
        if any(key.to_annotate.replaces or "metadata" in key.odd for key in keys):
            return await self.revocations.of_user(user_id)
        return await self.revocations.usually_none(user_id)

    async def is_replaced(self, described: DescribedKey) -> bool:
        """Whether an unexpired key has replaced it. Raises UpstreamError."""
        if described.revocation is None:
            return False
        replacement = await self.litellm.read_key(described.key.owner, described.revocation.replaced_by)
        return replacement is not None and self._is_unexpired(replacement)

    def _is_unexpired(self, key: Key) -> bool:
        return key.status(self.now()) is not KeyStatus.EXPIRED

    def _matches(self, key: Key, alias: str | None, status: str | None) -> bool:
        return (alias is None or key.alias == alias) and (status is None or key.status(self.now()) == status)


def no_such_key(user_id: str) -> NotFoundError:
    """The error for a key that the user does not have."""
    return NotFoundError(f"{user_id} has no key with that id")


def _described(keys: Sequence[Key], revocations: Sequence[Revocation]) -> list[DescribedKey]:
    replaced_by: dict[str, list[Revocation]] = {}
    for row in revocations:
        replaced_by.setdefault(row.replaced_by, []).append(row)
    own = {row.key_id: row for row in revocations}
    return [DescribedKey(key, tuple(replaced_by.get(key.id, ())), own.get(key.id)) for key in keys]
