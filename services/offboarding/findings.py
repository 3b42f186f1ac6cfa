"""What a run leaves as it is, and an admin should look at: at most a hundred of each kind."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Container, Iterable, Mapping, Sequence
from itertools import islice

from clients.backstage.catalog import Catalog, GroupMissingError
from domain.offboarding import CleanupFinding
from domain.owners import KnownSecret, Owner
from domain.refs import canonical, is_user
from state.directory import Directory

_MOST = 100
_ADOPT = "`litellm-orchestrator adopt` gives"


async def misspelt_ids(directory: Directory) -> list[CleanupFinding]:
    """LiteLLM's users whose id is not in lower case: no request can name them."""
    ids = await directory.misspelt(_MOST)
    served = await directory.among([canonical(user_id) for user_id in ids])
    spellings: dict[str, list[str]] = defaultdict(list)
    for user_id in ids:
        spellings[canonical(user_id)].append(user_id)
    return [_misspelt(user_id, spellings[canonical(user_id)], served) for user_id in ids]


async def same_addresses(directory: Directory, leaving: Container[str]) -> list[CleanupFinding]:
    """LiteLLM's users that are no Backstage users, and have the e-mail address of somebody who leaves."""
    found = await directory.with_an_address_of(leaving, _MOST)
    return [
        CleanupFinding(
            "sameAddress",
            stranger,
            f"It has the e-mail address of {user_id}, who leaves; if it is the same person, delete it in LiteLLM",
        )
        for stranger, user_id in found
    ]


def hidden_groups(hidden: Mapping[str, Sequence[str]]) -> list[CleanupFinding]:
    """Groups of which the catalog names child groups and shows none."""
    return [
        CleanupFinding(
            "childGroups",
            group,
            f"The catalog names its child groups {', '.join(children)} and shows none, so what is below those does not "
            "count; correct the group, or let the catalogToken read them",
        )
        for group, children in sorted(hidden.items())[:_MOST]
    ]


def known_secrets(known: Iterable[KnownSecret]) -> list[CleanupFinding]:
    """Keys of groups and components whose secret somebody received who leaves."""
    return [
        CleanupFinding(
            "knownSecret",
            secret.by,
            f"They received the secret of the key {secret.alias or secret.key_id} of {secret.owner}; rotate it",
        )
        for secret in islice(known, _MOST)
    ]


async def unmanaged_owners(
    catalog: Catalog, owners: Iterable[Owner], people: frozenset[str], each_page: Callable[[], Awaitable[None]]
) -> list[CleanupFinding]:
    """Groups and components with keys that nobody of the `people` with a role manages. Raises UpstreamError."""
    has_people: dict[str, bool] = {}
    unmanaged: list[CleanupFinding] = []
    for owner in owners:
        for ref in owner.managers - has_people.keys():
            has_people[ref] = bool(people & (await _people_in(catalog, ref, each_page)))
        if len(unmanaged) < _MOST and not any(has_people[ref] for ref in owner.managers):
            managers = ", ".join(sorted(owner.managers)) or "no group"
            message = f"Nobody with a role manages it ({managers}); give it to a group with members, or off-board it"
            unmanaged.append(CleanupFinding("unmanaged", owner.entity.ref, message))
    return unmanaged


async def _people_in(catalog: Catalog, ref: str, each_page: Callable[[], Awaitable[None]]) -> frozenset[str]:
    if is_user(ref):
        return frozenset({ref})
    try:
        return (await catalog.members_of(ref, each_page)).users
    except GroupMissingError:
        return frozenset()


def _misspelt(user_id: str, spellings: Sequence[str], served: Container[str]) -> CleanupFinding:
    right = canonical(user_id)
    if right in served:
        message = f"LiteLLM also has {right}, which is the one that is served; {_ADOPT} its keys to that one"
        return CleanupFinding("twoSpellings", user_id, message)
    others = ", ".join(other for other in spellings if other != user_id)
    if others:
        message = f"LiteLLM also has {others}; delete all but one there, then {_ADOPT} its keys to {right}"
        return CleanupFinding("twoSpellings", user_id, message)
    message = f"Its id is not in lower case, so it cannot be opened; {_ADOPT} its keys to {right}"
    return CleanupFinding("spelling", user_id, message)
