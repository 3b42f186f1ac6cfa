"""User administration: pages of users, budgets and limits, tiers, off-boarding a user now."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import httpx
import pytest

from domain.users import Tier
from standalone.backstage import BackstageStandIn
from standalone.catalog import ADMINS, MEMBERS, TEAM_A
from standalone.litellm import LiteLLMStandIn
from state.database import Database
from state.lease import Lease
from tests.conftest import ALICE, BASE, BOB, SERVICE_TOKEN, Clock, MakeService, Service, keys_path, user_path
from tests.support.keys import made, refusal
from tests.support.kill_points import Killed, KillSwitch
from tests.support.requests import ended
from tests.support.upstreams import Overriding
from tests.support.user_list import listing

DAVE = "user:default/dave"
USERS = f"{BASE}/users"


def named(number: int) -> str:
    return f"user:default/u{number:03}"


async def listed(client: httpx.AsyncClient, **query: Any) -> list[str]:
    """Every page, one after the other."""
    page = await client.get(USERS, params=query)
    ids = [row["userId"] for row in page.json()["users"]]
    while "link" in page.headers:
        page = await client.get(page.headers["link"].split(">")[0][1:])
        ids += [row["userId"] for row in page.json()["users"]]
    assert page.json()["nextCursor"] is None
    return ids


async def test_all_backstage_users_and_nobody_else(bob: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """Sorted by id; other LiteLLM users are not listed."""
    for number in (*range(149, -1, -1),):
        litellm.rows.add_user({"user_id": named(number)})
    for other in ("svc-ci", "alice@example.com", "default_user_id", "group:default/admins"):
        litellm.rows.add_user({"user_id": other})
    everybody = [named(number) for number in range(150)]
    assert await listed(bob, limit=100) == everybody
    assert await listed(bob, limit=7) == everybody
    assert await listed(bob) == everybody
    assert len((await bob.get(USERS)).json()["users"]) == 50


async def test_whoever_is_listed_can_be_opened(bob: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """LiteLLM compares ids to the letter, and no request can name one in upper case."""
    for user_id in (
        "user:default/zoe",
        "user:default/Zoe",
        "USER:default/yan",
        "user:default/xia",
        "user:default/ann\u0130",
    ):
        litellm.rows.add_user({"user_id": user_id})
    for query in ({}, {"limit": 1}, {"query": "zoe"}, {"status": "active"}):
        ids = await listed(bob, **query)
        assert [(await bob.get(user_path(user_id))).status_code for user_id in ids] == [200] * len(ids)
    assert await listed(bob) == ["user:default/xia", "user:default/zoe"]
    assert (await bob.get(user_path("user:default/Zoe"))).json()["userId"] == "user:default/zoe"


async def test_pages_stay_consistent_while_users_come_and_go(
    bob: httpx.AsyncClient, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """A user who stays is listed once, also if the pages are read more than 30 seconds apart."""
    for number in range(0, 40, 2):
        litellm.rows.add_user({"user_id": named(number)})
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 5}
    for turn in range(4):
        page = (await bob.get(USERS, params=query)).json()
        seen += [row["userId"] for row in page["users"]]
        query["cursor"] = page["nextCursor"]
        litellm.rows.add_user({"user_id": named(2 * turn + 1)})
        litellm.rows.users.pop(named(2 * turn), None)
        clock.advance(31)
    assert [ref for ref in seen if ref in {named(number) for number in range(0, 40, 2)}] == [
        named(number) for number in range(0, 40, 2)
    ]
    assert len(seen) == len(set(seen))


async def test_litellms_repeating_pages(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """A user who is listed twice counts once."""
    rows = [litellm.rows.add_user({"user_id": named(number)}) for number in range(3)]
    repeating = Overriding(httpx.ASGITransport(litellm.app), {"/user/list": listing(lambda: [*rows, *rows])})
    bob = make_service(ports={"litellm": repeating}).signed_in(BOB)
    assert await listed(bob) == [named(0), named(1), named(2)]


async def test_filters(bob: httpx.AsyncClient, litellm: LiteLLMStandIn, make_service: MakeService) -> None:
    """By a part of id, name or e-mail address, ignoring case, and by status."""
    litellm.rows.add_user({"user_id": ALICE, "user_alias": "Alice Liddell", "user_email": "a@example.com"})
    litellm.rows.add_user({"user_id": DAVE, "user_email": "Dave@Example.com", "max_budget": 0})
    assert await listed(bob, query="LIDDELL") == [ALICE]
    assert await listed(bob, query="example.com") == [ALICE, DAVE]
    assert await listed(bob, query="dave", limit=1) == [DAVE]
    assert await listed(bob, query="nobody") == []
    assert await listed(bob, status="overBudget") == [DAVE]
    assert await listed(bob, status="active") == [ALICE]
    assert await listed(bob, status="offboarding") == []


async def test_a_user_being_off_boarded_has_that_status(service: Service, litellm: LiteLLMStandIn) -> None:
    """Between the run that blocks and the one that deletes."""
    litellm.rows.add_user({"user_id": "user:default/frank"})
    bob = service.signed_in(BOB)
    await bob.post(f"{BASE}/cleanup", json={"dryRun": False})
    await ended(bob)
    assert await listed(bob, status="offboarding") == ["user:default/frank"]


async def test_a_member_administers_nobody(alice: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """Not even themselves, and LiteLLM receives nothing."""
    for answer in [
        await alice.get(USERS),
        await alice.patch(user_path(ALICE), json={"maxBudget": 1000}),
        await alice.delete(user_path(ALICE)),
    ]:
        assert await refusal(answer) == (403, "Only an admin may do this")
    assert litellm.requests == []


async def test_changing_a_user(bob: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """An absent field stays; null clears, also where LiteLLM would not; spend can be reset."""
    litellm.rows.add_user({"user_id": ALICE, "max_budget": 5, "budget_duration": "30d"})
    litellm.rows.users[ALICE]["spend"] = 4.5
    limits = {"models": ["gpt-fake"], "tpmLimit": 1000, "rpmLimit": 0}
    changed = (await bob.patch(user_path(ALICE), json=limits | {"spend": 0})).json()
    assert (changed["maxBudget"], changed["budgetDuration"], changed["spend"]) == (5, "30d", 0)
    assert [changed[name] for name in limits] == [["gpt-fake"], 1000, 0]
    cleared = (await bob.patch(user_path(ALICE), json=dict.fromkeys([*limits, "maxBudget", "budgetDuration"]))).json()
    assert [cleared[name] for name in (*limits, "maxBudget", "budgetDuration")] == [[], None, None, None, None]
    assert (await bob.get(user_path(ALICE))).json() == cleared
    await bob.patch(user_path(ALICE), json={"models": ["gpt-fake"]})
    assert (await bob.patch(user_path(ALICE), json={"models": []})).json() == cleared
    assert (await bob.patch(user_path(ALICE), json={})).json() == cleared


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"spend": 1}, "must be 0, to reset it"),
        ({"maxBudget": -1}, "USD from 0"),
        ({"maxBudget": "5"}, "maxBudget must be USD from 0"),
        ({"models": ["gpt-9"]}, "LiteLLM serves"),
        ({"userId": "user:default/x"}, "unknown field"),
        ({"user_role": "proxy_admin"}, "unknown field"),
        ({"budgetDuration": "soon"}, "a duration such as"),
    ],
)
async def test_invalid_changes_are_refused(
    bob: httpx.AsyncClient, litellm: LiteLLMStandIn, asked: dict[str, Any], says: str
) -> None:
    """400 that says what would be right; nothing is changed."""
    before = dict(litellm.rows.add_user({"user_id": ALICE}))
    status, message = await refusal(await bob.patch(user_path(ALICE), json=asked))
    assert (status, says in message) == (400, True), message
    assert litellm.rows.users[ALICE] == before


async def test_changing_a_missing_user_creates_nobody(bob: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """LiteLLM itself would create one silently."""
    assert (await bob.patch(user_path(ALICE), json={"maxBudget": 1})).status_code == 404
    assert litellm.rows.users == {}


async def test_a_user_deleted_during_a_change_does_not_come_back(
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """LiteLLM creates a new user with that id, which is deleted again."""
    litellm.rows.add_user({"user_id": ALICE})
    racing = Overriding(httpx.ASGITransport(litellm.app), {})

    def delete_first(request: httpx.Request) -> httpx.Response:
        litellm.rows.delete_user(ALICE)
        clock.advance(1)
        return httpx.Response(200, json={"data": litellm.rows.update_user(json.loads(request.content))})

    racing.answers["/user/update"] = delete_first
    answer = await make_service(ports={"litellm": racing}).signed_in(BOB).patch(user_path(ALICE), json={"maxBudget": 1})
    assert await refusal(answer) == (404, f"{ALICE} was deleted by another request")
    assert litellm.rows.users == {}


async def test_a_change_that_litellm_ignores_is_reported(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """502, and not a false 200."""
    litellm.rows.add_user({"user_id": ALICE, "max_budget": 5})
    deaf = Overriding(httpx.ASGITransport(litellm.app), {"/user/update": lambda _: httpx.Response(200, json={})})
    answer = await make_service(ports={"litellm": deaf}).signed_in(BOB).patch(user_path(ALICE), json={"maxBudget": 1})
    assert await refusal(answer) == (502, "LiteLLM ignored max_budget")


async def test_off_boarding_now(alice: httpx.AsyncClient, bob: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """Keys are blocked before anything is deleted; a member gets a new user on their next request."""
    for _ in range(3):
        await made(alice)
    litellm.requests.clear()
    assert (await bob.delete(user_path(ALICE))).json() == {"userId": ALICE, "keysDeleted": 3}
    changes = [request for request in litellm.requests if request.startswith("POST")]
    assert changes == ["POST /key/update"] * 3 + ["POST /user/delete"]
    assert (litellm.rows.users, litellm.rows.keys) == ({}, {})
    assert (await bob.delete(user_path(ALICE))).status_code == 404
    assert (await alice.get(keys_path(ALICE))).json()["keys"] == []
    assert list(litellm.rows.users) == [ALICE]


async def test_off_boarding_leaves_the_schedule_of_the_cleanup(service: Service, litellm: LiteLLMStandIn) -> None:
    """It takes the lease and leaves the next run as it was."""
    litellm.rows.add_user({"user_id": ALICE})
    database = Database(service.settings.database_url, service.ports.wall_clock)
    lease = Lease(database, "cleanup", owner="another replica", life=60)
    before = await lease.schedule()
    await service.signed_in(BOB).delete(user_path(ALICE))
    assert await lease.schedule() == before
    await database.aclose()


async def test_a_blocked_user_can_be_off_boarded_at_once(service: Service, litellm: LiteLLMStandIn) -> None:
    """Without waiting for the grace period."""
    frank = "user:default/frank"
    litellm.rows.add_user({"user_id": frank})
    litellm.rows.add_key({"user_id": frank})
    bob = service.signed_in(BOB)
    await bob.post(f"{BASE}/cleanup", json={"dryRun": False})
    await ended(bob)
    assert (await bob.delete(user_path(frank))).json()["keysDeleted"] == 1
    assert litellm.rows.users == {}


@pytest.mark.parametrize("during", [False, True])
async def test_killed_while_off_boarding(
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock, *, during: bool
) -> None:
    """At every step: a repeated request completes it, and nothing stays open."""
    plain = make_service(creates_per_minute=100_000)
    for step in range(80):
        await made(plain.signed_in(ALICE))
        await plain.signed_in(BOB).delete(user_path(ALICE))  # what a killed attempt left is not what the next one finds
        await made(plain.signed_in(ALICE))
        kill_switch = KillSwitch(litellm.app, step, during=during)
        dying = make_service(ports={"litellm": kill_switch})
        with kill_switch.watching():
            try:
                answer = await dying.signed_in(BOB).delete(user_path(ALICE))
            except Killed:
                answer = None
        if answer is not None:
            assert (answer.status_code, step) == (200, 2 if during else 15)
            return
        clock.advance(61)
        if ALICE in litellm.rows.users:
            assert (await plain.signed_in(BOB).delete(user_path(ALICE))).status_code == 200
        assert (litellm.rows.users, litellm.rows.keys) == ({}, {})
        clock.advance(301)
        await plain.run_background_jobs()
        events = (await plain.signed_in(BOB).get(f"{BASE}/audit")).json()["events"]
        assert [event["action"] for event in events if event["outcome"] is None] == []
    pytest.fail("it never came to its end")


TIERS = (
    Tier(ADMINS, max_budget=1000),
    Tier(TEAM_A, max_budget=50, budget_duration="7d", models=("gpt-fake",), tpm_limit=5, rpm_limit=6, max_keys=1),
    Tier(MEMBERS, max_budget=10, max_key_life=3600),
    Tier("group:default/gone", max_budget=1),
)


def with_tiers(make_service: MakeService, **changes: Any) -> Service:
    plain = make_service().settings
    tiers = replace(plain.litellm, group_defaults=TIERS[::-1][:1] + TIERS[:3])
    return make_service(litellm=tiers, **changes)


async def test_the_first_matching_group_selects_the_tier(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """Nested groups count, and a group that does not exist in the catalog is skipped."""
    service = with_tiers(make_service)
    alice, bob = service.signed_in(ALICE), service.signed_in(BOB)
    assert (await alice.get(user_path(ALICE))).json()["tier"] == MEMBERS
    dave = (await bob.post(USERS, json={"userId": DAVE})).json()
    assert dave == (await bob.get(user_path(DAVE))).json()
    assert (dave["tier"], dave["maxBudget"], dave["budgetDuration"], dave["models"]) == (TEAM_A, 50, "7d", ["gpt-fake"])
    assert (dave["tpmLimit"], dave["rpmLimit"]) == (5, 6)
    assert (await bob.get(user_path(BOB))).json()["maxBudget"] == 1000
    assert litellm.rows.users[ALICE]["max_budget"] == 10


async def test_the_authenticated_caller(
    make_service: MakeService, backstage: BackstageStandIn, litellm: LiteLLMStandIn
) -> None:
    """Roles, tier and limits, also through a plugin and for a service. It creates no user."""
    service = with_tiers(make_service)
    me = (await service.signed_in(ALICE).get(f"{BASE}/me")).json()
    assert (me["subject"], me["roles"], me["via"], me["tier"]) == (ALICE, ["member"], None, MEMBERS)
    assert (me["limits"]["maxBudget"], me["limits"]["maxKeyDuration"], me["limits"]["models"]) == (10, 3600, [])
    on_behalf = service.client(backstage.plugin_token(backstage.limited_token(ALICE)))
    assert (await on_behalf.get(f"{BASE}/me")).json() == me | {"via": "plugin:tokens"}
    ci = (await service.client(SERVICE_TOKEN).get(f"{BASE}/me")).json()
    assert (ci["subject"], ci["roles"], ci["tier"]) == ("service:ci", ["admin"], "userDefaults")
    allowed = [{row["name"]: row["scope"] for row in who["permissions"]} for who in (me, ci)]
    assert [(who["keys.create"], who.get("cleanup.run")) for who in allowed] == [("own", None), ("any", "any")]
    assert litellm.requests == []


async def test_without_a_catalog_the_own_token_selects_the_tier(make_service: MakeService) -> None:
    """Other users' groups are unknown then."""
    plain = make_service().settings
    service = with_tiers(make_service, backstage=replace(plain.backstage, catalog_token=None))
    assert (await service.signed_in(ALICE).get(user_path(ALICE))).json()["tier"] == MEMBERS
    assert (await service.signed_in(BOB).post(USERS, json={"userId": DAVE})).json()["tier"] == "userDefaults"


