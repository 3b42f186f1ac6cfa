"""A stand-in for Backstage's catalog of users, groups and components, read with a static token."""

from __future__ import annotations

import base64
import json
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

CATALOG_TOKEN = "standalone-catalog-token"  # noqa: S105  # it opens nothing but this stand-in
ADMINS, MEMBERS, TEAM_A = "group:default/admins", "group:default/litellm-users", "group:default/team-a"

Entity = dict[str, Any]


@dataclass
class Component:
    """A component, owned by the group or user `owner`; `tags` and the others as in its descriptor."""

    owner: str
    title: str | None = None
    type: str = "service"
    lifecycle: str = "production"
    tags: tuple[str, ...] = ()


@dataclass
class Org:
    """Users and their direct groups, groups and their parents, components; may be edited. Refs in lower case."""

    users: dict[str, set[str]] = field(
        default_factory=lambda: {
            "user:default/alice": {MEMBERS},
            "user:default/bob": {ADMINS},
            "user:default/carol": set(),
            "user:default/dave": {TEAM_A},
            "user:default/erin.mixed": {MEMBERS},
            "user:default/mock": {MEMBERS},
        }
    )
    groups: dict[str, str | None] = field(default_factory=lambda: {ADMINS: None, MEMBERS: None, TEAM_A: MEMBERS})
    components: dict[str, Component] = field(
        default_factory=lambda: {
            "component:default/checkout": Component(TEAM_A, "Checkout", tags=("llm",)),
            "component:default/assistant": Component(MEMBERS, "Assistant", lifecycle="experimental"),
            "component:default/abandoned": Component("group:default/gone-team", None, "library", "deprecated"),
        }
    )
    uids: dict[str, str] = field(default_factory=lambda: defaultdict(lambda: str(uuid.uuid4())))
    """The catalog's own ids, drawn when first asked for."""
    names: dict[str, str] = field(default_factory=lambda: {"user:default/erin.mixed": "Erin.Mixed"})
    """Names whose case is not that of the ref."""
    hidden: set[str] = field(default_factory=set)
    """Entities that relations name, and that are not shown."""
    orphans: set[str] = field(default_factory=set)
    """Entities that their source does not have any more, as old releases keep them."""
    profiles: dict[str, dict[str, str]] = field(
        default_factory=lambda: {
            f"user:default/{name.lower()}": {"displayName": name, "email": f"{name.lower()}@example.com"}
            for name in ("Alice", "Bob", "Carol", "Dave")
        }
    )

    def people(self) -> dict[str, str]:
        """The role of each of the first ten users with a display name."""
        roles = {ADMINS: "admin", MEMBERS: "member"}
        return {
            ref: next((role for group, role in roles.items() if group in self.users[ref]), "none")
            for ref in list(self.profiles)[:10]
            if ref in self.users
        }

    def entity(self, ref: str) -> Entity | None:
        """The entity, or None."""
        if ref in self.hidden or not (ref in self.users or ref in self.groups or ref in self.components):
            return None
        kind, _, rest = ref.partition(":")
        namespace, _, name = rest.partition("/")
        annotations = {"annotations": {"backstage.io/orphan": "true"}} if ref in self.orphans else {}
        metadata = {"namespace": namespace, "name": self.names.get(ref, name), "uid": self.uids[ref], **annotations}
        entity: Entity = {"kind": kind.capitalize(), "metadata": metadata, "relations": self._relations(ref)}
        spec: Entity = {"profile": self.profiles[ref]} if ref in self.profiles else {}
        if ref in self.groups:
            spec |= {"type": "team"}
        if (component := self.components.get(ref)) is not None:
            metadata |= {"tags": [*component.tags]} | ({"title": component.title} if component.title else {})
            spec |= {"type": component.type, "lifecycle": component.lifecycle, "owner": component.owner}
        return entity | ({"spec": spec} if spec else {})

    def matching(self, conditions: dict[str, list[str]]) -> list[str]:
        """Entities that meet all conditions: of those with the same key any one."""
        if conditions.get("kind") == ["user"] and "relations.memberof" in conditions and len(conditions) == 2:
            return self.members({*conditions["relations.memberof"]})
        by_kind: dict[str, Iterable[str]] = {"user": self.users, "group": self.groups, "component": self.components}
        every = [ref for kind in conditions.get("kind", by_kind) for ref in by_kind.get(kind, ())]
        return sorted(ref for ref in every if (entity := self.entity(ref)) and _meets(entity, conditions))

    def members(self, groups: set[str]) -> list[str]:
        """Direct members of any of `groups`."""
        return sorted(ref for ref, theirs in self.users.items() if theirs & groups)

    def _relations(self, ref: str) -> list[dict[str, str]]:
        if ref in self.users:
            return [{"type": "memberOf", "targetRef": group} for group in sorted(self.users[ref])]
        if ref in self.components:
            return [{"type": "ownedBy", "targetRef": self.components[ref].owner}]
        below = sorted(group for group, parent in self.groups.items() if parent == ref)
        return [
            *({"type": "hasMember", "targetRef": member} for member in self.members({ref})),
            *({"type": "parentOf", "targetRef": group} for group in below),
            *([{"type": "childOf", "targetRef": parent}] if (parent := self.groups[ref]) else []),
        ]


