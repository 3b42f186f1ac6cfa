"""Who is a member and who is an admin: from the caller's token, or from the catalog."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cachetools import TTLCache

from clients.backstage.catalog import Catalog, CatalogUser
from domain.identity import Caller, GroupRefs, Principal, Role
from services.access import principal_from_token
from services.single_flight import SingleFlight

_MAX_USERS = 10_000
_MAX_GROUPS = 256


@dataclass(frozen=True, kw_only=True)
class TokenMembership:
    """Trusts the token until it expires, as the plugin does."""

    groups: GroupRefs

    async def principal(self, caller: Caller) -> Principal:
        """The caller with roles."""
        return principal_from_token(caller, self.groups)


class CatalogMembership:
    """Asks the catalog and caches its answers for `seconds`: leaving takes effect before the token expires."""

    def __init__(self, *, catalog: Catalog, groups: GroupRefs, seconds: float, now: Callable[[], float]) -> None:
        self._catalog = catalog
        self._groups = groups
        self._users: TTLCache[str, CatalogUser] = TTLCache(_MAX_USERS, ttl=seconds, timer=now)
        self._trees: TTLCache[str, frozenset[str]] = TTLCache(_MAX_GROUPS, ttl=seconds, timer=now)
        self._lookups: SingleFlight[CatalogUser] = SingleFlight()
        self._tree_lookups: SingleFlight[frozenset[str]] = SingleFlight()

    async def principal(self, caller: Caller) -> Principal:
        """The caller with roles. Service and plugin callers are not in the catalog. Raises UpstreamError."""
        if caller.service_role is not None or not caller.is_user:
            return principal_from_token(caller, self._groups)
        return Principal(caller.subject, await self.roles_of(caller.subject), caller.via, caller.ownership)

    async def roles_of(self, user: str) -> frozenset[Role]:
        """The roles that the catalog gives to `user`, a ref in lower case. Raises UpstreamError."""
        return frozenset([role for role, groups in self._groups.by_role.items() if await self._is_in_any(user, groups)])

    async def _is_in_any(self, user: str, groups: Iterable[str]) -> bool:
        for group in groups:
            if await self.is_in(user, group):
                return True
        return False

    async def is_in(self, user: str, group: str) -> bool:
        """Whether `user` is in `group` or, if nested groups count, in a group below it. Raises UpstreamError."""
        groups = (await self.user(user)).groups
        return bool(groups & await self._tree(group)) if groups else False

    async def user(self, user: str) -> CatalogUser:
        """The catalog's entry of `user`; an empty one if the catalog does not have them. Raises UpstreamError."""
        if (known := self._users.get(user)) is not None:
            return known
        return await self._lookups.run(user, lambda: self._read(user))

    async def _read(self, user: str) -> CatalogUser:
        found = self._users[user] = await self._catalog.user(user)
        return found

    async def _tree(self, group: str) -> frozenset[str]:
        if (known := self._trees.get(group)) is not None:
            return known
        return await self._tree_lookups.run(group, lambda: self._read_tree(group))

    async def _read_tree(self, group: str) -> frozenset[str]:
        found = self._trees[group] = await self._catalog.groups_under(group)
        return found
