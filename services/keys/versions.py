"""What is known of the versions of a key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from clients.litellm.client import LiteLLM
from domain.identity import Permission, Principal
from domain.keys import Key, is_stable_id
from domain.lineage import Lineage
from domain.times import text_of
from services.access import authorize
from services.keys.keys import no_such_key
from services.users.users import Users
from state.events import Events
from state.revocations import Revocations


@dataclass(frozen=True, slots=True)
class KnownVersion:
    """A version of a key, under the hash `token`. Times are ISO 8601; None is not known.

    `status` is a `KeyStatus`, or `deleted`. `is_recorded`: the audit log has its creation, and thus `created_by`.
    """

    version: int
    token: str
    status: str
    created_at: str | None
    created_by: str | None
    is_recorded: bool
    revoked_at: str | None
    revoke_at: str | None
    last_used_at: str | None


@dataclass(frozen=True, slots=True)
class KnownVersions:
    """Those of the key `stable_id`, the newest first, and the number of the others that there were."""

    stable_id: str
    versions: Sequence[KnownVersion]
    unknown: int


@dataclass(frozen=True, kw_only=True)
class KeyVersions:
    """Reads LiteLLM's keys and the audit log. `now` is in seconds since the epoch."""

    litellm: LiteLLM
    users: Users
    revocations: Revocations
    events: Events
    now: Callable[[], float]

    async def of(self, principal: Principal, user_id: str, key_id: str) -> KnownVersions:
        """The versions of the key with this stable id, or to which this hash belongs.

        Nothing is invented: a version that neither LiteLLM nor the log has is only counted. Raises NotAllowedError,
        NotFoundError (also for another's key), UpstreamError.
        """
        authorize(principal, Permission.KEYS_READ, user_id)
        await self.users.ensure_own(principal, user_id)
        stable_id = await self._stable_id(user_id, key_id)
        keys = await self.litellm.versions_of(user_id, stable_id)
        earlier = await self._earlier_owners(user_id, stable_id, has_it=bool(keys))
        lineage = Lineage.of(keys, await self.events.history(user_id, stable_id, earlier))
        found = lineage.numbered(stable_id)
        if not found:
            raise no_such_key(user_id)
        living = {key.id: key for key in keys}
        ends = {row.key_id: row.revoke_at for row in await self.revocations.of_user(user_id)}
        versions = []
        for number, token in found.items():
            made = _creation(lineage, token)
            if token in living:
                made |= self._living(living[token], ends.get(token))
            versions.append(KnownVersion(version=number, token=token, **_gone(lineage, token) | made))
        return KnownVersions(stable_id, versions, unknown=max(found) - len(found))

    def _living(self, key: Key, revoke_at: float | None) -> dict[str, Any]:
        created = {"created_at": key.created_at} if key.created_at else {}
        times = {"revoked_at": None, "revoke_at": _text(revoke_at), "last_used_at": key.fields.get("last_active")}
        return created | times | {"status": key.status(self.now())}

    async def _stable_id(self, user_id: str, key_id: str) -> str:
        """Raises NotFoundError if neither LiteLLM nor the log has a key of this user with that hash."""
        if is_stable_id(key_id):
            return key_id
        key = await self.litellm.show_key(user_id, key_id)
        if key is not None:
            return key.key_version.stable_id
        version = Lineage.of([], await self.events.history(user_id, None)).versions.get(key_id)
        if version is None:
            raise no_such_key(user_id)
        return version.stable_id

    async def _earlier_owners(self, user_id: str, stable_id: str, *, has_it: bool) -> Sequence[str]:
        """From whom the key came by transfers. Raises NotFoundError if it went to another one: it may still work."""
        owners = [user_id]
        for owner in owners:
            transfers = await self.events.transfers(owner, stable_id)
            if owner == user_id and transfers and not has_it and transfers[0].to != user_id:
                raise no_such_key(user_id)
            owners += {transfer.giver for transfer in transfers} - {*owners}
        return owners[1:]


def _creation(lineage: Lineage, token: str) -> dict[str, Any]:
    event = lineage.created.get(token)
    if event is None:
        return {"created_at": None, "created_by": None, "is_recorded": False}
    return {"created_at": text_of(event.started_at), "created_by": event.actor, "is_recorded": True}


def _gone(lineage: Lineage, token: str) -> dict[str, Any]:
    ended = lineage.ended.get(token)
    revoked_at = None if ended is None else _text(ended.ended_at)
    return {"status": "deleted", "revoked_at": revoked_at, "revoke_at": None, "last_used_at": None}


def _text(seconds: float | None) -> str | None:
    return None if seconds is None else text_of(seconds)
