"""Keys for software: groups and components as owners of keys."""

from __future__ import annotations

import httpx
import pytest

from domain.identity import GroupRefs
from domain.owners import OwnerEntry
from domain.users import Tier
from standalone.backstage import BackstageStandIn
from standalone.catalog import ADMINS, MEMBERS, TEAM_A, Component
from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BASE, BOB, CAROL, Clock, MakeService, Service, keys_path, user_path
from tests.support.keys import made
from tests.support.upstreams import Answer, Overriding, respond

DAVE = "user:default/dave"
CHECKOUT, ASSISTANT, ABANDONED = (f"component:default/{name}" for name in ("checkout", "assistant", "abandoned"))
_MINUTE = 61.0


@pytest.fixture
def dave(service: Service) -> httpx.AsyncClient:
    """A member through team-a, which owns checkout and is below the group of all members."""
    return service.signed_in(DAVE)


async def test_a_teams_first_key_for_its_component_creates_the_owner(
    dave: httpx.AsyncClient, litellm: LiteLLMStandIn, backstage: BackstageStandIn
) -> None:
    """With the tier of the first entry that matches, the title, and the uid of the entity."""
    await made(dave, CHECKOUT, alias="ci")
    user = (await dave.get(user_path(CHECKOUT))).json()
    assert (user["kind"], user["maxBudget"], user["tier"]) == ("component", 50.0, "component spec.type=service")
    assert user["entityUid"] == backstage.org.uids[CHECKOUT]
    assert litellm.rows.users[CHECKOUT]["user_alias"] == "Checkout"


async def test_an_owner_that_was_deleted_elsewhere_has_a_user_again(
    dave: httpx.AsyncClient, litellm: LiteLLMStandIn
) -> None:
    """By a cleanup, perhaps at another replica, a moment after its last key: the next one makes it, at once."""
    await made(dave, CHECKOUT)
    litellm.rows.delete_user(CHECKOUT)
    key_id = await made(dave, CHECKOUT)
    assert (CHECKOUT in litellm.rows.users, list(litellm.rows.keys)) == (True, [key_id])


async def test_all_operations_of_keys_serve_a_component(dave: httpx.AsyncClient) -> None:
    """List, read, change, block, unblock, rotate, usage and delete."""
    key_id = await made(dave, CHECKOUT, alias="ci")
    path = keys_path(CHECKOUT, key_id)
    assert [row["token"] for row in (await dave.get(keys_path(CHECKOUT))).json()["keys"]] == [key_id]
    assert (await dave.patch(path, json={"maxBudget": 5, "blocked": True})).json()["blockedBy"] == "owner"
    assert (await dave.patch(path, json={"blocked": False})).json()["blocked"] is False
    rotated = await dave.post(f"{path}/regenerate", json={})
    assert rotated.status_code == 201
    assert (await dave.get(f"{user_path(CHECKOUT)}/usage")).json()["userId"] == CHECKOUT
    assert (await dave.delete(keys_path(CHECKOUT, rotated.json()["keyId"]))).status_code == 204


async def test_members_of_a_group_manage_its_keys(alice: httpx.AsyncClient, dave: httpx.AsyncClient) -> None:
    """A member of a group below it, too, but nobody who is only above."""
    await made(dave, MEMBERS)
    await made(alice, MEMBERS)
    assert (await alice.post(keys_path(TEAM_A))).status_code == 403


@pytest.mark.parametrize("method", ["get", "post"])
async def test_who_manages_it_not_is_refused(
    service: Service, alice: httpx.AsyncClient, dave: httpx.AsyncClient, method: str
) -> None:
    """Alice is in another group, carol has no role; the refusal says who manages it."""
    await made(dave, CHECKOUT)
    refused = await alice.request(method, keys_path(CHECKOUT))
    message = refused.json()["error"]["message"]
    assert (refused.status_code, message) == (403, f"{CHECKOUT} is managed by {TEAM_A}, admins")
    carols = await service.signed_in(CAROL).request(method, keys_path(CHECKOUT))
    assert (carols.status_code, "neither the allowed group" in carols.json()["error"]["message"]) == (403, True)


