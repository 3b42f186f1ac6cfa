"""Membership by the catalog, through the API."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterable
from typing import Any

import httpx
import pytest

from domain.identity import GroupRefs
from settings.model import BackstageSettings
from standalone.backstage import BASE_URL, BackstageStandIn
from standalone.catalog import ADMINS, MEMBERS, TEAM_A
from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BASE, BOB, CAROL, SERVICE_TOKEN, Clock, MakeService, keys_path, user_path
from tests.support.upstreams import Answer, Holding, Overriding, hang, refuse, respond

USERS = ("user/default/alice", "user/default/bob", "user/default/carol", "user/development/guest")
DAVE, GUEST = "user:default/dave", "user:development/guest"
GROUPS = ("group/default/litellm-users", "group/default/admins")
FAULTS: dict[str, Answer] = {"refuses": refuse, "hangs": hang, "500": respond(500), "401": respond(401)}
BY_NAME = "/api/catalog/entities/by-name/user/default/"


async def status(client: httpx.AsyncClient, ref: str) -> int:
    return (await client.get(keys_path(ref))).status_code


async def test_leaving_takes_effect_before_the_token_expires(
    make_service: MakeService, backstage: BackstageStandIn, clock: Clock
) -> None:
    """Within a minute; with the token alone it would take an hour."""
    by_catalog, by_token = make_service(), make_service(membership="token")
    assert await status(by_catalog.signed_in(ALICE), ALICE) == 200
    token = backstage.user_token(ALICE)
    backstage.org.users[ALICE] = set()
    assert await status(by_catalog.client(token), ALICE) == 200
    clock.advance(61)
    assert await status(by_catalog.client(token), ALICE) == 403
    assert await status(by_token.client(token), ALICE) == 200


async def test_nested_groups_count(make_service: MakeService) -> None:
    """Dave is in team-a, below the allowed group: a member by the catalog, but not by his token."""
    assert await status(make_service().signed_in(DAVE), DAVE) == 200
    assert await status(make_service(include_nested_groups=False).signed_in(DAVE), DAVE) == 403
    assert await status(make_service(membership="token").signed_in(DAVE), DAVE) == 403


async def test_without_a_token_for_the_catalog_the_callers_token_decides(make_service: MakeService) -> None:
    """As in the plugin: there is nothing else to ask."""
    service = make_service(backstage=BackstageSettings(BASE_URL))
    assert await status(service.signed_in(ALICE), ALICE) == 200
    assert await status(service.signed_in(DAVE), DAVE) == 403


async def test_the_catalog_decides_about_admins_and_outsiders(
    make_service: MakeService, backstage: BackstageStandIn
) -> None:
    """Whatever the token says."""
    service = make_service()
    assert (await service.signed_in(BOB).get(user_path(ALICE))).status_code == 404
    lying = backstage.user_token(CAROL, ent=[CAROL, ADMINS, MEMBERS])
    assert await status(service.client(lying), CAROL) == 403


async def test_somebody_who_is_signed_in_and_not_in_the_catalog(
    make_service: MakeService, backstage: BackstageStandIn
) -> None:
    """A guest, say. They hear exactly that, may report a leaked key, and are let in once the catalog has them."""
    service, ref = make_service(), "user:development/guest"
    guest = service.client(backstage.user_token(ref, ent=[ref, MEMBERS]))
    refused = await guest.get(f"{BASE}/me")
    assert refused.status_code == 403
    expected = "user:development/guest is signed in to Backstage, but its catalog has no such user"
    assert refused.json()["error"]["message"] == expected
    assert (await guest.post(f"{BASE}/keys/report", json={"key": "sk-nobody-has-this"})).status_code == 202


async def test_the_catalog_is_asked_once_a_minute(make_service: MakeService, backstage: BackstageStandIn) -> None:
    """For the user, and for the two trees of groups."""
    alice = make_service().signed_in(ALICE)
    for _ in range(3):
        assert await status(alice, ALICE) == 200
    assert sum("/api/catalog/" in request for request in backstage.requests) == 4


async def test_a_crowd_asks_the_catalog_once(make_service: MakeService, backstage: BackstageStandIn) -> None:
    """Fifty people after a start: once for each of them, and once for each of the three groups that count."""
    people = [f"user:default/person-{number}" for number in range(50)]
    backstage.org.users |= {person: {MEMBERS} for person in people}
    to_backstage = Holding(httpx.ASGITransport(backstage.app))
    to_backstage.held = {"/api/catalog/entities/by-name/group/default/litellm-users"}
    service = make_service(ports={"backstage": to_backstage})
    crowd = [asyncio.create_task(service.signed_in(person).get(f"{BASE}/me")) for person in people]
    await to_backstage.arrived.wait()
    to_backstage.released.set()
    assert {answer.status_code for answer in await asyncio.gather(*crowd)} == {200}
    asked = [request for request in backstage.requests if "/api/catalog/" in request]
    assert len(asked) == len(people) + 3


class Outage:
    """A service whose catalog fails from `begin` to `end`; `asked` counts what it is asked about alice."""

    def __init__(self, make_service: MakeService, backstage: BackstageStandIn, **settings: Any) -> None:
        self._transport = Overriding(httpx.ASGITransport(backstage.app), {})
        self.service = make_service(ports={"backstage": self._transport}, **settings)

    def begin(self, fault: Answer, names: Iterable[str] = (*USERS, *GROUPS)) -> None:
        self._transport.answers = {f"/api/catalog/entities/by-name/{name}": fault for name in names}

    def end(self) -> None:
        self._transport.answers = {}

    @property
    def asked(self) -> int:
        return sum(request.url.path.endswith("user/default/alice") for request in self._transport.seen)


@pytest.mark.parametrize("fault", FAULTS)
async def test_an_outage_locks_nobody_out_for_ten_minutes(
    make_service: MakeService, backstage: BackstageStandIn, clock: Clock, fault: str
) -> None:
    """What the catalog allowed stays allowed that long, and what the admin group may do as well."""
    outage = Outage(make_service, backstage)
    alice, bob = outage.service.signed_in(ALICE), outage.service.signed_in(BOB)
    assert (await status(alice, ALICE), (await bob.get(user_path(ALICE))).status_code) == (200, 200)
    outage.begin(FAULTS[fault])
    for seconds in (61, 270, 268):
        clock.advance(seconds)
        assert (await status(alice, ALICE), (await bob.get(user_path(ALICE))).status_code) == (200, 200)
    clock.advance(2)
    assert await status(alice, ALICE) in {502, 503, 504}
    outage.end()
    clock.advance(10)
    assert await status(alice, ALICE) == 200


async def test_a_catalog_that_hangs_is_asked_every_ten_seconds(
    make_service: MakeService, backstage: BackstageStandIn, clock: Clock
) -> None:
    """Otherwise each request would wait for it in vain."""
    outage = Outage(make_service, backstage)
    alice = outage.service.signed_in(ALICE)
    assert await status(alice, ALICE) == 200
    outage.begin(hang)
    clock.advance(60)
    before = outage.asked
    for _ in range(20):
        assert await status(alice, ALICE) == 200
        clock.advance(1)
    assert outage.asked == before + 2
    outage.end()
    assert await status(alice, ALICE) == 200
    assert outage.asked == before + 3


async def test_an_outage_makes_no_refusal_last(
    make_service: MakeService, backstage: BackstageStandIn, clock: Clock
) -> None:
    """Who was in no group may have joined since: after a minute they hear 503, and 200 once the catalog is back."""
    outage = Outage(make_service, backstage)
    carol, nobody = outage.service.signed_in(CAROL), outage.service.signed_in(GUEST)
    assert (await status(carol, CAROL), await status(nobody, GUEST)) == (403, 403)
    outage.begin(refuse)
    backstage.org.users |= {CAROL: {MEMBERS}, GUEST: {MEMBERS}}
    assert await status(carol, CAROL) == 403
    clock.advance(61)
    for caller, ref in ((carol, CAROL), (nobody, GUEST)):
        refused = await caller.get(keys_path(ref))
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    assert (await carol.post(f"{BASE}/keys/report", json={"key": "sk-nobody-has-this"})).status_code == 202
    outage.end()
    clock.advance(10)
    assert (await status(carol, CAROL), await status(nobody, GUEST)) == (200, 200)


@pytest.mark.parametrize("names", [USERS, GROUPS], ids=["users", "groups"])
async def test_an_outage_refuses_nobody_who_may_have_become_an_admin(
    make_service: MakeService, backstage: BackstageStandIn, clock: Clock, names: tuple[str, ...]
) -> None:
    """The old answer allows alice her own keys; whether she may see bob's, or the list of users, nobody can tell."""
    outage = Outage(make_service, backstage)
    alice = outage.service.signed_in(ALICE)
    assert (await status(alice, BOB), (await alice.get(f"{BASE}/users")).status_code) == (403, 403)
    outage.begin(refuse, names)
    clock.advance(61)
    assert (await status(alice, BOB), (await alice.get(f"{BASE}/users")).status_code) == (503, 503)
    assert (await alice.patch(user_path(BOB), json={"maxBudget": 5})).status_code == 503
    assert await status(alice, ALICE) == 200


