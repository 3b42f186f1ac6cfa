"""What is known of the versions of a key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from clients.litellm.client import LiteLLM
from domain.errors import NotFoundError
from domain.identity import Permission, Principal
from domain.keys import Key, is_stable_id
from domain.lineage import Lineage
from domain.times import text_of
from services.access import authorize
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
        keys = [] if stable_id is None else await self.litellm.versions_of(user_id, stable_id)
        earlier = await self.events.owners_of_key(user_id, stable_id) if stable_id is not None and keys else [user_id]
        events = await self.events.history(user_id, stable_id, earlier[1:])
        lineage = Lineage.of(keys, events)
        if stable_id is None and key_id in lineage.versions:
            stable_id = lineage.version(key_id).stable_id
            keys = await self.litellm.versions_of(user_id, stable_id)
            lineage = Lineage.of(keys, events)
        found = {} if stable_id is None else lineage.numbered(stable_id)
        if stable_id is None or not found:
            raise NotFoundError(f"{user_id} has no key with that id")
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

    async def _stable_id(self, user_id: str, key_id: str) -> str | None:
        """None if LiteLLM does not have the key with that hash."""
        if is_stable_id(key_id):
            return key_id
        key = await self.litellm.show_key(user_id, key_id)
        return None if key is None else key.key_version.stable_id


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