async def test_managing_takes_a_role(service: Service, backstage: BackstageStandIn) -> None:
    """Being in the owning group alone gives none."""
    backstage.org.users[CAROL] = {"group:default/others"}
    backstage.org.groups["group:default/others"] = None
    backstage.org.components[CHECKOUT] = Component("group:default/others")
    assert (await service.signed_in(CAROL).post(keys_path(CHECKOUT))).status_code == 403


async def test_an_admin_manages_every_owner(bob: httpx.AsyncClient) -> None:
    """Beyond the tier, and the first key creates the owner as well."""
    await made(bob, CHECKOUT, maxBudget=500)
    assert (await bob.get(user_path(CHECKOUT))).json()["maxBudget"] == 50.0


async def test_the_tier_limits_who_manages(dave: httpx.AsyncClient) -> None:
    """Its budget and its number of keys."""
    refused = await dave.post(keys_path(CHECKOUT), json={"maxBudget": 51})
    assert (refused.status_code, "maxBudget must be at most 50" in refused.text) == (403, True)
    for _ in range(5):
        await made(dave, CHECKOUT)
    assert (await dave.post(keys_path(CHECKOUT))).status_code == 409


@pytest.mark.parametrize("owner", [ABANDONED, "component:default/nothing", "component:other/checkout"])
async def test_what_no_entry_matches_has_no_keys(
    dave: httpx.AsyncClient, bob: httpx.AsyncClient, litellm: LiteLLMStandIn, owner: str
) -> None:
    """A library, one that does not exist, the same name in another namespace: for nobody, and nothing is made."""
    assert (await dave.post(keys_path(owner))).status_code == 403
    refused = await bob.post(keys_path(owner))
    assert (refused.status_code, "no entry of litellmOrchestrator.owners" in refused.text) == (400, True)
    assert litellm.rows.users == {}
    assert (await bob.post(f"{BASE}/users", json={"userId": owner})).status_code == 400


async def test_without_entries_only_people_have_keys(make_service: MakeService) -> None:
    """As before; the refusal says what the operator has to set."""
    service = make_service(owners=())
    refused = await service.signed_in(DAVE).post(keys_path(CHECKOUT))
    assert (refused.status_code, "litellmOrchestrator.owners" in refused.text) == (403, True)
    assert (await service.signed_in(BOB).post(keys_path(CHECKOUT))).status_code == 400


async def test_leaving_the_group_ends_managing_within_a_minute(
    dave: httpx.AsyncClient, backstage: BackstageStandIn, clock: Clock
) -> None:
    """The catalog's answers about owners are remembered as long as those about people."""
    await made(dave, CHECKOUT)
    backstage.org.users[DAVE] = {MEMBERS}
    assert (await dave.get(keys_path(CHECKOUT))).status_code == 200
    clock.advance(_MINUTE)
    assert (await dave.get(keys_path(CHECKOUT))).status_code == 403


async def test_the_new_owner_manages_it_and_the_old_does_not(
    service: Service, alice: httpx.AsyncClient, dave: httpx.AsyncClient, backstage: BackstageStandIn, clock: Clock
) -> None:
    """A component that another group takes over keeps its keys."""
    key_id = await made(dave, CHECKOUT)
    backstage.org.components[CHECKOUT] = Component(ALICE)
    clock.advance(_MINUTE)
    assert (await dave.delete(keys_path(CHECKOUT, key_id))).status_code == 403
    assert (await alice.delete(keys_path(CHECKOUT, key_id))).status_code == 204


