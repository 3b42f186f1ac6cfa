"""What is asked of the catalog, and how its pages are read."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from clients.backstage.catalog import (
    Catalog,
    CatalogFaultError,
    CatalogRefusedError,
    CatalogUser,
    GroupMissingError,
    TruncatedListError,
)
from clients.upstream import Upstream
from domain.errors import UpstreamBusyError, UpstreamFaultError
from settings.model import Timeouts
from tests.conftest import no_sleep

GROUP, CHILD = "group:default/staff", "group:default/crew"
BY_QUERY, BY_REFS = "/api/catalog/entities/by-query", "/api/catalog/entities/by-refs"
FIELDS = "kind,metadata.name,metadata.namespace"


def user(name: str, **metadata: Any) -> dict[str, Any]:
    """An entity as the catalog lists it."""
    return {"kind": "User", "metadata": {"name": name, **metadata}}


def missing() -> httpx.Response:
    """What the catalog says of an entity that it does not have."""
    return httpx.Response(404, json={"error": {"name": "NotFoundError"}})


class Source:
    """A catalog with two groups, one below the other, and `pages` of members, of whom it announces `total`.

    `groups` has the names of its groups with those that they name as their children, and `person` is what it says of
    any single user; None if it has none. `fault` is its answer to everything.
    """

    def __init__(self) -> None:
        self.pages: list[list[dict[str, Any]]] = [[]]
        self.total = 0
        self.groups: dict[str, list[str]] = {GROUP: [CHILD], CHILD: []}
        self.person: dict[str, Any] | None = None
        self.fault: httpx.Response | None = None
        self.asked: list[httpx.Request] = []
        transport = httpx.MockTransport(self._answer)
        upstream = Upstream("Backstage", "http://backstage", timeouts=Timeouts(), transport=transport, sleep=no_sleep)
        self.catalog = Catalog(upstream, include_nested_groups=True, keep_orphans=True)
        self.without_orphans = Catalog(upstream, include_nested_groups=True, keep_orphans=False)
        self.without_nested = Catalog(upstream, include_nested_groups=False, keep_orphans=True)
        self.pauses = 0

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if self.fault is not None:
            return self.fault
        if request.url.path == BY_QUERY:
            number = int(request.url.params.get("cursor", 0))
            info = {"nextCursor": str(number + 1)} if number + 1 < len(self.pages) else {}
            return httpx.Response(200, json={"items": self.pages[number], "totalItems": self.total, "pageInfo": info})
        if request.url.path == BY_REFS:
            items = [self._group(ref) for ref in json.loads(request.content)["entityRefs"]]
            return httpx.Response(200, json={"items": items})
        kind, namespace, name = request.url.path.split("/")[-3:]
        entity = self.person if kind == "user" else self._group(f"{kind}:{namespace}/{name}")
        return missing() if entity is None else httpx.Response(200, json=entity)

    def _group(self, ref: str) -> dict[str, Any] | None:
        if ref not in self.groups:
            return None
        relations = [{"type": "parentOf", "targetRef": child} for child in self.groups[ref]]
        return {"kind": "Group", "metadata": {"name": ref.partition("/")[2]}, "relations": relations}

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
    with pytest.raises(TruncatedListError):
        await source.members()


async def test_a_namespace_is_part_of_the_name(source: Source) -> None:
    """Without one it is `default`; the same name in another is another person, in lower case like all."""
    source.pages, source.total = [[user("Alice"), user("Alice", namespace="Partners")]], 2
    assert await source.members() == {"user:default/alice", "user:partners/alice"}


ORPHAN: dict[str, Any] = {"annotations": {"backstage.io/orphan": "true"}}
NO_ORPHANS: list[dict[str, Any]] = [
    {},
    {"annotations": None},
    {"annotations": {}},
    {"annotations": {"backstage.io/orphan": "false"}},
    {"annotations": {"backstage.io/managed-by-location": "true"}},
]


async def test_orphans_among_the_members(source: Source) -> None:
    """They are those that carry the annotation; whether they count is a setting, and their number is known anyway."""
    source.pages, source.total = (
        [[user("alice", **ORPHAN), *(user(f"u{n}", **row) for n, row in enumerate(NO_ORPHANS))]],
        6,
    )
    others = {f"user:default/u{number}" for number in range(5)}
    for catalog, expected in ((source.catalog, {"user:default/alice"} | others), (source.without_orphans, others)):
        members = await catalog.members_of(GROUP, source._pause)
        assert members.users == expected
        assert members.orphans == {"user:default/alice"}


async def test_the_groups_of_an_orphan(source: Source) -> None:
    """None where orphans do not count, although the catalog still has them."""
    membership = {"relations": [{"type": "memberOf", "targetRef": GROUP}]}
    for metadata, counts in ((ORPHAN, False), *((row, True) for row in NO_ORPHANS), (None, True)):
        source.person = membership | {"metadata": metadata}
        assert (await source.catalog.user("user:default/alice")).groups == {GROUP}
        assert (await source.without_orphans.user("user:default/alice")).groups == ({GROUP} if counts else frozenset())


async def test_a_user_whom_the_catalog_does_not_have(source: Source) -> None:
    """In no group, without a profile, and not there."""
    assert await source.catalog.user("user:default/alice") == CatalogUser(frozenset(), exists=False)


@pytest.mark.parametrize(
    ("spec", "name", "address"),
    [
        ({"profile": {"displayName": " Alice A. ", "email": "alice@example.com\n"}}, "Alice A.", "alice@example.com"),
        ({"profile": {"displayName": "  ", "email": 5}}, None, None),
        ({"profile": {"displayName": None, "email": ""}}, None, None),
        ({"profile": ["displayName"]}, None, None),
        (["profile"], None, None),
        (None, None, None),
    ],
)
async def test_a_profile(source: Source, spec: Any, name: str | None, address: str | None) -> None:
    """As far as there is one: it comes from outside, so anything may stand there."""
    source.person = {"spec": spec}
    expected = CatalogUser(frozenset(), name, address)
    assert await source.catalog.user("user:default/alice") == expected
    source.person = {}
    assert await source.catalog.user("user:default/alice") == CatalogUser(frozenset())


async def test_which_groups_a_user_is_in(source: Source) -> None:
    """Those that it is related to as a member, in lower case; what is no such relation is passed over."""
    odd = [None, 5, {"type": "memberOf"}, {"type": "memberOf", "targetRef": 5}, {"targetRef": "group:default/x"}]
    owner = {"type": "ownerOf", "targetRef": "group:default/owned"}
    source.person = {"relations": [*odd, owner, {"type": "memberOf", "targetRef": "group:Default/Staff"}]}
    assert (await source.catalog.user("user:default/alice")).groups == {GROUP}
    for relations in ({"type": "memberOf"}, 5, None):
        source.person = {"relations": relations}
        assert (await source.catalog.user("user:default/alice")).groups == frozenset()


async def test_a_name_is_one_part_of_the_path(source: Source) -> None:
    """Whatever is in it: nobody reads another entity by their name."""
    await source.catalog.user("user:Default/A/..%2F?b")
    assert source.asked[-1].url.raw_path == b"/api/catalog/entities/by-name/user/default/a%2F..%252f%3Fb"


def chain(length: int) -> dict[str, list[str]]:
    """Groups, each below the one before."""
    return {GROUP: ["group:default/0"]} | {f"group:default/{n}": [f"group:default/{n + 1}"] for n in range(length - 2)}


async def test_the_groups_below_a_group(source: Source) -> None:
    """As far as they are shown, each once; none where nested groups do not count."""
    source.groups = {GROUP: [CHILD, CHILD, "group:default/gone"], CHILD: [GROUP, "group:default/below"]}
    source.groups["group:default/below"] = []
    below = {CHILD, "group:default/gone", "group:default/below"}
    assert await source.catalog.groups_under(GROUP) == {GROUP} | below
    assert await source.without_nested.groups_under(GROUP) == {GROUP}
    with pytest.raises(GroupMissingError, match="has no group:default/gone"):
        await source.catalog.groups_under("group:default/gone")


async def test_child_groups_that_are_not_shown(source: Source) -> None:
    """At any depth each group is named that has some and shows none, with those that are missing."""
    below = "group:default/below"
    source.groups = {GROUP: [CHILD], CHILD: [below, "group:default/a"]}
    assert (await source.catalog.members_of(GROUP, source._pause)).hidden == {CHILD: ["group:default/a", below]}
    assert (await source.without_nested.members_of(GROUP, source._pause)).hidden == {}
    source.groups[below] = []
    assert (await source.catalog.members_of(GROUP, source._pause)).hidden == {}


async def test_a_tree_that_is_too_deep(source: Source) -> None:
    """Twenty levels are read; more are a fault, of the catalog or of whoever filled it."""
    source.groups = chain(20)
    assert len(await source.catalog.groups_under(GROUP)) == 20
    source.groups = chain(21)
    with pytest.raises(CatalogFaultError, match=f"The groups below {GROUP} are nested more than 20 deep"):
        await source.catalog.groups_under(GROUP)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (httpx.Response(401, json={"error": {"name": "AuthenticationError"}}), CatalogRefusedError),
        (httpx.Response(403, json={"error": {"name": "NotAllowedError"}}), CatalogRefusedError),
        (httpx.Response(401), CatalogFaultError),
        (httpx.Response(403, text="<h1>A firewall</h1>"), CatalogFaultError),
        (httpx.Response(404, text="default backend - 404"), CatalogFaultError),
        (httpx.Response(404, json={}), CatalogFaultError),
        (httpx.Response(302), UpstreamFaultError),
        (httpx.Response(429), UpstreamBusyError),
        (httpx.Response(402), CatalogFaultError),
        (httpx.Response(500), CatalogFaultError),
        (httpx.Response(204), CatalogFaultError),
        (httpx.Response(200, json=[]), CatalogFaultError),
    ],
)
async def test_an_answer_that_is_none(source: Source, fault: httpx.Response, error: type[Exception]) -> None:
    """Whose fault it is decides who has to correct it; to no question it is mistaken for nobody."""
    source.fault = fault
    with pytest.raises(error):
        await source.catalog.user("user:default/alice")
    with pytest.raises(error):
        await source.members()


@pytest.mark.parametrize("items", [None, [], [None, None], {"0": None}])
async def test_groups_that_do_not_match_the_question(source: Source, items: Any) -> None:
    """The catalog answers in the order of the question: with more or fewer nobody knows which group is which."""

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"items": items}) if request.url.path == BY_REFS else source._answer(request)

    upstream = Upstream(
        "Backstage",
        "http://backstage",
        timeouts=Timeouts(),
        transport=httpx.MockTransport(answer),
        sleep=no_sleep,
    )
    with pytest.raises(CatalogFaultError, match="expected: groups"):
        await Catalog(upstream, include_nested_groups=True, keep_orphans=True).groups_under(GROUP)
    await upstream.aclose()
