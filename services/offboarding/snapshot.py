"""Step 1: what LiteLLM, Backstage and our own records say now. Changes nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from clients.backstage.catalog import Catalog
from clients.litellm.client import LiteLLM
from domain.identity import USER_REF, GroupRefs
from domain.offboarding import Snapshot
from state.offboardings import Offboardings

_IDS_PER_RENEWAL = 1000


@dataclass(frozen=True, kw_only=True)
class SnapshotReader:
    """Reads snapshots."""

    catalog: Catalog
    litellm: LiteLLM
    offboardings: Offboardings
    groups: GroupRefs

    async def read(self, renew_lease: Callable[[], Awaitable[None]]) -> Snapshot:
        """A complete snapshot, or the error of the part that is missing. Raises UpstreamError.

        Reads the catalog after LiteLLM, so a user who joins meanwhile counts as a member. Awaits `renew_lease` now and
        then, and raises what it raises.
        """
        users: set[str] = set()
        count = 0
        async for user_id in self.litellm.user_ids():
            count += 1
            if count % _IDS_PER_RENEWAL == 0:
                await renew_lease()
            if USER_REF.fullmatch(user_id):
                users.add(user_id)
        members = await self.catalog.members_of(self.groups.allowed, renew_lease)
        admins = await self.catalog.members_of(self.groups.admin, renew_lease)
        await renew_lease()
        return Snapshot(members, admins, frozenset(users), await self.offboardings.all())

    async def count_keys(self, user_id: str) -> int:
        """The number of a user's keys. Raises UpstreamError."""
        return len(await self.litellm.list_keys(user_id))
