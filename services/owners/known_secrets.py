"""Who knows the secrets of software: those who created or rotated the key, by the audit log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from clients.litellm.client import LiteLLM
from domain.identity import Permission, Principal
from domain.keys import Key
from domain.owners import KnownSecret, KnownSecrets, ReceivedSecret
from domain.refs import is_software
from services.access import authorize
from state.directory import Directory
from state.events import Events

_AT_ONCE = 500


@dataclass(frozen=True, kw_only=True)
class SecretsKnown:
    """Looks up which living keys of groups and components somebody received."""

    events: Events
    directory: Directory
    litellm: LiteLLM

    async def of(self, principal: Principal, user_id: str) -> KnownSecrets:
        """What `user_id` received, and of which keys the audit log does not know who did.

        Those are older than the log, or were made elsewhere. Raises NotAllowedError (it takes somebody who reads the
        whole audit log), UpstreamError.
        """
        authorize(principal, Permission.AUDIT_READ)
        living = await self._living(sorted(await self.directory.software()))
        received = await self.events.received_of(living)
        known = [_known(living[row.key_id], row) for row in received if row.by == user_id]
        by_somebody = {row.key_id for row in received}
        return KnownSecrets(user_id, known, [key for key_id, key in living.items() if key_id not in by_somebody])

    async def of_leavers(self, people: Iterable[str]) -> list[KnownSecret]:
        """What each of the `people` received: a call of LiteLLM for each owner concerned. Raises UpstreamError."""
        received: list[ReceivedSecret] = []
        for some in _chunks(sorted(people)):
            received += await self.events.received_by(some)
        owners = await self.events.owners_since({row.key_id: row.owner for row in received})
        living = await self._living(sorted({owner for owner in owners.values() if is_software(owner)}))
        return [_known(living[row.key_id], row) for row in received if row.key_id in living]

    async def _living(self, owners: Iterable[str]) -> Mapping[str, Key]:
        """The keys of the owners by id, without the short ones, which only software receives."""
        found = [key for owner in owners for key in await self.litellm.show_keys(owner)]
        return {key.id: key for key in found if key.source is None}


def _known(key: Key, received: ReceivedSecret) -> KnownSecret:
    return KnownSecret(received.by, key.owner, key.id, key.key_version.stable_id, key.alias, received.at)


def _chunks(people: list[str]) -> Iterable[list[str]]:
    return (people[start : start + _AT_ONCE] for start in range(0, len(people), _AT_ONCE))
