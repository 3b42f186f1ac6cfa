"""What a plan rests on: who is in the groups, whose address is whose, and all of LiteLLM's users. Changes nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from clients.backstage.catalog import Catalog
from clients.litellm.accounts import LiteLLMAccounts
from clients.litellm.client import LiteLLM
from domain.adoption import (
    Account,
    AccountKeys,
    AdoptionConflict,
    AdoptionEntry,
    AdoptionOrder,
    AdoptionPlan,
    Candidate,
    Match,
)
from domain.directory import Window
from domain.identity import GroupRefs
from domain.offboarding import Progress
from domain.refs import canonical
from services.adoption.plan import Found, entry_of, is_done, make_plan, obstacles, unambiguous
from services.users.sweep import all_windows
from state.offboardings import Offboardings

_ACCOUNTS_PER_CALL = 50
Beat = Callable[[Progress | None], Awaitable[None]]
"""Awaited after each step of reading, with the progress once it is known: renews a lease, records the progress."""


@dataclass(frozen=True, slots=True)
class _People:
    """`allowed` are those in the groups. `owners` are all catalog users, by their address; empty if not asked for."""

    allowed: AbstractSet[str]
    owners: Mapping[str, Collection[str]]


@dataclass(slots=True)
class _Sighted:
    """What of LiteLLM's users was seen: who may be somebody's, by their ids, and the ids of the others."""

    candidates: dict[str, Candidate] = field(default_factory=dict)
    others: set[str] = field(default_factory=set)


@dataclass(frozen=True, kw_only=True)
class AdoptionReader:
    """Reads plans."""

    catalog: Catalog
    litellm: LiteLLM
    accounts: LiteLLMAccounts
    offboardings: Offboardings
    groups: GroupRefs

    async def read(self, order: AdoptionOrder, beat: Beat) -> AdoptionPlan:
        """The plan, from everything that there is, or the error of the part that is missing.

        Raises UpstreamError, and what `beat` raises.
        """
        people = await self._people(order, beat)
        sighted = _Sighted()
        async for window in all_windows(self.litellm):
            _sight(window, people, sighted)
            await beat(None)
        clear, conflicts = unambiguous(sighted.candidates.values())
        entries, more = await self._looked_at(clear, order, beat)
        return make_plan(order, entries, [*conflicts, *more], len(sighted.others))

    async def _people(self, order: AdoptionOrder, beat: Beat) -> _People:
        async def each_page() -> None:
            await beat(None)

        allowed: set[str] = set()
        for group in (*self.groups.allowed, *self.groups.admin):
            allowed |= (await self.catalog.members_of(group, each_page)).users
        owners: dict[str, set[str]] = defaultdict(set)
        for ref, address in (await self.catalog.addresses(each_page) if order.by_email else {}).items():
            owners[address].add(ref)
        return _People(allowed, owners)

    async def _looked_at(
        self, candidates: list[Candidate], order: AdoptionOrder, beat: Beat
    ) -> tuple[list[AdoptionEntry], list[AdoptionConflict]]:
        leaving = await self.offboardings.all()
        entries: list[AdoptionEntry] = []
        conflicts: list[AdoptionConflict] = []
        for start in range(0, len(candidates), _ACCOUNTS_PER_CALL):
            some = candidates[start : start + _ACCOUNTS_PER_CALL]
            found = await self.accounts.read([user_id for each in some for user_id in (each.account, each.owners[0])])
            for candidate in some:
                entry, theirs = await self.look(candidate, order, found, leaving)
                entries += [] if entry is None else [entry]
                conflicts += theirs
                await beat(None)
            await beat(Progress(start + len(some), len(candidates)))
        return entries, conflicts

    async def look(
        self, candidate: Candidate, order: AdoptionOrder, found: Mapping[str, Account], leaving: Collection[str]
    ) -> tuple[AdoptionEntry | None, list[AdoptionConflict]]:
        """What would be done with one account, or why not; neither if it is gone or nothing is left to do."""
        account, owner = found.get(candidate.account), found.get(candidate.owners[0])
        if account is None:
            return None, []
        keys = await self.accounts.keys_of(candidate.account)
        owner_keys = AccountKeys() if owner is None else await self.accounts.keys_of(candidate.owners[0])
        both = Found(candidate, account, keys, owner, owner_keys)
        if is_done(both, order):
            return None, []
        if conflicts := [*obstacles(both, leaving)]:
            return None, conflicts
        return entry_of(both), []


def _sight(window: Window, people: _People, sighted: _Sighted) -> None:
    """Notes whose the users of a window are. A user with a ref as their id is never another's by their address."""
    refs = {entry.user_id for entry in window.entries}
    found = {
        user_id: Candidate(user_id, (canonical(user_id),), Match.SPELLING)
        for user_id in refs
        if user_id != canonical(user_id) and canonical(user_id) in people.allowed
    }
    for stranger in window.strangers:
        addresses = {stranger.address, canonical(stranger.user_id)}
        owners = {owner for address in addresses for owner in people.owners.get(address, ())}
        if owners & people.allowed:
            found[stranger.user_id] = Candidate(stranger.user_id, tuple(sorted(owners)), Match.EMAIL)
    sighted.candidates |= found
    served = {user_id for user_id in refs if user_id == canonical(user_id)}
    sighted.others |= set(window.ids) - found.keys() - served
