"""First step: what LiteLLM, Backstage and our own notes say now. Nothing is changed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from clients.backstage.catalog import Catalog
from clients.backstage.tokens import USER_REF
from clients.litellm.client import LiteLLM
from services.access import GroupRefs
from state.offboardings import Offboarding, Offboardings

_IDS_A_RENEWAL = 1000


@dataclass(frozen=True)
class Snapshot:
    """Refs in lower case; `users` are LiteLLM's ids as they are, Backstage users only."""

    members: frozenset[str]
    admins: frozenset[str]
    users: frozenset[str]
    offboardings: Mapping[str, Offboarding]


async def take(
    catalog: Catalog,
    litellm: LiteLLM,
    offboardings: Offboardings,
    groups: GroupRefs,
    still_ours: Callable[[], Awaitable[None]],
) -> Snapshot:
    """A snapshot of which every part arrived, or the error of the part that did not.

    The catalog is read after LiteLLM: whoever joins meanwhile is seen as a member, not as a stranger. `still_ours` is
    awaited now and then; it raises where another replica has taken over.
    """
    users: set[str] = set()
    seen = 0
    async for user_id in litellm.user_ids():
        seen += 1
        if seen % _IDS_A_RENEWAL == 0:
            await still_ours()
        if USER_REF.fullmatch(user_id):
            users.add(user_id)
    members = await catalog.members_of(groups.allowed, still_ours)
    admins = await catalog.members_of(groups.admin, still_ours)
    await still_ours()
    return Snapshot(members, admins, frozenset(users), await offboardings.all())
