"""Who is in which group, and which groups and components may have keys, from Backstage's catalog.

Its REST API: https://backstage.io/docs/features/software-catalog/software-catalog-api. All refs are in lower case, as
filters, `by-refs` and relations compare them. The catalog answers an empty list for a group that does not exist, and a
truncated answer looks like a small group. Both are errors here, so that nothing is mistaken for an empty group.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from clients.backstage.replies import error_name
from clients.chunks import chunks
from clients.exchange import Reply
from clients.upstream import Upstream
from domain.directory import address_of
from domain.errors import UpstreamFaultError
from domain.owners import CatalogOwner
from domain.refs import EntityRef, canonical, kind_of

_PAGE_SIZE = 500
_MAX_PAGES = 2000
_GROUPS_PER_QUERY = 50
_MAX_FILTER_BYTES = 4000  # the cursor to the next page repeats the filter, in base64
_MEMBER_OF = "relations.memberof="
_MAX_DEPTH = 20
_FIELDS = "kind,metadata.name,metadata.namespace"
_ORPHAN = "backstage.io/orphan"
_OWNER_FIELDS = f"{_FIELDS},metadata.uid,metadata.title,spec.profile.displayName,relations"
_BELONGS_TO = {"component": "ownedBy", "group": "childOf"}
"""By which relation an entity of this kind belongs to a group."""


@dataclass(frozen=True)
class CatalogUser:
    """A user's direct groups, in lower case, and their profile as far as they have one; and whether there is one."""

    groups: frozenset[str]
    display_name: str | None = None
    email: str | None = None
    exists: bool = True


@dataclass(frozen=True)
class Members:
    """The `users` who count as members of a group.

    `orphans` are members whom the catalog has only as orphans, whether or not they count: old releases of Backstage
    keep entities that their source does not have any more. `hidden` has, by the group that names them, child groups of
    which none is shown.
    """

    users: frozenset[str]
    orphans: frozenset[str]
    hidden: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class _Tree:
    """A group and those below it; `hidden`: as in `Members`."""

    groups: frozenset[str]
    hidden: Mapping[str, Sequence[str]]


class CatalogRefusedError(UpstreamFaultError):
    """The catalog does not accept this service's own token."""


class CatalogFaultError(UpstreamFaultError):
    """The catalog failed or returned an unexpected response."""


class TruncatedListError(UpstreamFaultError):
    """The catalog returned fewer or more entities than it announced: a page is incomplete, or they changed."""


class GroupMissingError(UpstreamFaultError):
    """The catalog does not have the group."""

    def __init__(self, group: str) -> None:
        super().__init__(f"Backstage's catalog has no {group}")