async def test_a_name_that_is_taken_over_inherits_nothing(
    dave: httpx.AsyncClient, bob: httpx.AsyncClient, backstage: BackstageStandIn, clock: Clock
) -> None:
    """Until an admin accepts the uid of the component that was registered again, by that uid alone."""
    await made(dave, CHECKOUT)
    backstage.org.uids[CHECKOUT] = "registered-anew"
    clock.advance(_MINUTE)
    refused = await dave.get(keys_path(CHECKOUT))
    assert (refused.status_code, "registered again" in refused.text) == (403, True)
    assert (await dave.patch(user_path(CHECKOUT), json={"entityUid": "registered-anew"})).status_code == 403
    assert (await bob.patch(user_path(CHECKOUT), json={"entityUid": "another"})).status_code == 409
    accepted = await bob.patch(user_path(CHECKOUT), json={"entityUid": "registered-anew"})
    assert (accepted.status_code, accepted.json()["entityUid"]) == (200, "registered-anew")
    assert (await dave.get(keys_path(CHECKOUT))).status_code == 200


async def test_a_user_that_was_made_elsewhere_under_the_name_of_a_component_is_nobodys(
    dave: httpx.AsyncClient, litellm: LiteLLMStandIn
) -> None:
    """It has no uid: an admin has to accept it first."""
    litellm.rows.add_user({"user_id": CHECKOUT})
    assert (await dave.get(keys_path(CHECKOUT))).status_code == 403
    assert (await dave.post(keys_path(CHECKOUT))).status_code == 403


async def test_the_page_of_what_one_manages(dave: httpx.AsyncClient, alice: httpx.AsyncClient) -> None:
    """Oneself, groups and components, in the order of ids; those without a user are candidates with their limits."""
    await made(dave, CHECKOUT)
    await dave.get(user_path(DAVE))
    page = (await dave.get(f"{BASE}/users", params={"managedBy": "me"})).json()
    assert [(row["userId"], row["displayName"]) for row in page["users"]] == [(CHECKOUT, "Checkout"), (DAVE, "Dave")]
    assert [row.get("limits", {}).get("maxKeys") for row in page["users"]] == [5, None]
    assert {row["userId"]: row["limits"]["maxKeys"] for row in page["candidates"]}[ASSISTANT] == 5
    candidates = {row["userId"]: row["limits"]["maxBudget"] for row in page["candidates"]}
    assert candidates == {ASSISTANT: 50.0, MEMBERS: 200.0, TEAM_A: 200.0}
    hers = (await alice.get(f"{BASE}/users", params={"managedBy": "me", "kind": "component"})).json()
    assert [row["userId"] for row in hers["candidates"]] == [ASSISTANT]


async def test_pages_of_what_one_manages(dave: httpx.AsyncClient) -> None:
    """Two at a time, all of them once."""
    seen: list[str] = []
    params: dict[str, str] = {"managedBy": "me", "limit": "2"}
    while True:
        page = (await dave.get(f"{BASE}/users", params=params)).json()
        seen += [row["userId"] for row in (*page["users"], *page["candidates"])]
        if page["nextCursor"] is None:
            break
        params["cursor"] = page["nextCursor"]
    assert seen == [ASSISTANT, CHECKOUT, MEMBERS, TEAM_A]


async def test_an_admin_filters_by_kind(bob: httpx.AsyncClient, dave: httpx.AsyncClient) -> None:
    """Users, groups and components stand in one directory."""
    await made(dave, CHECKOUT)
    await made(dave, TEAM_A)
    await dave.get(user_path(DAVE))
    pages = {kind: await bob.get(f"{BASE}/users", params={"kind": kind}) for kind in ("user", "group", "component")}
    listed = {kind: [row["userId"] for row in page.json()["users"]] for kind, page in pages.items()}
    assert listed == {"user": [DAVE], "group": [TEAM_A], "component": [CHECKOUT]}