async def test_leaving_during_an_outage(make_service: MakeService, backstage: BackstageStandIn, clock: Clock) -> None:
    """It takes effect with the first answer of the catalog."""
    outage = Outage(make_service, backstage)
    alice = outage.service.signed_in(ALICE)
    assert await status(alice, ALICE) == 200
    backstage.org.users[ALICE] = set()
    outage.begin(refuse)
    clock.advance(61)
    assert await status(alice, ALICE) == 200
    outage.end()
    clock.advance(10)
    assert await status(alice, ALICE) == 403


@pytest.mark.parametrize("seconds", [0, 30, 90])
async def test_how_long_an_old_answer_serves_is_a_setting(
    make_service: MakeService, backstage: BackstageStandIn, clock: Clock, seconds: int
) -> None:
    """`membershipStaleSeconds`; less than `membershipSeconds` is never."""
    outage = Outage(make_service, backstage, membership_stale_seconds=seconds)
    alice = outage.service.signed_in(ALICE)
    assert await status(alice, ALICE) == 200
    outage.begin(refuse)
    clock.advance(59)
    assert await status(alice, ALICE) == 200
    clock.advance(10)
    assert await status(alice, ALICE) == (200 if seconds > 69 else 503)
    clock.advance(30)
    assert await status(alice, ALICE) == 503


