"""Step 1: what LiteLLM, Backstage and our own records say now. Changes nothing but the directory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Container, Iterable, Sequence
from dataclasses import dataclass

from clients.backstage.catalog import Catalog, Members
from clients.litellm.client import LiteLLM
from domain.identity import GroupRefs
from domain.offboarding import FoundUser, Progress, Snapshot
from domain.refs import canonical, is_user
from services.offboarding.departures import Departures
from services.offboarding.findings import (
    hidden_groups,
    known_secrets,
    misspelt_ids,
    same_addresses,
    unmanaged_owners,
)
from services.owners.known_secrets import SecretsKnown
from services.owners.owners import Owners
from services.users.sweep import DirectorySweep
from state.directory import Directory

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
    departures: Departures
    groups: GroupRefs
    owners: Owners
    known: SecretsKnown

    async def read(self, beat: Beat, now: float, *, is_dry_run: bool = False) -> Snapshot:
        """A snapshot, or the error of the part that is missing. Raises UpstreamError, and what `beat` raises.

        Reads the catalog after LiteLLM, so a user who joins meanwhile counts as a member. Those who seem to have left
        are looked up in LiteLLM: the directory may be old. A dry run does not advance the sweep of a large directory,
        because somebody waits for it. `now` is in seconds since the epoch.
        """

        async def each_page() -> None:
            await beat(None)

        await self.sweep.run(each_page, only_small=is_dry_run)
        allowed = await self._members_of(self.groups.allowed, each_page)
        admin = await self._members_of(self.groups.admin, each_page)
        owners, here = await self.owners.all(each_page), await self.directory.software()
        software = frozenset(ref for ref, uid in here.items() if ref in owners and owners[ref].entity.uid == uid)
        await each_page()
        record, sweep = await self.departures.read(each_page, now), await self.directory.sweep()
        people = allowed.users | admin.users
        gone = await self._without(people | software, record.offboardings)
        departed = {ref: uid for ref, uid in here.items() if ref not in software}
        found = await self._find(gone, beat)
        return Snapshot(
            members=allowed.users,
            admins=admin.users,
            users=await self.directory.count(),
            swept_at=sweep.swept_at,
            found=found,
            offboardings=record.offboardings,
            deletions=record.deletions,
            new_owners=record.new_owners,
            newest_key_at=record.newest_key_at,
            findings=(
                *await misspelt_ids(self.directory),
                *await same_addresses(self.directory, found),
                *hidden_groups({**allowed.hidden, **admin.hidden}),
                *known_secrets(await self.known.of_leavers(filter(is_user, found)) if here else ()),
                *await unmanaged_owners(self.catalog, [owners[ref] for ref in sorted(software)], people, each_page),
            ),
            software=software,
            departures=await self.owners.departures(departed, owners),
            orphans=len(allowed.orphans | admin.orphans),
        )

    async def _members_of(self, groups: Iterable[str], each_page: Callable[[], Awaitable[None]]) -> Members:
        each = [await self.catalog.members_of(group, each_page) for group in groups]
        hidden = {ref: children for members in each for ref, children in members.hidden.items()}
        users = frozenset[str]().union(*(members.users for members in each))
        orphans = frozenset[str]().union(*(members.orphans for members in each))
        return Members(users, orphans, hidden)

    async def _without(self, staying: Container[str], leaving: Collection[str]) -> list[str]:
        """The users in the directory who are not `staying`, and those who are known to be leaving."""
        gone = list(leaving)
        async for chunk in self.directory.ids():
            gone += (user_id for user_id in chunk if user_id not in leaving and canonical(user_id) not in staying)
        return gone

    async def _find(self, user_ids: Sequence[str], beat: Beat) -> dict[str, FoundUser]:
        """Those of the users who exist."""
        found: dict[str, FoundUser] = {}
        for start in range(0, len(user_ids), _USERS_PER_CALL):
            some = user_ids[start : start + _USERS_PER_CALL]
            users = await self.litellm.find_users(some)
            # By the ids that are in memory already: there may be very many.
            found |= {user_id: users[user_id] for user_id in some if user_id in users}
            await beat(Progress(min(start + _USERS_PER_CALL, len(user_ids)), len(user_ids)))
        return found