class CatalogStandIn:
    """The catalog's routes over an Org."""

    def __init__(self, org: Org, requests: list[str]) -> None:
        self._org = org
        self._requests = requests
        self.routes = [
            Route("/api/catalog/entities/by-query", self._by_query),
            Route("/api/catalog/entities/by-refs", self._by_refs, methods=["POST"]),
            Route("/api/catalog/entities/by-name/{kind}/{namespace}/{name}", self._by_name),
        ]

    async def _by_query(self, request: Request) -> Response:
        self._admit(request)
        query = request.query_params
        if "cursor" in query:
            state = json.loads(base64.urlsafe_b64decode(query["cursor"]))
        else:
            conditions: dict[str, list[str]] = {}
            for part in query.get("filter", "").split(","):
                key, _, value = part.strip().lower().partition("=")
                conditions.setdefault(key, []).append(value)
            state = {"conditions": conditions, "offset": 0}
        refs, limit = self._org.matching(state["conditions"]), int(query.get("limit", 20))
        end = state["offset"] + limit
        items = [self._org.entity(ref) for ref in refs[state["offset"] : end]]
        cursor = base64.urlsafe_b64encode(json.dumps(state | {"offset": end}).encode()).decode()
        page = {"nextCursor": cursor} if end < len(refs) else {}
        return JSONResponse({"items": items, "totalItems": len(refs), "pageInfo": page})

    async def _by_refs(self, request: Request) -> Response:
        self._admit(request)
        refs = (await request.json())["entityRefs"]
        return JSONResponse({"items": [self._org.entity(ref) if ref == ref.lower() else None for ref in refs]})

    async def _by_name(self, request: Request) -> Response:
        self._admit(request)
        path = request.path_params
        entity = self._org.entity(f"{path['kind']}:{path['namespace']}/{path['name']}".lower())
        if entity is None:
            raise HTTPException(404, f"No entity named '{path['name']}' found")
        return JSONResponse(entity)

    def _admit(self, request: Request) -> None:
        self._requests.append(f"{request.method} {request.url.path}")
        if request.headers.get("authorization") != f"Bearer {CATALOG_TOKEN}":
            raise HTTPException(401, "Missing credentials")


def _meets(entity: Entity, conditions: dict[str, list[str]]) -> bool:
    searched = [*_searched("", entity)]
    return all(any(key == found and value in values for found, value in searched) for key, values in conditions.items())


def _searched(path: str, value: Any) -> Iterator[tuple[str, str]]:
    """The keys and values by which the catalog finds an entity: all in lower case, relations by their type."""
    if isinstance(value, dict):
        for name, each in value.items():
            below = f"{path}.{name.lower()}" if path else name.lower()
            if name == "relations":
                yield from ((f"relations.{row['type'].lower()}", row["targetRef"].lower()) for row in each)
            else:
                yield from _searched(below, each)
    elif isinstance(value, list):
        for each in value:
            yield from _searched(path, each)
    else:
        yield path, str(value).lower()