async def test_a_group_may_have_so_many_owners(make_service: MakeService, backstage: BackstageStandIn) -> None:
    """`maxOwners` counts those with keys of one entry and group; an admin may exceed it."""
    entry = OwnerEntry("component", ("spec.type=service",), 2, Tier(max_budget=5))
    service = make_service(owners=(entry,))
    for name in ("a", "b", "c", "d"):
        backstage.org.components[f"component:default/{name}"] = Component(TEAM_A)
    dave = service.signed_in(DAVE)
    await made(dave, "component:default/a")
    await made(dave, "component:default/b")
    refused = await dave.post(keys_path("component:default/c"))
    assert (refused.status_code, f"{TEAM_A} has 2 owners" in refused.text) == (409, True)
    await made(dave, "component:default/a")
    await made(service.signed_in(BOB), "component:default/d")


async def test_what_went_and_comes_again_does_not_count_twice(
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """Deleted in LiteLLM, and still in the directory: its own place is free."""
    service = make_service(owners=(OwnerEntry("component", ("spec.type=service",), 1, Tier()),), known_user_seconds=0)
    dave = service.signed_in(DAVE)
    await made(dave, CHECKOUT)
    litellm.rows.users.clear()
    litellm.rows.keys.clear()
    clock.advance(1)
    await made(dave, CHECKOUT)


async def test_what_no_entry_matches_any_more_gets_no_more_keys(
    dave: httpx.AsyncClient, bob: httpx.AsyncClient, backstage: BackstageStandIn, clock: Clock
) -> None:
    """From an admin neither; its keys can be read and deleted until the cleanup takes it."""
    key_id = await made(dave, CHECKOUT)
    backstage.org.components[CHECKOUT] = Component(TEAM_A, type="library")
    clock.advance(_MINUTE)
    refused = await bob.post(keys_path(CHECKOUT))
    assert (refused.status_code, "0" in refused.json()["error"]["message"]) == (409, True)
    assert (await bob.delete(keys_path(CHECKOUT, key_id))).status_code == 204


async def test_an_owner_counts_for_the_first_entry_that_it_meets(
    make_service: MakeService, backstage: BackstageStandIn
) -> None:
    """`maxOwners` of a later one, whose conditions it meets as well, has room, and that of groups is none."""
    entries = (
        OwnerEntry("component", ("spec.lifecycle=experimental",), 1, Tier(max_budget=5)),
        OwnerEntry("group", ("spec.type=service",), 1, Tier(max_budget=5)),
        OwnerEntry("component", ("spec.type=service",), 1, Tier(max_budget=5)),
    )
    dave = make_service(owners=entries).signed_in(DAVE)
    backstage.org.components |= {
        "component:default/a": Component(TEAM_A, lifecycle="experimental"),
        "component:default/b": Component(TEAM_A, lifecycle="experimental"),
        "component:default/c": Component(TEAM_A),
    }
    await made(dave, "component:default/a")
    assert (await dave.post(keys_path("component:default/b"))).status_code == 409
    await made(dave, CHECKOUT)
    assert (await dave.post(keys_path("component:default/c"))).status_code == 409


async def test_each_group_has_room_of_its_own(
    make_service: MakeService, backstage: BackstageStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a component that two own, both groups have to have room; what another group has, counts for that one."""
    shared, a, b = (f"component:default/{name}" for name in ("shared", "a", "b"))
    org, plain = backstage.org, backstage.org._relations
    org.components |= {shared: Component(TEAM_A), a: Component(TEAM_A), b: Component(MEMBERS)}
    both = [{"type": "ownedBy", "targetRef": group} for group in (TEAM_A, MEMBERS)]
    monkeypatch.setattr(org, "_relations", lambda ref: both if ref == shared else plain(ref))
    service = make_service(owners=(OwnerEntry("component", ("spec.type=service",), 2, Tier()),))
    dave = service.signed_in(DAVE)
    await made(dave, a)
    await made(dave, b)
    await made(dave, shared)
    refused = await dave.post(keys_path(CHECKOUT))
    assert (refused.status_code, f"{TEAM_A} has 2 owners of keys" in refused.text) == (409, True)


async def test_without_the_catalog_nobody_becomes_a_manager(
    make_service: MakeService, backstage: BackstageStandIn
) -> None:
    """A 503 that says so, and no 403; what it allowed a while ago goes on. An admin needs no catalog to read."""
    answers: dict[str, Answer] = {}
    away = Overriding(httpx.ASGITransport(backstage.app), answers)
    service = make_service(ports={"backstage": away})
    dave = service.signed_in(DAVE)
    await made(dave, CHECKOUT)
    answers["/api/catalog/entities/by-query"] = respond(503)
    assert (await dave.get(keys_path(CHECKOUT))).status_code == 200
    assert (await dave.get(keys_path(ASSISTANT))).status_code == 503
    assert (await service.signed_in(BOB).get(keys_path(CHECKOUT))).status_code == 200


async def test_a_refusal_that_is_old_is_no_refusal(
    make_service: MakeService, backstage: BackstageStandIn, clock: Clock
) -> None:
    """While the catalog is away: whom it did not allow may manage by now. What it allowed goes on."""
    answers: dict[str, Answer] = {}
    service = make_service(ports={"backstage": Overriding(httpx.ASGITransport(backstage.app), answers)})
    dave, alice = service.signed_in(DAVE), service.signed_in(ALICE)
    await made(dave, CHECKOUT)
    assert (await alice.get(keys_path(CHECKOUT))).status_code == 403
    answers["/api/catalog/entities/by-query"] = respond(503)
    clock.advance(_MINUTE)
    assert (await alice.get(keys_path(CHECKOUT))).status_code == 503
    assert (await dave.get(keys_path(CHECKOUT))).status_code == 200


async def test_managers_see_the_audit_log_of_what_they_manage(
    alice: httpx.AsyncClient, dave: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    """Also what others did to it; nobody else's."""
    key_id = await made(bob, CHECKOUT)
    page = (await dave.get(f"{BASE}/audit", params={"target": CHECKOUT})).json()
    assert {(row["actor"], row["action"]) for row in page["events"]} == {(BOB, "user.create"), (BOB, "key.create")}
    assert key_id in {row["keyId"] for row in page["events"]}
    assert (await alice.get(f"{BASE}/audit", params={"target": CHECKOUT})).status_code == 403


async def test_auditors_read_every_owner_and_change_none(
    make_service: MakeService, backstage: BackstageStandIn
) -> None:
    """Membership in the owning group gives an auditor nothing: managing takes the allowed or the admin group."""
    backstage.org.groups["group:default/auditors"] = None
    backstage.org.users[CAROL] = {"group:default/auditors"}
    groups = GroupRefs(allowed=(MEMBERS,), admin=(ADMINS,), auditor=("group:default/auditors",))
    service = make_service(groups=groups)
    await made(service.signed_in(DAVE), CHECKOUT)
    backstage.org.components[CHECKOUT] = Component("group:default/auditors")
    carol = service.signed_in(CAROL)
    assert (await carol.get(keys_path(CHECKOUT))).status_code == 200
    assert (await carol.post(keys_path(CHECKOUT))).status_code == 403
    page = (await carol.get(f"{BASE}/users", params={"managedBy": "me"})).json()
    assert (page["users"], page["candidates"]) == ([], [])


async def test_a_service_token_manages_no_owner(service: Service) -> None:
    """A member's token does what it did; an admin's may do everything."""
    assert (await service.client("service-token-for-tests").post(keys_path(CHECKOUT))).status_code == 201


async def test_nobody_manages_what_a_group_owns_that_is_gone(
    dave: httpx.AsyncClient, backstage: BackstageStandIn, clock: Clock
) -> None:
    """Its members still name it; neither is it on the page of what they manage."""
    await made(dave, CHECKOUT)
    del backstage.org.groups[TEAM_A]
    backstage.org.users[DAVE] |= {MEMBERS}
    clock.advance(_MINUTE)
    assert (await dave.get(keys_path(CHECKOUT))).status_code == 403
    page = (await dave.get(f"{BASE}/users", params={"managedBy": "me"})).json()
    assert {row["userId"] for row in (*page["users"], *page["candidates"])} == {ASSISTANT, MEMBERS}
