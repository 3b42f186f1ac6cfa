"""What Backstage can do to a request: every fault, at every operation. No fault ever lets a caller in.

The caller is bob, an admin: he may do everything, so only the fault can stop him.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import httpx
import pytest

from standalone.backstage import BackstageStandIn
from standalone.catalog import ADMINS, MEMBERS
from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BASE, BOB, CAROL, Clock, MakeService, Service, user_path
from tests.proof.conftest import Cells
from tests.support.requests import API, REQUESTS, send
from tests.support.upstreams import Answer, Holding, Overriding, hang, refuse, respond

JWKS, USERINFO = "/api/auth/.well-known/jwks.json", "/api/auth/v1/userinfo"
NO_ENTITY = {"error": {"name": "NotFoundError"}}
BY_NAME = "/api/catalog/entities/by-name/user/default/bob"
WORKS = {200, 201, 202, 204, 404, 409}


@dataclass
class World:
    """The service, and what it sends to Backstage and LiteLLM."""

    service: Service
    backstage: BackstageStandIn
    clock: Clock
    to_backstage: Overriding
    to_litellm: Overriding

    async def warm_up(self) -> None:
        """The signing keys are known, for longer than they are trusted without another look."""
        token = self.backstage.user_token(BOB)
        assert (await self.service.client(token).get(user_path(ALICE))).status_code == 404
        self.clock.advance(700)

    async def rotate(self) -> None:
        """Backstage signs with a new key, ten seconds and more after the keys were fetched."""
        await self.warm_up()
        self.backstage.rotate_keys()

    async def rotate_at_once(self) -> None:
        """Backstage signs with a new key as soon as the old one was fetched."""
        await self.service.client(self.backstage.user_token(BOB)).get(f"{BASE}/me")
        self.backstage.rotate_keys()


@dataclass(frozen=True)
class Fault:
    """How it comes about, whose token bob sends, and what he gets."""

    expected: set[int]
    answers: dict[str, Answer]
    arrange: Callable[[World], Awaitable[None]] | None = None
    token: Callable[[World], str] = lambda world: world.backstage.user_token(BOB)
    membership: str = "token"


def without_ownership(world: World) -> str:
    return world.backstage.user_token(BOB, ent=None)


def at(claim: str, seconds: int) -> Callable[[World], str]:
    return lambda world: world.backstage.user_token(BOB, **{claim: int(world.clock()) + seconds})


def of_an_impostor(world: World) -> str:
    """A genuine-looking token of a Backstage that is not ours."""
    return BackstageStandIn(now=world.clock).user_token(BOB)


FAULTS = {
    "keys refused, none known": Fault({503}, {JWKS: refuse}),
    "keys hang, none known": Fault({504}, {JWKS: hang}),
    "keys 500, none known": Fault({502}, {JWKS: respond(500)}),
    "keys are a page, none known": Fault({502}, {JWKS: respond(200, html="<p>")}),
    "keys are half a document": Fault({502}, {JWKS: respond(200, content=b'{"keys": [{"kty": "EC"')}),
    "keys are of another shape": Fault({502}, {JWKS: respond(200, json={"keys": {"kty": "EC"}})}),
    "keys are none": Fault({401}, {JWKS: respond(200, json={"keys": []})}),
    "keys are odd": Fault({502}, {JWKS: respond(200, json={"keys": [5, {"kty": "EC", "kid": "x"}, {"kty": "oct"}]})}),
    "keys refused, some known": Fault(WORKS, {JWKS: refuse}, World.warm_up),
    "keys hang, some known": Fault(WORKS, {JWKS: hang}, World.warm_up),
    "keys rotated": Fault(WORKS, {}, World.rotate),
    "keys rotated and refused": Fault({503}, {JWKS: refuse}, World.rotate),
    "keys rotated and hang": Fault({503}, {JWKS: hang}, World.rotate),
    "keys rotated and 500": Fault({503}, {JWKS: respond(500)}, World.rotate),
    "keys rotated just after they were read": Fault({503}, {}, World.rotate_at_once),
    "an unknown kid": Fault({401}, {}, token=of_an_impostor),
    "userinfo 500": Fault({502}, {USERINFO: respond(500)}, token=without_ownership),
    "userinfo refused": Fault({503}, {USERINFO: refuse}, token=without_ownership),
    "userinfo hangs": Fault({504}, {USERINFO: hang}, token=without_ownership),
    "userinfo refuses the token": Fault(
        {401}, {USERINFO: respond(401, json={"error": {"name": "AuthenticationError"}})}, token=without_ownership
    ),
    "userinfo behind an ingress that refuses us": Fault({502}, {USERINFO: respond(401)}, token=without_ownership),
    "userinfo is empty": Fault({401}, {USERINFO: respond(404, text="User info not found")}, token=without_ownership),
    "userinfo is not where it was": Fault({502}, {USERINFO: respond(404)}, token=without_ownership),
    "userinfo about somebody else": Fault(
        {502}, {USERINFO: respond(200, json={"claims": {"sub": CAROL, "ent": [ADMINS]}})}, token=without_ownership
    ),
    "its clock is 59 s ahead": Fault(WORKS, {}, token=at("nbf", 59)),
    "its clock is 61 s ahead": Fault({401}, {}, token=at("nbf", 61)),
    "its clock is 59 s behind": Fault(WORKS, {}, token=at("exp", -59)),
    "its clock is 61 s behind": Fault({401}, {}, token=at("exp", -61)),
    "catalog refused": Fault({503}, {BY_NAME: refuse}, membership="catalog"),
    "catalog hangs": Fault({504}, {BY_NAME: hang}, membership="catalog"),
    "catalog 500": Fault({502}, {BY_NAME: respond(500)}, membership="catalog"),
    "catalog refuses our token": Fault({502}, {BY_NAME: respond(401)}, membership="catalog"),
    "catalog answers half a document": Fault(
        {502}, {BY_NAME: respond(200, content=b'{"kind": "U')}, membership="catalog"
    ),
    "catalog does not know the user": Fault({403}, {BY_NAME: respond(404, json=NO_ENTITY)}, membership="catalog"),
    "an ingress does not know the catalog": Fault({502}, {BY_NAME: respond(404, json={})}, membership="catalog"),
    "a sign-in is before the catalog": Fault({502}, {BY_NAME: respond(302)}, membership="catalog"),
    "catalog limits calls": Fault({503}, {BY_NAME: respond(429)}, membership="catalog"),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_fault(make_service: MakeService, clock: Clock, name: str, cells: Cells) -> None:
    """The status of the table, at each operation. A refused caller reaches nothing in LiteLLM."""
    fault = FAULTS[name]
    for operation in API:
        backstage = BackstageStandIn(now=clock)
        to_backstage = Overriding(httpx.ASGITransport(backstage.app), {})
        to_litellm = Overriding(httpx.ASGITransport(LiteLLMStandIn(now=clock).app), {})
        ports = {"backstage": to_backstage, "litellm": to_litellm}
        service = make_service(ports=ports, membership=fault.membership)
        world = World(service, backstage, clock, to_backstage, to_litellm)
        if fault.arrange is not None:
            await fault.arrange(world)
        to_litellm.seen.clear()
        to_backstage.answers |= fault.answers
        response = await send(service.client(fault.token(world)), operation)
        # A caller who is known may report a leaked key, whatever their role.
        expected = {202} if operation == "reportKey" and fault.expected == {403} else fault.expected
        wrong = [] if response.status_code in expected else [f"{response.status_code}: {response.text[:200]}"]
        if not expected & WORKS and to_litellm.seen:
            wrong.append("LiteLLM was asked")
        cells.record(operation, wrong)
    assert cells.failed == {}


def test_every_operation_has_a_request() -> None:
    """A new operation is exposed to every fault."""
    assert set(API) <= REQUESTS.keys()


async def test_probes_beside_a_slow_backstage(
    make_service: MakeService, backstage: BackstageStandIn, clock: Clock
) -> None:
    """Every ten seconds keys rotate, a probe gives up on Backstage, and ten people come with new tokens: all get in."""
    to_backstage = Holding(httpx.ASGITransport(backstage.app))
    service = make_service(ports={"backstage": to_backstage, "dependency_patience": 0.01})
    assert (await service.signed_in(BOB).get(f"{BASE}/me")).status_code == 200
    to_backstage.held = {JWKS}
    statuses = []
    for _ in range(7):
        clock.advance(10)
        backstage.rotate_keys()
        ready = await service.client().get("/.backstage/health/v1/readiness")
        assert (ready.status_code, ready.json()["dependencies"]["backstage"]) == (200, "down")
        to_backstage.arrived.clear()
        people = [asyncio.create_task(service.signed_in(BOB).get(f"{BASE}/me")) for _ in range(10)]
        await to_backstage.arrived.wait()
        to_backstage.released.set()
        statuses += [answer.status_code for answer in await asyncio.gather(*people)]
        to_backstage.released.clear()
    assert statuses == [200] * 70


async def test_a_flood_of_unknown_keys_is_bounded(make_service: MakeService, backstage: BackstageStandIn) -> None:
    """A thousand kids that nobody published cost two fetches, and everybody else goes on."""
    to_backstage = Overriding(httpx.ASGITransport(backstage.app), {})
    service = make_service(ports={"backstage": to_backstage})
    impostor = BackstageStandIn(now=backstage._now)
    client = service.client()
    statuses = set()
    for _ in range(1000):
        impostor.rotate_keys()
        response = await client.get(
            user_path(BOB), headers={"Authorization": f"Bearer {impostor.user_token(BOB, uip='x')}"}
        )
        statuses.add(response.status_code)
    assert statuses == {401, 503}
    assert sum(request.url.path == JWKS for request in to_backstage.seen) <= 2
    assert (await service.signed_in(BOB).get(user_path(BOB))).status_code == 200


async def test_a_flood_of_unknown_plugins_is_bounded(make_service: MakeService, backstage: BackstageStandIn) -> None:
    """A thousand made-up plugins cost twenty fetches a minute; a real one that called before goes on."""
    to_backstage = Overriding(httpx.ASGITransport(backstage.app), {})
    service = make_service(ports={"backstage": to_backstage})
    real = service.client(backstage.plugin_token(backstage.limited_token(ALICE)))
    assert (await real.get(user_path(ALICE))).status_code == 200
    client = service.client()
    statuses = set()
    for number in range(1000):
        token = backstage.plugin_token(sub=f"made-up-{number}")
        statuses.add((await client.get(user_path(BOB), headers={"Authorization": f"Bearer {token}"})).status_code)
    assert statuses == {401, 503}
    assert sum("made-up" in request.url.path for request in to_backstage.seen) <= 20
    assert (await real.get(user_path(ALICE))).status_code == 200


async def test_a_group_that_lost_its_members_lets_nobody_in(
    make_service: MakeService, backstage: BackstageStandIn
) -> None:
    """A user who is in neither group any more, by the catalog, is refused in spite of a valid token."""
    alice = make_service(membership="catalog").signed_in(ALICE)
    backstage.org.users[ALICE] -= {MEMBERS}
    assert (await alice.get(user_path(ALICE))).status_code == 403
