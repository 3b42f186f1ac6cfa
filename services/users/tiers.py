"""The tier of a user: the first group of `groupDefaults` that they are in, else `userDefaults`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from clients.backstage.catalog import GroupMissingError
from domain.identity import Permission, Principal
from domain.users import Tier
from services.access import authorize
from services.users.membership import CatalogMembership

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Tiers:
    """The tiers in order. Without a catalog, only the caller's own token says which groups they are in."""

    groups: Sequence[Tier]
    defaults: Tier
    catalog: CatalogMembership | None

    async def own(self, principal: Principal) -> Tier:
        """The caller's tier. Raises NotAllowedError, UpstreamError."""
        authorize(principal, Permission.USERS_READ, principal.subject)
        return await self.of(principal, principal.subject)

    async def of(self, principal: Principal, user_id: str) -> Tier:
        """The tier of the user `user_id`, on behalf of `principal`. Raises UpstreamError."""
        for tier in self.groups:
            if await self._is_in(principal, user_id, tier.name):
                return tier
        return self.defaults

    async def _is_in(self, principal: Principal, user_id: str, group: str) -> bool:
        if self.catalog is None:
            return principal.subject == user_id and group in principal.groups
        try:
            return await self.catalog.is_in(user_id, group)
        except GroupMissingError:
            log.warning("a group of groupDefaults does not exist in the catalog", group=group)
            return False
