"""What is asked of the catalog, and how its pages are read."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from clients.backstage.catalog import Catalog, TruncatedMembersError
from clients.upstream import Upstream
from settings.model import Timeouts
from tests.conftest import no_sleep

GROUP, CHILD = "group:default/staff", "group:default/crew"
BY_QUERY, BY_REFS = "/api/catalog/entities/by-query", "/api/catalog/entities/by-refs"
FIELDS = "kind,metadata.name,metadata.namespace"


def user(name: str, **metadata: Any) -> dict[str, Any]:
    """An entity as the catalog lists it."""
    return {"kind": "User", "metadata": {"name": name, **metadata}}


class Source:
    """A catalog with two groups, one below the other, and `pages` of members, of whom it announces `total`."""

    def __init__(self) -> None:
        self.pages: list[list[dict[str, Any]]] = [[]]
        self.total = 0
        self.asked: list[httpx.Request] = []
        transport = httpx.MockTransport(self._answer)
        upstream = Upstream("Backstage", "http://backstage", timeouts=Timeouts(), transport=transport, sleep=no_sleep)
        self.catalog = Catalog(upstream, include_nested_groups=True)
        self.pauses = 0

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if request.url.path == BY_QUERY:
            number = int(request.url.params.get("cursor", 0))
            info = {"nextCursor": str(number + 1)} if number + 1 < len(self.pages) else {}
            return httpx.Response(200, json={"items": self.pages[number], "totalItems": self.total, "pageInfo": info})
        if request.url.path == BY_REFS:
            return httpx.Response(200, json={"items": [{"kind": "Group", "metadata": {"name": "crew"}}]})
        relations = [{"type": "parentOf", "targetRef": CHILD}]
        return httpx.Response(200, json={"kind": "Group", "metadata": {"name": "staff"}, "relations": relations})

    async def members(self) -> frozenset[str]:
        return (await self.catalog.members_of(GROUP, self._pause)).users

    async def _pause(self) -> None:
        self.pauses += 1


@pytest.fixture
async def source() -> AsyncIterator[Source]:
    source = Source()
    yield source
    await source.catalog.aclose()


async def test_only_users_and_only_what_is_needed_are_asked_for(source: Source) -> None:
    """In any of the groups, a page at a time; a cursor takes the place of the filter."""
    source.pages, source.total = [[user("alice")], [user("bob")]], 2
    await source.members()
    groups, *pages = source.asked[1:]
    assert json.loads(groups.content) == {"entityRefs": [CHILD], "fields": [*FIELDS.split(","), "relations"]}
    page = {"fields": f"{FIELDS},metadata.annotations.backstage.io/orphan", "limit": "500"}
    either = f"kind=user,relations.memberof={CHILD},relations.memberof={GROUP}"
    assert [dict(request.url.params) for request in pages] == [page | {"filter": either}, page | {"cursor": "1"}]


async def test_every_page_counts(source: Source) -> None:
    """Together they have as many as were announced; between two of them the caller looks after its lease."""
    source.pages, source.total = [[user("alice"), user("bob")], [user("carol")], [user("dave")]], 4
    assert await source.members() == {f"user:default/{name}" for name in ("alice", "bob", "carol", "dave")}
    assert source.pauses == 2


@pytest.mark.parametrize("total", [2, 4])
async def test_other_than_announced_is_nothing(source: Source, total: int) -> None:
    """Fewer or more members are an error: a member who is missing on a page has not left."""
    source.pages, source.total = [[user("alice"), user("bob")], [user("carol")]], total
    with pytest.raises(TruncatedMembersError):
        await source.members()


async def test_a_namespace_is_part_of_the_name(source: Source) -> None:
    """Without one it is `default`; the same name in another is another person, in lower case like all."""
    source.pages, source.total = [[user("Alice"), user("Alice", namespace="Partners")]], 2
    assert await source.members() == {"user:default/alice", "user:partners/alice"}