class Catalog:
    """The catalog, read with a static external-access token. Every call raises UpstreamError.

    Orphans are in no group unless `keep_orphans`.
    """

    def __init__(self, upstream: Upstream, *, include_nested_groups: bool, keep_orphans: bool) -> None:
        self._upstream = upstream
        self._include_nested_groups = include_nested_groups
        self._keep_orphans = keep_orphans

    async def aclose(self) -> None:
        """Closes every connection."""
        await self._upstream.aclose()

    async def members_of(self, group: str, each_page: Callable[[], Awaitable[None]]) -> Members:
        """Every user in `group` and, if nested groups count, in the groups below it. Raises GroupMissingError.

        Awaits `each_page` after each page: reading a large group may take longer than the caller's lease.
        """
        members: set[str] = set()
        orphans: set[str] = set()
        tree = await self._tree(group)
        for groups in chunks(
            sorted(tree.groups), prefix=f",{_MEMBER_OF}", longest=_MAX_FILTER_BYTES, most=_GROUPS_PER_QUERY
        ):
            conditions = ["kind=user", *(f"{_MEMBER_OF}{group}" for group in groups)]
            async for page in self._pages(conditions, _FIELDS, each_page):
                members.update(map(_ref, page))
                orphans.update(_ref(entity) for entity in page if _is_orphan(entity))
        counted = members if self._keep_orphans else members - orphans
        return Members(frozenset(counted), frozenset(orphans), tree.hidden)

    async def groups_under(self, group: str) -> frozenset[str]:
        """`group` and, if nested groups count, all groups below it. Raises GroupMissingError.

        Cycles are harmless. A tree of more than 20 levels is treated as a fault.
        """
        return (await self._tree(group)).groups

    async def _tree(self, group: str) -> _Tree:
        root = await self._entity(group)
        if root is None:
            raise GroupMissingError(group)
        found, level = {group}, {group: root}
        children: dict[str, list[str]] = {}
        for _ in range(_MAX_DEPTH):
            nested = level if self._include_nested_groups else {}
            children |= {ref: sorted(set(_related(entity, "parentOf"))) for ref, entity in nested.items()}
            below = {child for ref in nested for child in children[ref]} - found
            if not below:
                # Only groups that are shown have children here.
                hidden = {ref: refs for ref, refs in children.items() if refs and children.keys().isdisjoint(refs)}
                return _Tree(frozenset(found), hidden)
            found |= below
            level = await self._entities(sorted(below))
        raise CatalogFaultError(f"The groups below {group} are nested more than {_MAX_DEPTH} deep")

    async def user(self, ref: str) -> CatalogUser:
        """The user `ref`. A user that the catalog does not have is in no group and has no profile."""
        entity = await self._entity(ref)
        if entity is None:
            return CatalogUser(frozenset(), exists=False)
        values = _profile(entity)
        is_member = self._keep_orphans or not _is_orphan(entity)
        groups = frozenset(_related(entity, "memberOf")) if is_member else frozenset()
        return CatalogUser(groups, values["displayName"], values["email"])

    async def addresses(self, each_page: Callable[[], Awaitable[None]]) -> dict[str, str]:
        """The e-mail address of each user who has one, as it is compared. `each_page`: as in `members_of`."""
        found: dict[str, str] = {}
        async for page in self._pages(["kind=user"], f"{_FIELDS},spec.profile.email", each_page):
            addresses = {_ref(entity): address_of(_profile(entity)["email"]) for entity in page}
            found |= {ref: address for ref, address in addresses.items() if address is not None}
        return found

    async def owners(
        self, kind: str, conditions: Sequence[str], each_page: Callable[[], Awaitable[None]]
    ) -> list[CatalogOwner]:
        """The groups or components of `kind` that meet all `conditions`, such as `spec.type=service`.

        Of several conditions with the same key one has to be met. What a filter means is the catalog's to say.
        """
        found: list[CatalogOwner] = []
        async for page in self._pages([f"kind={kind}", *conditions], _OWNER_FIELDS, each_page):
            found += [_owner(entity) for entity in page if self._keep_orphans or not _is_orphan(entity)]
        return found

    async def owner(self, ref: str, conditions: Sequence[str]) -> CatalogOwner | None:
        """The group or component `ref`, if it meets all `conditions`."""
        parsed = EntityRef.parse(ref)
        itself = [f"metadata.namespace={parsed.namespace}", f"metadata.name={parsed.name}"]
        owners = await self.owners(parsed.kind, [*itself, *conditions], no_pause)
        return next((owner for owner in owners if owner.ref == ref), None)

    async def owners_of(self, groups: Iterable[str], kind: str, conditions: Sequence[str]) -> list[CatalogOwner]:
        """As `owners`: those that belong to any of `groups`, which may be users too."""
        relation = f"relations.{_BELONGS_TO[kind].lower()}="
        found: dict[str, CatalogOwner] = {}
        for some in chunks(sorted(groups), prefix=f",{relation}", longest=_MAX_FILTER_BYTES, most=_GROUPS_PER_QUERY):
            theirs = [f"{relation}{group}" for group in some]
            found |= {owner.ref: owner for owner in await self.owners(kind, [*conditions, *theirs], no_pause)}
        return [*found.values()]

    async def existing(self, refs: Sequence[str]) -> frozenset[str]:
        """Those of `refs` that the catalog has, whatever they are."""
        found: set[str] = set()
        for start in range(0, len(refs), _PAGE_SIZE):
            found |= (await self._entities(refs[start : start + _PAGE_SIZE])).keys()
        return frozenset(found)

    async def groups_above(self, groups: Iterable[str]) -> frozenset[str]:
        """Those of `groups` that exist and, if nested groups count, all groups above them. Cycles are harmless."""
        found: frozenset[str] = frozenset()
        level = frozenset(groups)
        for _ in range(_MAX_DEPTH if self._include_nested_groups else 1):
            if not level:
                break
            entities = await self._entities(sorted(level))
            found |= entities.keys()
            level = frozenset(parent for entity in entities.values() for parent in _related(entity, "childOf")) - found
        return found

    async def _pages(
        self, conditions: Sequence[str], fields: str, each_page: Callable[[], Awaitable[None]]
    ) -> AsyncIterator[list[Any]]:
        """Pages of entities. Raises TruncatedListError, after the last one, if some are missing."""
        # The same key several times in one filter means any of the values.
        query: dict[str, Any] = {"filter": ",".join(conditions)}
        read, shown = 0, f"{fields},metadata.annotations.{_ORPHAN}"
        for _ in range(_MAX_PAGES):
            page = self._object(
                await self._upstream.read(
                    "/api/catalog/entities/by-query", query | {"fields": shown, "limit": _PAGE_SIZE}
                )
            )
            items, total, info = page.get("items"), page.get("totalItems"), page.get("pageInfo")
            if not (isinstance(items, list) and isinstance(total, int) and isinstance(info, dict)):
                raise CatalogFaultError("Backstage's catalog returned an unexpected response (expected: entities)")
            yield items
            read += len(items)
            if not (cursor := info.get("nextCursor")):
                if read != total:
                    raise TruncatedListError(f"Backstage's catalog returned {read} of {total} entities")
                return
            query = {"cursor": cursor}
            await each_page()
        raise TruncatedListError("Backstage's catalog returned too many pages of entities")

    async def _entity(self, ref: str) -> dict[str, Any] | None:
        parsed = EntityRef.parse(ref)
        parts = "/".join(quote(part, safe="") for part in (parsed.kind, parsed.namespace, parsed.name))
        reply = await self._upstream.read(f"/api/catalog/entities/by-name/{parts}")
        is_missing = reply.status == 404 and error_name(reply) == "NotFoundError"
        return None if is_missing else self._object(reply)

    async def _entities(self, refs: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Those that exist, by their refs."""
        body = {"entityRefs": list(refs), "fields": [*_FIELDS.split(","), "relations"]}
        items = self._object(await self._upstream.change("/api/catalog/entities/by-refs", body)).get("items")
        if not isinstance(items, list) or len(items) != len(refs):
            raise CatalogFaultError("Backstage's catalog returned an unexpected response (expected: groups)")
        # A child group that is referenced but does not exist has no members.
        return {ref: item for ref, item in zip(refs, items, strict=True) if isinstance(item, dict)}

    @staticmethod
    def _object(reply: Reply) -> dict[str, Any]:
        if reply.status in (401, 403) and error_name(reply) is not None:
            raise CatalogRefusedError(
                "Backstage's catalog refused this service's token. The operator has to correct it."
            )
        if reply.status != 200:
            raise CatalogFaultError(f"Backstage's catalog failed with status {reply.status}")
        body = reply.parsed()
        if not isinstance(body, dict):
            raise CatalogFaultError("Backstage's catalog returned an unexpected response (expected: a JSON object)")
        return body


def _related(entity: dict[str, Any], kind: str) -> Iterator[str]:
    relations = entity.get("relations")
    for row in relations if isinstance(relations, list) else []:
        if isinstance(row, dict) and row.get("type") == kind and isinstance(row.get("targetRef"), str):
            yield canonical(row["targetRef"])


def _owner(entity: Any) -> CatalogOwner:
    ref = _ref(entity)
    metadata = entity["metadata"]
    uid, title = metadata.get("uid"), metadata.get("title")
    if not (isinstance(uid, str) and uid):
        raise CatalogFaultError("Backstage's catalog returned an unexpected response (expected: an entity with a uid)")
    names = (title, _profile(entity)["displayName"], metadata["name"])
    title = next(name for name in names if isinstance(name, str) and name.strip())
    return CatalogOwner(ref, uid, title, frozenset(_related(entity, _BELONGS_TO[kind_of(ref)])))


async def no_pause() -> None:
    """Nothing has to be renewed between two pages."""


def _profile(entity: Any) -> dict[str, str | None]:
    """`displayName` and `email`, each None if the entity has none."""
    spec = entity.get("spec") if isinstance(entity, dict) else None
    profile = spec.get("profile") if isinstance(spec, dict) else None
    texts = {name: profile.get(name) if isinstance(profile, dict) else None for name in ("displayName", "email")}
    return {name: text.strip() or None if isinstance(text, str) else None for name, text in texts.items()}


def _is_orphan(entity: Any) -> bool:
    metadata = entity.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    return isinstance(annotations, dict) and annotations.get(_ORPHAN) == "true"


def _ref(entity: Any) -> str:
    try:
        metadata = entity["metadata"]
        return canonical(f"{entity['kind']}:{metadata.get('namespace', 'default')}/{metadata['name']}")
    except (TypeError, KeyError, AttributeError) as error:
        raise CatalogFaultError("Backstage's catalog returned an unexpected response (expected: an entity)") from error