async def test_an_unavailable_catalog_gives_nobody_the_wrong_tier(
    make_service: MakeService, backstage: BackstageStandIn, litellm: LiteLLMStandIn
) -> None:
    """With tiers nobody is created; without tiers only the name is missing."""
    failing = Overriding(httpx.ASGITransport(backstage.app), {})
    failing.answers["/api/catalog/entities/by-name/user/default/alice"] = lambda _: httpx.Response(500, json={})
    service = with_tiers(make_service, ports={"backstage": failing}, membership="token")
    assert (await service.signed_in(ALICE).get(user_path(ALICE))).status_code == 502
    assert litellm.rows.users == {}
    plain = make_service(ports={"backstage": failing}, membership="token")
    assert (await plain.signed_in(ALICE).get(user_path(ALICE))).status_code == 200
    assert litellm.rows.users[ALICE]["user_alias"] is None


async def test_users_get_the_name_and_address_of_the_catalog(alice: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """If the catalog has them."""
    await alice.get(keys_path(ALICE))
    row = litellm.rows.users[ALICE]
    assert (row["user_alias"], row["user_email"]) == ("Alice", "alice@example.com")


async def test_a_duplicate_e_mail_address_does_not_prevent_creation(
    alice: httpx.AsyncClient, litellm: LiteLLMStandIn
) -> None:
    """Addresses are unique in LiteLLM, so the user is created without one."""
    litellm.rows.add_user({"user_id": "old-alice", "user_email": "ALICE@example.com"})
    assert (await alice.get(user_path(ALICE))).status_code == 200
    row = litellm.rows.users[ALICE]
    assert (row["user_alias"], row["user_email"]) == ("Alice", None)