async def test_a_group_that_is_gone_is_no_outage(
    make_service: MakeService, backstage: BackstageStandIn, clock: Clock
) -> None:
    """The catalog says so: an answer from before it went does not serve."""
    alice = make_service().signed_in(ALICE)
    assert await status(alice, ALICE) == 200
    del backstage.org.groups[MEMBERS]
    clock.advance(61)
    answer = await alice.get(keys_path(ALICE))
    assert (answer.status_code, answer.json()["error"]["message"]) == (502, f"Backstage's catalog has no {MEMBERS}")


@pytest.mark.parametrize("setting", ["allowed", "admin", "auditor"])
async def test_a_group_that_the_catalog_lacks_costs_nobody_what_others_give_them(
    make_service: MakeService, backstage: BackstageStandIn, log: io.StringIO, setting: str
) -> None:
    """Nobody is in it, and everybody else is as before. Who is refused may have been in it, and learns its name."""
    groups = {"allowed": (MEMBERS,), "admin": (ADMINS,), "auditor": ()}
    groups[setting] += ("group:default/gone",)
    service = make_service(groups=GroupRefs(**groups))
    alice, bob, carol = (service.signed_in(ref) for ref in (ALICE, BOB, CAROL))
    assert [await status(alice, ALICE), await status(bob, ALICE)] == [200, 200]
    refused = await alice.get(keys_path(BOB))
    is_unsure = setting != "allowed"  # as a member she is known already
    assert refused.status_code == (502 if is_unsure else 403)
    assert ("has no group:default/gone" in refused.text) is is_unsure
    assert await status(carol, CAROL) == 403, "who is in no group is in none that is gone"
    assert log.getvalue().count("does not exist in the catalog") == 1, "it is asked once a minute, not in each request"


