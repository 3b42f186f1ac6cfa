"""Who is a member and who an admin: by the caller's token, or by asking the catalog."""

from __future__ import annotations

from collections.abc import Callable

from cachetools import TTLCache

from clients.backstage.catalog import Catalog, CatalogUser
from clients.backstage.tokens import Caller
from services.access import GroupRefs, Principal, Role, principal_from_token
from services.users.single_flight import SingleFlight

_REMEMBERED_USERS = 10_000
_REMEMBERED_GROUPS = 256


class TokenMembership:
    """What the token says, until it ends: as the plugin does."""

    def __init__(self, groups: GroupRefs) -> None:
        self._groups = groups

    async def principal(self, caller: Caller) -> Principal:
        """The caller with their roles."""
        return principal_from_token(caller, self._groups)


class CatalogMembership:
    """What the catalog says, remembered for `seconds`: leaving bites before the token ends, and nested groups count."""

    def __init__(self, catalog: Catalog, groups: GroupRefs, *, seconds: float, now: Callable[[], float]) -> None:
        self._catalog = catalog
        self._groups = groups
        self._users: TTLCache[str, CatalogUser] = TTLCache(_REMEMBERED_USERS, ttl=seconds, timer=now)
        self._trees: TTLCache[str, frozenset[str]] = TTLCache(_REMEMBERED_GROUPS, ttl=seconds, timer=now)
        self._questions: SingleFlight[CatalogUser] = SingleFlight()

    async def principal(self, caller: Caller) -> Principal:
        """The caller with their roles. Raises UpstreamError. Service and plugin callers are not in the catalog."""
        if caller.service_role is not None or not caller.is_user:
            return principal_from_token(caller, self._groups)
        return Principal(caller.subject, await self.roles_of(caller.subject), caller.via, caller.ownership)

    async def roles_of(self, user: str) -> frozenset[Role]:
        """What the catalog makes of `user`, a ref in lower case. Raises UpstreamError."""
        wanted = {Role.MEMBER: self._groups.allowed, Role.ADMIN: self._groups.admin}
        return frozenset([role for role, group in wanted.items() if await self.is_in(user, group)])

    async def is_in(self, user: str, group: str) -> bool:
        """Whether `user` is in `group` or, where nested groups count, below it. Raises UpstreamError."""
        groups = (await self.user(user)).groups
        return bool(groups & await self._tree(group)) if groups else False

    async def user(self, user: str) -> CatalogUser:
        """What the catalog says of `user`; nothing of whom it does not have. Raises UpstreamError."""
        if (known := self._users.get(user)) is not None:
            return known
        return await self._questions.run(user, lambda: self._ask(user))

    async def _ask(self, user: str) -> CatalogUser:
        found = self._users[user] = await self._catalog.user(user)
        return found

    async def _tree(self, group: str) -> frozenset[str]:
        if (known := self._trees.get(group)) is None:
            known = self._trees[group] = await self._catalog.groups_under(group)
        return known
