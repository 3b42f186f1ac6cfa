"""What Backstage's catalog does, as far as the cleanup relies on it."""

from __future__ import annotations

from typing import Any

import httpx

from standalone.catalog import ADMINS, MEMBERS, TEAM_A
from tests.conformance.conftest import Portal

ENTITIES = "/api/catalog/entities"
FIELDS = "kind,metadata.name,metadata.namespace"


async def get(portal: Portal, path: str, **query: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {portal.catalog_token}"}
    return await portal.http.get(f"{ENTITIES}/{path}", params=query, headers=headers)


def names(page: Any) -> list[str]:
    return sorted(item["metadata"]["name"] for item in page["items"])


async def test_members_of_a_group(backstage_target: Portal) -> None:
    """Direct ones only, with the entity's own case; filters ignore case; a repeated key means any of its values."""
    for group in (MEMBERS, MEMBERS.upper()):
        page = (
            await get(backstage_target, "by-query", filter=f"kind=user,relations.memberof={group}", fields=FIELDS)
        ).json()
        assert {"alice", "Erin.Mixed"} <= set(names(page))
        assert "dave" not in names(page)
        assert page["totalItems"] == len(page["items"])
    both = f"kind=user,relations.memberof={MEMBERS},relations.memberof={TEAM_A}"
    assert {"alice", "dave"} <= set(names((await get(backstage_target, "by-query", filter=both, fields=FIELDS)).json()))


async def test_pages(backstage_target: Portal) -> None:
    """A cursor leads to the next page with the same filter, and the last page has none."""
    query = {
        "filter": f"kind=user,relations.memberof={MEMBERS},relations.memberof={ADMINS}",
        "fields": FIELDS,
        "limit": 2,
    }
    first = (await get(backstage_target, "by-query", **query)).json()
    second = (
        await get(backstage_target, "by-query", cursor=first["pageInfo"]["nextCursor"], fields=FIELDS, limit=2)
    ).json()
    assert first["totalItems"] == second["totalItems"] == len(first["items"]) + len(second["items"])
    assert "nextCursor" not in second["pageInfo"]
    assert {"alice", "bob", "Erin.Mixed"} <= {*names(first), *names(second)}


async def test_a_group_that_does_not_exist_has_no_members(backstage_target: Portal) -> None:
    """And 200: the group itself has to be asked for, which is a 404."""
    page = (await get(backstage_target, "by-query", filter="kind=user,relations.memberof=group:default/nope")).json()
    assert (page["items"], page["totalItems"]) == ([], 0)
    assert (await get(backstage_target, "by-name/group/default/nope")).status_code == 404


async def test_a_group_and_its_children(backstage_target: Portal) -> None:
    """By its relations."""
    group = (await get(backstage_target, "by-name/group/default/litellm-users")).json()
    related = {(row["type"], row["targetRef"]) for row in group["relations"]}
    assert {("hasMember", "user:default/alice"), ("parentOf", TEAM_A)} <= related


async def test_entities_by_refs(backstage_target: Portal) -> None:
    """In the asked order, null where missing; older releases do not find what is not in lower case either."""
    answer = await backstage_target.http.post(
        f"{ENTITIES}/by-refs",
        json={
            "entityRefs": [TEAM_A, "group:default/nope", "Group:default/Team-A"],
            "fields": ["metadata.name", "relations"],
        },
        headers={"Authorization": f"Bearer {backstage_target.catalog_token}"},
    )
    items = answer.json()["items"]
    assert items[0]["metadata"]["name"] == "team-a"
    assert {"type": "hasMember", "targetRef": "user:default/dave"} in items[0]["relations"]
    assert items[1] is None
    assert items[2] in (None, items[0])


async def test_a_users_groups(backstage_target: Portal) -> None:
    """By name, without regard to case."""
    user = (await get(backstage_target, "by-name/user/default/erin.mixed")).json()
    assert user["metadata"]["name"] == "Erin.Mixed"
    assert {"type": "memberOf", "targetRef": MEMBERS} in user["relations"]


async def test_an_annotation_by_its_name(backstage_target: Portal) -> None:
    """Whether a user is an orphan is asked for with the others of a page, and nobody here is one."""
    wanted = f"{FIELDS},metadata.annotations.backstage.io/orphan"
    query = f"kind=user,relations.memberof={MEMBERS}"
    page = (await get(backstage_target, "by-query", filter=query, fields=wanted)).json()
    assert {"alice", "Erin.Mixed"} <= set(names(page))
    assert [item for item in page["items"] if "annotations" in item["metadata"]] == []


async def test_without_a_token(backstage_target: Portal) -> None:
    """401."""
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        assert (await backstage_target.http.get(f"{ENTITIES}/by-query", headers=headers)).status_code == 401


async def test_the_addresses_of_all_users(backstage_target: Portal) -> None:
    """Without a group the filter gives every user, in whatever group, with their address."""
    fields = f"{FIELDS},spec.profile.email"
    page = (await get(backstage_target, "by-query", filter="kind=user", fields=fields, limit=500)).json()
    profiles = {item["metadata"]["name"]: item.get("spec", {}).get("profile", {}) for item in page["items"]}
    assert profiles["alice"]["email"] == "alice@example.com"
    assert {"alice", "bob", "carol", "dave", "Erin.Mixed"} <= profiles.keys()
    assert page["totalItems"] == len(page["items"])