async def test_creating_somebody_whom_an_old_answer_does_not_know(
    make_service: MakeService, backstage: BackstageStandIn, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """Alice, a member by it, is created; carol may have joined since, so nobody says that she is in no group."""
    outage = Outage(make_service, backstage)
    bob = outage.service.signed_in(BOB)
    await status(outage.service.signed_in(CAROL), CAROL)
    assert (await outage.service.signed_in(ALICE).get(f"{BASE}/me")).status_code == 200
    assert (await bob.get(f"{BASE}/me")).status_code == 200
    outage.begin(refuse)
    clock.advance(61)
    assert (await bob.post(f"{BASE}/users", json={"userId": ALICE})).status_code == 201
    assert (await bob.post(f"{BASE}/users", json={"userId": CAROL})).status_code == 503
    assert set(litellm.rows.users) == {ALICE}


async def test_services_and_plugins_are_not_in_the_catalog(
    make_service: MakeService, backstage: BackstageStandIn
) -> None:
    """A service token has its role; a plugin alone has none."""
    service = make_service()
    assert (await service.client(SERVICE_TOKEN).get(user_path(ALICE))).status_code == 404
    assert await status(service.client(backstage.plugin_token()), ALICE) == 403


async def test_a_failing_catalog_lets_nobody_in_and_signs_nobody_out(
    make_service: MakeService, backstage: BackstageStandIn
) -> None:
    """502 or 503; and the next request works."""
    transport = Overriding(httpx.ASGITransport(backstage.app), {})
    service = make_service(ports={"backstage": transport})
    transport.answers[f"{BY_NAME}alice"] = lambda _: httpx.Response(401)
    assert await status(service.signed_in(ALICE), ALICE) == 502
    transport.answers.clear()
    assert await status(service.signed_in(ALICE), ALICE) == 200


@pytest.mark.parametrize(
    ("ref", "expected"), [(ALICE, 201), (BOB, 201), (DAVE, 201), (CAROL, 400), ("user:default/nobody", 400)]
)
async def test_users_that_the_next_cleanup_would_off_board_are_not_created(
    make_service: MakeService, litellm: LiteLLMStandIn, ref: str, expected: int
) -> None:
    """With either kind of membership, the catalog decides who may be created."""
    response = await make_service().signed_in(BOB).post(f"{BASE}/users", json={"userId": ref})
    assert response.status_code == expected
    assert (ref in litellm.rows.users) is (expected == 201)
    if expected == 400:
        assert "neither the allowed group nor the admin group" in response.json()["error"]["message"]


async def test_creating_users_with_the_catalog_out_of_reach(
    make_service: MakeService, backstage: BackstageStandIn, litellm: LiteLLMStandIn
) -> None:
    """503, and nobody is created."""
    transport = Overriding(httpx.ASGITransport(backstage.app), {f"{BY_NAME}dave": refuse})
    bob = make_service(ports={"backstage": transport}).signed_in(BOB)
    assert (await bob.post(f"{BASE}/users", json={"userId": DAVE})).status_code == 503
    assert litellm.rows.users == {}


async def test_without_a_token_for_the_catalog(make_service: MakeService) -> None:
    """Tokens decide, as in the plugin, and there is no cleanup."""
    bob = make_service(backstage=BackstageSettings(BASE_URL)).signed_in(BOB)
    assert (await bob.post(f"{BASE}/users", json={"userId": CAROL})).status_code == 201
    assert (await bob.get(f"{BASE}/cleanup")).json() == {
        "enabled": False,
        "running": False,
        "nextRunAt": None,
        "gracePeriod": None,
        "lastReport": None,
    }
    assert (await bob.post(f"{BASE}/cleanup", json={"dryRun": False})).status_code == 409


async def test_cyclic_and_too_deep_groups(make_service: MakeService, backstage: BackstageStandIn) -> None:
    """A cycle is harmless; more than twenty levels are a fault."""
    backstage.org.groups |= {MEMBERS: TEAM_A}
    assert await status(make_service().signed_in(DAVE), DAVE) == 200
    backstage.org.groups |= {MEMBERS: None, "group:default/l0": MEMBERS}
    backstage.org.groups |= {f"group:default/l{depth}": f"group:default/l{depth - 1}" for depth in range(1, 25)}
    assert await status(make_service().signed_in(DAVE), DAVE) == 502
