"""Step 1: what LiteLLM, Backstage and our own records say now. Changes nothing but the directory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass

from clients.backstage.catalog import Catalog
from clients.litellm.client import LiteLLM
from domain.identity import GroupRefs
from domain.offboarding import Progress, Snapshot
from domain.refs import canonical
from services.offboarding.findings import misspelt_ids
from services.users.sweep import DirectorySweep
from state.directory import Directory
from state.offboardings import Offboardings

_USERS_PER_CALL = 100
Beat = Callable[[Progress | None], Awaitable[None]]
"""Awaited after each step of reading, with the progress once it is known: renews a lease, records the progress."""


@dataclass(frozen=True, kw_only=True)
class SnapshotReader:
    """Reads snapshots."""

    catalog: Catalog
    litellm: LiteLLM
    directory: Directory
    sweep: DirectorySweep
    offboardings: Offboardings
    groups: GroupRefs

    async def read(self, beat: Beat, *, is_dry_run: bool = False) -> Snapshot:
        """A snapshot, or the error of the part that is missing. Raises UpstreamError, and what `beat` raises.

        Reads the catalog after LiteLLM, so a user who joins meanwhile counts as a member. Those who seem to have left
        are looked up in LiteLLM: the directory may be old. A dry run does not advance the sweep of a large directory,
        because somebody waits for it.
        """

        async def each_page() -> None:
            await beat(None)

        await self.sweep.run(each_page, only_small=is_dry_run)
        members = await self._members_of(self.groups.allowed, each_page)
        admins = await self._members_of(self.groups.admin, each_page)
        await each_page()
        offboardings, sweep = await self.offboardings.all(), await self.directory.sweep()
        gone = await self._without(members | admins)
        keys = await self._keys_of(sorted(gone | offboardings.keys()), beat)
        users = await self.directory.count()
        findings = await misspelt_ids(self.directory)
        return Snapshot(members, admins, users, sweep.swept_at, gone & keys.keys(), keys, offboardings, findings)

    async def _members_of(self, groups: Iterable[str], each_page: Callable[[], Awaitable[None]]) -> frozenset[str]:
        members: frozenset[str] = frozenset()
        for group in groups:
            members |= await self.catalog.members_of(group, each_page)
        return members

    async def _without(self, staying: Collection[str]) -> frozenset[str]:
        gone: set[str] = set()
        async for chunk in self.directory.ids():
            gone.update(user_id for user_id in chunk if canonical(user_id) not in staying)
        return frozenset(gone)

    async def _keys_of(self, user_ids: list[str], beat: Beat) -> dict[str, int]:
        """The number of keys of those users who exist."""
        keys: dict[str, int] = {}
        for start in range(0, len(user_ids), _USERS_PER_CALL):
            keys |= await self.litellm.count_keys(user_ids[start : start + _USERS_PER_CALL])
            await beat(Progress(min(start + _USERS_PER_CALL, len(user_ids)), len(user_ids)))
        return keys
