"""What somebody gets, and may have at most, by the first group of `groupDefaults` that they are in."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from clients.backstage.catalog import GroupMissingError
from services.access import Principal, authorize_member
from services.users.membership import CatalogMembership
from settings.model import Tier

log = structlog.get_logger(__name__)


class Tiers:
    """Group tiers in their order, over the defaults. With no `catalog` only a caller's own token tells their groups."""

    def __init__(self, groups: Sequence[Tier], defaults: Tier, catalog: CatalogMembership | None) -> None:
        self._groups = groups
        self._defaults = defaults
        self._catalog = catalog

    async def own(self, principal: Principal) -> Tier:
        """The caller's. Raises NotAllowedError, UpstreamError."""
        authorize_member(principal)
        return await self.of(principal, principal.subject)

    async def of(self, principal: Principal, user_id: str) -> Tier:
        """The tier of the user `user_id`, as `principal` asks for it. Raises UpstreamError."""
        for tier in self._groups:
            if await self._is_in(principal, user_id, tier.name):
                return tier
        return self._defaults

    async def _is_in(self, principal: Principal, user_id: str, group: str) -> bool:
        if self._catalog is None:
            return principal.subject == user_id and group in principal.groups
        try:
            return await self._catalog.is_in(user_id, group)
        except GroupMissingError:
            log.warning("a group of groupDefaults is not in the catalog", group=group)
            return False
