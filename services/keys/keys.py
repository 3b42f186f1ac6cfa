"""A user's LiteLLM keys: list, read, change, delete, always proving whose they are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from clients.litellm.client import LiteLLM
from clients.litellm.rows import Key, KeyNote
from domain.errors import ChangedError, NotAllowedError, NotFoundError
from domain.pages import Page, cursor_of, position_in
from services import limits as key_terms
from services.access import Access, Principal, Role, authorize
from services.changes.audit import Action, Audit, Outcome
from services.changes.creations import Creations
from services.users.models import Models
from services.users.tiers import Tiers
from services.users.users import Users
from state.database import Database
from state.locks import Locks
from state.revocations import ReportedKeys, Revocation, Revocations

_CHANGEABLE = (*key_terms.LIMITS, "key_alias", "metadata", "blocked", "expires")


@dataclass(frozen=True)
class DescribedKey:
    """A key, what it replaced that still works, and what replaces it."""

    key: Key
    replaced: tuple[Revocation, ...] = ()
    revocation: Revocation | None = None

    @property
    def version(self) -> str:
        """Names what can be changed of the key as it is now: what it spends does not count."""
        state = [{name: self.key.row.get(name) for name in _CHANGEABLE}, self.revocation, self.replaced]
        return hashlib.sha256(orjson.dumps(state, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]


@dataclass(frozen=True)
class Neighbours:
    """What making and changing keys needs. `now` is in seconds since the epoch."""

    litellm: LiteLLM
    database: Database
    users: Users
    creations: Creations
    tiers: Tiers
    models: Models
    revocations: Revocations
    reported: ReportedKeys
    locks: Locks
    audit: Audit
    now: Callable[[], float]

    async def unreplaced(self, user_id: str) -> list[Key]:
        """The user's keys, but for those that another has replaced."""
        replaced = {row.key_id for row in await self.revocations.of_user(user_id)}
        return [key for key in await self.litellm.list_keys(user_id) if key.key_id not in replaced]


