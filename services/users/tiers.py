"""The tier of an owner of keys: a person's is the first of `groupDefaults` that they are in, else `userDefaults`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from domain import refs
from domain.identity import Permission, Principal
from domain.users import Tier
from services.access import authorize
from services.owners.owners import Owners
from services.users.membership import CatalogMembership


@dataclass(frozen=True, kw_only=True)
class Tiers:
    """The tiers of people in order. Without a catalog, only the caller's own token says which groups they are in.

    Those of groups and components are the `owners`' to say.
    """

    groups: Sequence[Tier]
    defaults: Tier
    catalog: CatalogMembership | None
    owners: Owners

    async def own(self, principal: Principal) -> Tier:
        """The caller's tier. Raises NotAllowedError, UpstreamError."""
        authorize(principal, Permission.USERS_READ, principal.subject)
        return await self.of(principal, principal.subject)

    async def of(self, principal: Principal, user_id: str) -> Tier:
        """The tier of the owner `user_id`, on behalf of `principal`. Raises UpstreamError."""
        if refs.is_software(user_id):
            return await self.owners.tier_of(user_id)
        for tier in self.groups:
            if await self._is_in(principal, user_id, tier.name):
                return tier
        return self.defaults

    async def _is_in(self, principal: Principal, user_id: str, group: str) -> bool:
        if self.catalog is None:
            return principal.subject == user_id and group in principal.groups
        return (await self.catalog.is_in(user_id, group)).value
