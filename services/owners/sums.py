"""What groups and components may spend and spent in sum, for who sets `maxOwners`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from clients.backstage.catalog import no_pause
from clients.litellm.client import LiteLLM
from domain.identity import Permission, Principal
from domain.owners import EntryInSum, Owner, OwnerEntry, OwnersInSum, OwnerSum
from domain.users import User
from services.access import authorize
from services.owners.owners import Owners
from state.directory import Directory


@dataclass(frozen=True, kw_only=True)
class OwnerSums:
    """Sums up the groups and components that have a user in LiteLLM."""

    owners: Owners
    directory: Directory
    litellm: LiteLLM

    async def of_all(self, principal: Principal) -> OwnersInSum:
        """A call of LiteLLM for each 100 of them, and the pages of the catalog for each entry.

        Raises NotAllowedError (it takes somebody who reads all users), UpstreamError.
        """
        authorize(principal, Permission.USERS_READ)
        users = await self.litellm.read_users(sorted(await self.directory.software()))
        found = await self.owners.all(no_pause)
        matched = [found[ref] for ref in users if ref in found]
        entries = [_entry(entry, matched, users) for entry in self.owners.entries]
        return OwnersInSum(entries, _sum(user for ref, user in users.items() if ref not in found))


def _entry(entry: OwnerEntry, matched: Iterable[Owner], users: Mapping[str, User]) -> EntryInSum:
    entities = [owner.entity for owner in matched if owner.entry is entry]
    groups = sorted({group for entity in entities for group in entity.belongs_to})
    sums = {group: _sum(users[each.ref] for each in entities if group in each.belongs_to) for group in groups}
    return EntryInSum(entry, _sum(users[each.ref] for each in entities), sums)


def _sum(users: Iterable[User]) -> OwnerSum:
    found = [*users]
    budgets = [user.max_budget for user in found if user.max_budget is not None]
    is_bounded = len(budgets) == len(found)
    return OwnerSum(len(found), math.fsum(budgets) if is_bounded else None, math.fsum(user.spend for user in found))