class Keys:
    """The keys of Backstage users. Ids are user refs in lower case and LiteLLM's key hashes."""

    def __init__(self, neighbours: Neighbours) -> None:
        self._litellm = neighbours.litellm
        self._users = neighbours.users
        self._tiers = neighbours.tiers
        self._models = neighbours.models
        self._revocations = neighbours.revocations
        self._unreplaced = neighbours.unreplaced
        self._reported = neighbours.reported
        self._locks = neighbours.locks
        self._audit = neighbours.audit
        self._now = neighbours.now

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
        """Keys, newest first; all of them without a `limit`. Raises NotAllowedError, InputError, UpstreamError.

        NotFoundError for another's user that is not there.
        """
        access = authorize(principal, user_id)
        after = position_in(cursor, str, str)
        if access is Access.OWN:
            await self._users.ensure_own(principal)
        keys = await self._litellm.list_keys(user_id)
        if not keys and access is Access.FOR_ANOTHER:
            await self._users.require(principal, user_id)
        fitting = [key for key in keys if (after is None or key.position < after) and self._fits(key, alias, status)]
        shown = fitting if limit is None else fitting[:limit]
        more = cursor_of(*shown[-1].position) if len(fitting) > len(shown) else None
        return Page(await self._described(user_id, shown, keys), more)

    async def get(self, principal: Principal, user_id: str, key_id: str) -> DescribedKey:
        """The key. Raises NotAllowedError, NotFoundError also for another's key, UpstreamError."""
        if authorize(principal, user_id) is Access.OWN:
            await self._users.ensure_own(principal)
        return _with_revocations(await self._read(user_id, key_id), await self._revocations.of_user(user_id))

    async def update(
        self, principal: Principal, user_id: str, key_id: str, asked: Mapping[str, Any], expected: frozenset[str] | None
    ) -> DescribedKey:
        """The key, changed as `asked` (see `key_terms`, and `blocked`), as LiteLLM then has it.

        `expected` are versions one of which it must still have, or ChangedError. Raises NotAllowedError, InputError,
        NotFoundError also for another's key, ConflictError for an alias that another has, UpstreamError.
        """
        async with self._audit.attempt(principal, Action.KEY_UPDATE, user_id, key_id) as attempt:
            access = authorize(principal, user_id)
            async with self._locks.hold(keys_of(user_id)):
                described = await self.get(principal, user_id, key_id)
                require_version(described, expected)
                key = described.key
                await self._check(principal, access, key, asked)
                changes = {name: asked[name] for name in (*key_terms.LIMITS, "blocked") if name in asked}
                await attempt.begin(before=_changeable(key), wanted=asked)
                await self._litellm.update_key(key, changes, _changed_note(key, asked, principal))
                changed = await self.get(principal, user_id, key_id)
                await attempt.conclude(Outcome.DONE, after=_changeable(changed.key))
                return changed

    async def delete(
        self, principal: Principal, user_id: str, key_id: str, expected: frozenset[str] | None = None
    ) -> None:
        """Delete a key of this user. Raises as `update` does, but InputError and ConflictError."""
        async with self._audit.attempt(principal, Action.KEY_DELETE, user_id, key_id) as attempt:
            described = await self.get(principal, user_id, key_id)
            require_version(described, expected)
            await attempt.begin(before=_changeable(described.key))
            await self._litellm.delete_key(key_id)
            await self._revocations.done(key_id)

    async def _read(self, user_id: str, key_id: str) -> Key:
        key = await self._litellm.read_key(user_id, key_id)
        if key is None:
            raise NotFoundError(f"{user_id} has no key with that id")
        return key

    async def _check(self, principal: Principal, access: Access, key: Key, asked: Mapping[str, Any]) -> None:
        key_terms.require_names(asked)
        await self._models.require_served(asked)
        user_id = key.row["user_id"]
        if access is Access.OWN:
            key_terms.require_within(await self._tiers.of(principal, user_id), asked)
        if asked.get("alias") is not None:
            key_terms.require_free_alias(asked["alias"], await self._unreplaced(user_id), key.key_id)
        if key.is_blocked and asked.get("blocked") is False:
            await self._require_unblockable(principal, key)

    async def _require_unblockable(self, principal: Principal, key: Key) -> None:
        if await self._reported.among([key.key_id]):
            raise NotAllowedError("This key was reported as leaked and stays blocked; make a new one")
        by = key.note.blocked_by if key.note else None
        if by != principal.subject and Role.ADMIN not in principal.roles:
            raise NotAllowedError("Only an admin may unblock a key that its owner did not block here")

    async def _described(self, user_id: str, shown: Sequence[Key], keys: Sequence[Key]) -> list[DescribedKey]:
        # Most users never rotated a key: nothing has to be looked up for them.
        if not any(key.note and key.note.replaces for key in keys):
            return [DescribedKey(key) for key in shown]
        revocations = await self._revocations.of_user(user_id)
        return [_with_revocations(key, revocations) for key in shown]

    def _fits(self, key: Key, alias: str | None, status: str | None) -> bool:
        if alias is not None and key.alias != alias:
            return False
        if status is None:
            return True
        over = key_terms.is_over(key, self._now())
        return status == ("expired" if over else "blocked" if key.is_blocked else "active")


def keys_of(user_id: str) -> str:
    """The name of the lock under which the keys of a user are made and changed, one at a time."""
    return f"keys of {user_id}"


def require_version(described: DescribedKey, expected: frozenset[str] | None) -> None:
    """Raise ChangedError unless the key is of an expected version; None expects nothing."""
    if expected is not None and described.version not in expected:
        raise ChangedError("The key has changed since; read it again")


def _with_revocations(key: Key, revocations: Sequence[Revocation]) -> DescribedKey:
    replaced = tuple(row for row in revocations if row.replaced_by == key.key_id)
    return DescribedKey(key, replaced, next((row for row in revocations if row.key_id == key.key_id), None))


def _changed_note(key: Key, asked: Mapping[str, Any], principal: Principal) -> KeyNote:
    note = key.note or KeyNote(key.alias, key.foreign_metadata)
    note = replace(note, **{name: asked[name] for name in ("alias", "metadata") if name in asked})
    if "blocked" in asked and asked["blocked"] is not key.is_blocked:
        note = replace(note, blocked_by=principal.subject if asked["blocked"] else None)
    return note


def _changeable(key: Key) -> dict[str, Any]:
    return {name: key.row.get(name) for name in _CHANGEABLE}
