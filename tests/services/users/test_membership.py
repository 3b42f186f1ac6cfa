"""Membership by the catalog, through the API."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from settings.model import BackstageSettings
from standalone.backstage import BASE_URL, BackstageStandIn
from standalone.catalog import ADMINS, MEMBERS, TEAM_A
from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BASE, BOB, CAROL, SERVICE_TOKEN, Clock, MakeService, keys_path, user_path
from tests.support.upstreams import Holding, Overriding, refuse

DAVE = "user:default/dave"
BY_NAME = "/api/catalog/entities/by-name/user/default/"


async def status(client: httpx.AsyncClient, ref: str) -> int:
    return (await client.get(keys_path(ref))).status_code


async def test_leaving_takes_effect_before_the_token_expires(
    make_service: MakeService, backstage: BackstageStandIn, clock: Clock
) -> None:
    """Within a minute; with the token alone it would take an hour."""
    by_catalog, by_token = make_service(membership="catalog"), make_service()
    assert await status(by_catalog.signed_in(ALICE), ALICE) == 200
    token = backstage.user_token(ALICE)
    backstage.org.users[ALICE] = set()
    assert await status(by_catalog.client(token), ALICE) == 200
    clock.advance(61)
    assert await status(by_catalog.client(token), ALICE) == 403
    assert await status(by_token.client(token), ALICE) == 200


async def test_nested_groups_count(make_service: MakeService) -> None:
    """Dave is in team-a, below the allowed group: a member by the catalog, but not by his token."""
    assert await status(make_service(membership="catalog").signed_in(DAVE), DAVE) == 200
    assert await status(make_service(membership="catalog", include_nested_groups=False).signed_in(DAVE), DAVE) == 403
    assert await status(make_service().signed_in(DAVE), DAVE) == 403


async def test_the_catalog_decides_about_admins_and_outsiders(
    make_service: MakeService, backstage: BackstageStandIn
) -> None:
    """Whatever the token says. A user who is not in the catalog has no role."""
    service = make_service(membership="catalog")
    assert (await service.signed_in(BOB).get(user_path(ALICE))).status_code == 404
    lying = backstage.user_token(CAROL, ent=[CAROL, ADMINS, MEMBERS])
    assert await status(service.client(lying), CAROL) == 403
    unknown = "user:default/unknown"
    assert await status(service.client(backstage.user_token(unknown, ent=[MEMBERS])), unknown) == 403


async def test_the_catalog_is_asked_once_a_minute(make_service: MakeService, backstage: BackstageStandIn) -> None:
    """For the user, and for the two trees of groups."""
    alice = make_service(membership="catalog").signed_in(ALICE)
    for _ in range(3):
        assert await status(alice, ALICE) == 200
    assert sum("/api/catalog/" in request for request in backstage.requests) == 4


async def test_a_crowd_asks_the_catalog_once(make_service: MakeService, backstage: BackstageStandIn) -> None:
    """Fifty people after a start: once for each of them, and once for each of the three groups that count."""
    people = [f"user:default/person-{number}" for number in range(50)]
    backstage.org.users |= {person: {MEMBERS} for person in people}
    to_backstage = Holding(httpx.ASGITransport(backstage.app))
    to_backstage.held = {"/api/catalog/entities/by-name/group/default/litellm-users"}
    service = make_service(membership="catalog", ports={"backstage": to_backstage})
    crowd = [asyncio.create_task(service.signed_in(person).get(f"{BASE}/me")) for person in people]
    await to_backstage.arrived.wait()
    to_backstage.released.set()
    assert {answer.status_code for answer in await asyncio.gather(*crowd)} == {200}
    asked = [request for request in backstage.requests if "/api/catalog/" in request]
    assert len(asked) == len(people) + 3


async def test_services_and_plugins_are_not_in_the_catalog(
    make_service: MakeService, backstage: BackstageStandIn
) -> None:
    """A service token has its role; a plugin alone has none."""
    service = make_service(membership="catalog")
    assert (await service.client(SERVICE_TOKEN).get(user_path(ALICE))).status_code == 404
    assert await status(service.client(backstage.plugin_token()), ALICE) == 403


async def test_a_failing_catalog_lets_nobody_in_and_signs_nobody_out(
    make_service: MakeService, backstage: BackstageStandIn
) -> None:
    """502 or 503; and the next request works."""
    transport = Overriding(httpx.ASGITransport(backstage.app), {})
    service = make_service(membership="catalog", ports={"backstage": transport})
    transport.answers[f"{BY_NAME}alice"] = lambda _: httpx.Response(401)
    assert await status(service.signed_in(ALICE), ALICE) == 502
    transport.answers.clear()
    assert await status(service.signed_in(ALICE), ALICE) == 200


@pytest.mark.parametrize(
    ("ref", "expected"), [(ALICE, 201), (BOB, 201), (DAVE, 201), (CAROL, 400), ("user:default/nobody", 400)]
)
async def test_users_that_the_next_cleanup_would_remove_are_not_created(
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
    assert await status(make_service(membership="catalog").signed_in(DAVE), DAVE) == 200
    backstage.org.groups |= {MEMBERS: None, "group:default/l0": MEMBERS}
    backstage.org.groups |= {f"group:default/l{depth}": f"group:default/l{depth - 1}" for depth in range(1, 25)}
    assert await status(make_service(membership="catalog").signed_in(DAVE), DAVE) == 502
