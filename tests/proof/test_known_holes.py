"""What another program of this kind let its callers do, asked for over HTTP: none of it is possible here."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from settings.model import ServiceToken
from standalone.backstage import BackstageStandIn
from standalone.catalog import MEMBERS
from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BASE, BOB, CAROL, SERVICE_TOKEN, Clock, MakeService, Service, keys_path, user_path
from tests.proof.conftest import Cells
from tests.support.contract import operations
from tests.support.kill_points import Killed, KillSwitch
from tests.support.requests import API, NO_KEY, REQUESTS
from tests.support.upstreams import Answer, Overriding, answering, hang, respond

MEMBER_SERVICE = "member-service-token-1"
WAYS_TO_NAME_A_USER = ["user_id", "userId", "user", "owner", "end_user", "userid", "created_by", "onBehalfOf"]
HASH = re.compile(r"[0-9a-f]{64}")


class Watched:
    """alice and bob have a user and a key each, and were billed for a call with it."""

    def __init__(self, service: Service, litellm: LiteLLMStandIn) -> None:
        self.service, self.litellm = service, litellm
        self.keys: dict[str, str] = {}
        self.secrets: dict[str, str] = {}
        self._before: Any = None

    async def add(self, ref: str) -> httpx.AsyncClient:
        """A member or an admin with a user and a key."""
        client = self.service.signed_in(ref)
        made = (await client.post(keys_path(ref), json={"maxBudget": 5})).json()
        self.keys[ref], self.secrets[ref] = made["keyId"], made["keySecret"]
        self.litellm.rows.usage.add(ref, "2027-01-14", "gpt-fake", made["keyId"])
        self._before = self._everything()
        return client

    def _everything(self) -> Any:
        rows = self.litellm.rows
        return copy.deepcopy((rows.users, rows.keys, rows.deleted_keys))

    def is_as_before(self) -> bool:
        """Whether LiteLLM's users and keys are those of the last call of `add`."""
        return bool(self._everything() == self._before)


@pytest.fixture
async def world(make_service: MakeService, litellm: LiteLLMStandIn) -> Watched:
    tokens = (
        ServiceToken(MEMBER_SERVICE, "service:member", "member"),
        ServiceToken(SERVICE_TOKEN, "service:ci", "admin"),
    )
    world = Watched(make_service(service_tokens=tokens, creates_per_minute=100_000), litellm)
    await world.add(ALICE)
    await world.add(BOB)
    return world


@pytest.mark.parametrize("caller", [ALICE, BOB])
async def test_a_user_that_a_body_names_is_not_acted_for(world: Watched, caller: str, cells: Cells) -> None:
    """The path and the token say whose it is: a body that says it too is a 400, for a member and for an admin."""
    other = BOB if caller == ALICE else ALICE
    client, own = world.service.signed_in(caller), keys_path(caller, world.keys[caller])
    asked: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", keys_path(caller), {}),
        ("PATCH", own, {"alias": "a"}),
        ("POST", f"{own}/regenerate", {}),
        ("PATCH", user_path(caller), {"maxBudget": 7}),
        ("POST", f"{BASE}/keys/report", {"key": world.secrets[caller]}),
    ]
    for method, path, body in asked:
        for name in WAYS_TO_NAME_A_USER:
            response = await client.request(method, path, json=body | {name: other})
            cells.record(f"{method} {path} {name}", [] if response.status_code == 400 else [response.text])
    # The only body that may name a user is treated like a path.
    status = 403 if caller == ALICE else 409
    assert (await client.post(f"{BASE}/users", json={"userId": other})).status_code == status
    assert world.is_as_before()
    assert cells.failed == {}


@pytest.mark.parametrize("token", [MEMBER_SERVICE, SERVICE_TOKEN])
async def test_a_user_that_the_query_of_a_service_names_is_not_acted_for(
    world: Watched, token: str, cells: Cells
) -> None:
    """A service is itself: a query that names somebody is a 400 and shows nothing of them."""
    client = world.service.client(token)
    for operation in ("getMe", "getModels", "createUser", "createUserKey", "getUserKeys", "getUserUsage", "getAudit"):
        method, path, options = REQUESTS[operation]
        for name in WAYS_TO_NAME_A_USER:
            response = await client.request(method, path, **options, params={name: ALICE})
            shows = response.status_code != 400 or world.keys[ALICE] in response.text
            cells.record(f"{operation} {name}", [response.text] if shows else [])
    assert cells.failed == {}
    assert (await client.get(f"{BASE}/me")).json()["subject"].startswith("service:")
    assert world.is_as_before()


def foreign(name: str, victim: str, intruder: str) -> Any:
    return pytest.param(f"user:{victim}", f"user:{intruder}", id=name)


@pytest.mark.parametrize(
    ("victim", "intruder"),
    [
        foreign("another namespace", "default/alice", "partners/alice"),
        foreign("another domain", "default/alice@example.com", "default/alice@other.example"),
        foreign("the local part alone", "default/frank@example.com", "default/frank"),
        foreign("a tag in the address", "default/alice@example.com", "default/alice+x@example.com"),
        foreign("a name that begins like it", "default/alice", "default/alice2"),
        foreign("a namespace that begins like it", "default/alice", "default2/alice"),
    ],
)
async def test_a_namesake_is_somebody_else(
    world: Watched, backstage: BackstageStandIn, victim: str, intruder: str
) -> None:
    """Whoever shares a part of the name is another user, and neither sees nor changes what the first one has."""
    backstage.org.users |= {victim: {MEMBERS}, intruder: {MEMBERS}}
    backstage.org.profiles |= {victim: {"email": "alice@example.com"}, intruder: {"email": "alice@other.example"}}
    await world.add(victim)
    theirs = keys_path(victim, world.keys[victim])
    namesake = await world.add(intruder)
    assert (await namesake.get(f"{BASE}/me")).json()["subject"] == intruder
    listed = (await namesake.get(keys_path(intruder))).json()["keys"]
    assert [(row["token"], row["user_id"]) for row in listed] == [(world.keys[intruder], intruder)]
    for method, path, body in [
        ("GET", user_path(victim), None),
        ("GET", f"{user_path(victim)}/usage", None),
        ("GET", keys_path(victim), None),
        ("POST", keys_path(victim), {}),
        ("GET", theirs, None),
        ("PATCH", theirs, {"blocked": True}),
        ("POST", f"{theirs}/regenerate", {}),
        ("DELETE", theirs, None),
    ]:
        response = await namesake.request(method, path, json=body)
        assert response.status_code == 403, (method, path, response.text)
        assert world.keys[victim] not in response.text.replace(path, "")
        if world.keys[victim] in path:
            mine = keys_path(intruder, world.keys[victim]) + path.removeprefix(theirs)
            assert (await namesake.request(method, mine, json=body)).status_code == 404, mine
    assert world.is_as_before()
    bob = world.service.signed_in(BOB)
    assert (await bob.delete(user_path(intruder))).status_code == 200
    assert (victim in world.litellm.rows.users, world.keys[victim] in world.litellm.rows.keys) == (True, True)


MORE: list[dict[str, Any]] = [
    {"maxBudget": 10**6}, {"maxBudget": None}, {"budgetDuration": "1d"}, {"budgetDuration": None}, {"spend": 0},
    {"models": None}, {"models": []}, {"tpmLimit": None}, {"rpmLimit": 10**6},
]  # fmt: skip


async def test_no_member_raises_their_own_limits(world: Watched) -> None:
    """Nor a service as member: 403 to whoever asks without the page, and what was spent stays spent."""
    for client in (world.service.signed_in(ALICE), world.service.client(MEMBER_SERVICE)):
        for body in MORE:
            assert (await client.patch(user_path(ALICE), json=body)).status_code == 403, body
    assert world.is_as_before()


async def test_a_key_does_not_get_more_than_its_owner(world: Watched) -> None:
    """A key above its tier is a 403 at creation, change and rotation; what a key has spent cannot be changed at all."""
    tier = world.litellm.rows.users[ALICE]["max_budget"]
    alice, own = world.service.signed_in(ALICE), keys_path(ALICE, world.keys[ALICE])
    asked = [("POST", keys_path(ALICE)), ("PATCH", own), ("POST", f"{own}/regenerate")]
    for method, path in asked:
        assert (await alice.request(method, path, json={"maxBudget": tier + 1})).status_code == 403
        assert (await alice.request(method, path, json={"spend": 0})).status_code == 400
    assert world.is_as_before()


@pytest.mark.parametrize("caller", [ALICE, BOB])
async def test_a_key_stays_with_its_owner(world: Watched, caller: str) -> None:
    """Nobody, an admin neither, gives a key whose secret they know to somebody else: whoever pays is who has it."""
    other = BOB if caller == ALICE else ALICE
    client, key_id = world.service.signed_in(caller), world.keys[caller]
    for name in ("user_id", "userId", "owner", "team_id", "organization_id"):
        for method, path in [("PATCH", keys_path(caller, key_id)), ("POST", f"{keys_path(caller, key_id)}/regenerate")]:
            assert (await client.request(method, path, json={name: other})).status_code == 400
    metadata = {"user_id": other, "litellm_orchestrator": "x", "owner": other}
    assert (await client.patch(keys_path(caller, key_id), json={"metadata": metadata})).status_code == 200
    status = 404 if caller == BOB else 403
    assert (await client.patch(keys_path(other, key_id), json={"alias": "theirs now"})).status_code == status
    assert (await client.post(f"{keys_path(other, key_id)}/regenerate", json={})).status_code == status
    row = world.litellm.rows.keys[key_id]
    assert (row["user_id"], row["team_id"], row["key_alias"]) == (caller, None, None)
    assert len(world.litellm.rows.keys) == 2


async def test_a_rotation_by_an_admin_stays_with_the_owner(world: Watched) -> None:
    """Bob the admin rotates alice's key: the new one is on her account, in her list, and she sees who did it."""
    bob, alice = world.service.signed_in(BOB), world.service.signed_in(ALICE)
    new = (await bob.post(f"{keys_path(ALICE, world.keys[ALICE])}/regenerate", json={})).json()["keyId"]
    assert world.litellm.rows.keys[new]["user_id"] == ALICE
    assert new in {row["token"] for row in (await alice.get(keys_path(ALICE))).json()["keys"]}
    events = (await alice.get(f"{BASE}/audit", params={"action": "key.regenerate"})).json()["events"]
    assert [(row["actor"], row["target"]) for row in events] == [(BOB, ALICE)]


async def test_usage_of_others_is_not_shown(world: Watched) -> None:
    """By no path, parameter or group: what alice sees is what alice spent, and carol sees nothing."""
    for day in ("2027-01-12", "2027-01-13"):
        world.litellm.rows.usage.add(BOB, day, "claude-fake", world.keys[BOB])
    alice, mine = world.service.signed_in(ALICE), f"{user_path(ALICE)}/usage"
    for group in ("day", "model", "key"):
        response = await alice.get(mine, params={"groupBy": group, "from": "2027-01-01", "to": "2027-01-15"})
        assert response.json()["total"]["requests"] == 1, response.text
        assert world.keys[BOB] not in response.text
        assert "claude-fake" not in response.text
    for path, query, status in [
        (f"{user_path(BOB)}/usage", {}, 403),
        (user_path(BOB), {}, 403),
        (f"{BASE}/users", {}, 403),
        (f"{user_path('user:default/nobody')}/usage", {}, 403),
        (mine, {"userId": BOB}, 400),
        (mine, {"user_id": BOB}, 400),
        (mine, {"keyId": world.keys[BOB]}, 400),
    ]:
        response = await alice.get(path, params=query)
        assert response.status_code == status, response.text
        assert "spend" not in response.text
    assert (await world.service.signed_in(CAROL).get(f"{user_path(CAROL)}/usage")).status_code == 403


async def test_an_owner_does_not_get_round_an_admins_block(world: Watched) -> None:
    """By unblocking, rotating, renaming, or writing the annotation that says whose block it is: it stays, as bob's."""
    alice, bob = world.service.signed_in(ALICE), world.service.signed_in(BOB)
    own = keys_path(ALICE, world.keys[ALICE])
    blocked = (await bob.patch(own, json={"blocked": True})).json()
    for method, path, body, status in [
        ("PATCH", own, {"blocked": False}, 403),
        ("PATCH", own, {"blocked": False, "alias": "a"}, 403),
        ("PATCH", own, {"blocked": None}, 400),
        ("POST", f"{own}/regenerate", {}, 409),
        ("PATCH", own, {"metadata": {"blocked_by": ALICE, "blocked_as": "owner"}}, 200),
        ("PATCH", own, {"metadata": {"litellm_orchestrator": {"blocked_as": "owner"}}}, 400),
        ("PATCH", own, {"blocked": True}, 200),
        ("PATCH", own, {"blocked": False}, 403),
    ]:
        assert (await alice.request(method, path, json=body)).status_code == status, body
    shown = (await alice.get(own)).json()
    assert (shown["blocked"], shown["blockedBy"], shown["blockedAt"]) == (True, "admin", blocked["blockedAt"])
    assert world.litellm.rows.keys[world.keys[ALICE]]["blocked"] is True
    assert list(world.litellm.rows.keys) == list(world.keys.values())


def named(value: Any, name: str) -> Iterator[Any]:
    """Everything that is called `name`, at any depth."""
    if isinstance(value, dict):
        yield from (below for key, below in value.items() if key == name)
        value = list(value.values())
    if isinstance(value, list):
        for below in value:
            yield from named(below, name)


async def test_a_hash_is_nowhere_called_a_key(world: Watched) -> None:
    """What an answer calls a key or a secret is one; an id opens nothing, and is no leaked secret either."""
    bob = world.service.signed_in(BOB)
    for operation in sorted(API, key=lambda name: name.startswith("delete")):
        method, path, options = REQUESTS[operation]
        response = await bob.request(method, path.replace(NO_KEY, world.keys[ALICE]), **options)
        assert response.status_code < 500
        answer = response.json() if response.content else {}
        for name in ("key", "keySecret", "secret", "api_key", "apiKey"):
            for value in named(answer, name):
                if operation == "getWorkloads":  # the limits of a rule's keys, and none of them
                    assert value.keys() == {"life", "models", "maxBudget", "tpmLimit", "rpmLimit"}
                    continue
                assert isinstance(value, str), (operation, name)
                assert value.startswith("sk-"), (operation, name)
                assert not HASH.search(value), (operation, name)
    before = list(world.litellm.rows.keys)
    for key_id in (world.keys[ALICE], world.keys[BOB], f"sk-{world.keys[BOB]}"):
        assert (await world.service.client(key_id).get(f"{BASE}/me")).status_code == 401
        assert (await world.service.client(key_id).post(keys_path(BOB), json={})).status_code == 401
    response = await bob.post(f"{BASE}/keys/report", json={"key": world.keys[BOB]})
    assert response.status_code == 400
    assert list(world.litellm.rows.keys) == before


READS = sorted(name for name in API if operations()[name][0] == "GET")
OUR_OWN = {
    "getDeviceCode",
    "getSessions",
    "getMe",
    "getAudit",
    "getCleanup",
    "getCleanupRun",
    "getAdoption",
    "getWorkloads",
}
"""Reads of this service's own tables."""
OF_NOTHING = {"getCleanupRun", "getAdoption", "getDeviceCode"}
PATHS = ["/user/list", "/v2/user/info", "/user/daily/activity", "/key/list", "/key/info", "/models", "/model/info"]
ERRORS: dict[str, Answer] = {
    "400": respond(400, json={"error": {"message": "bad", "code": "400"}}),
    "422": respond(422, json={"detail": []}),
    "500": respond(500, json={"error": {"message": "broken"}}),
    "500 without a body": respond(500),
    "an empty body": respond(200, content=b""),
    "half of a body": respond(200, content=b'{"keys": ['),
    "null": respond(200, json=None),
    "an empty object": respond(200, json={}),
    "an empty list": respond(200, json=[]),
    "lists that are null": respond(200, json={"keys": None, "users": None, "data": None, "results": None}),
    "lists that are objects": respond(200, json={"keys": {}, "users": {}, "data": {}, "results": {}}),
    "lists that are text": respond(200, json={"keys": "", "users": "", "data": "", "results": ""}),
    "an error with a 200": respond(200, json={"error": {"message": "broken"}}),
}


@pytest.mark.parametrize("error", ERRORS)
async def test_an_error_of_litellm_is_no_empty_list(
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock, error: str, cells: Cells
) -> None:
    """Whether all of LiteLLM fails or one of its answers: nobody takes that for no keys, no models or no spending."""
    wire = Overriding(httpx.ASGITransport(litellm.app), {})
    service = make_service(ports={"litellm": wire})
    world = Watched(make_service(), litellm)
    await world.add(ALICE)
    await world.service.signed_in(BOB).post(f"{BASE}/users", json={"userId": "component:default/checkout"})

    async def read(operation: str) -> httpx.Response:
        clock.advance(3600)  # nothing is remembered that could be answered instead
        method, path, options = REQUESTS[operation]
        wire.seen.clear()
        return await service.signed_in(BOB).request(method, path.replace(NO_KEY, world.keys[ALICE]), **options)

    for operation in READS:
        wire.answers = dict.fromkeys(PATHS, ERRORS[error])
        statuses = {"everything": (await read(operation)).status_code}
        wire.answers = {}
        assert (await read(operation)).status_code == (404 if operation in OF_NOTHING else 200)
        for path in {request.url.path for request in wire.seen}:
            wire.answers = {path: ERRORS[error]}
            statuses[path] = (await read(operation)).status_code
        expected = {200, 404} if operation in OUR_OWN else {502}
        cells.record(operation, [f"{path}: {status}" for path, status in statuses.items() if status not in expected])
    assert cells.failed == {}


CHANGES = {
    "createUser": {"user.create"}, "updateUser": {"user.update"}, "deleteUser": {"user.block", "user.delete"},
    "createUserKey": {"key.create"}, "updateUserKey": {"key.update"}, "deleteUserKey": {"key.delete"},
    "regenerateUserKey": {"key.regenerate"}, "transferUserKey": {"user.create", "key.transfer"},
    "reportKey": {"key.report"},
}  # fmt: skip
"""Operation to the actions of its events. Cleanups have tests of their own (test_record), and so have adoptions
and devices."""
DEVICES = {"approveDeviceCode", "refuseDeviceCode", "endSession"}


def test_every_change_is_among_them() -> None:
    """A new operation that changes something needs a line above."""
    assert CHANGES.keys() | {"runCleanup", "startAdoption", "testWorkload"} | DEVICES == {
        name for name in API if operations()[name][0] != "GET"
    }


class OnlyChanges(httpx.AsyncBaseTransport):
    """What reads from LiteLLM reaches it; what changes something goes through `changes`."""

    def __init__(self, litellm: LiteLLMStandIn, changes: httpx.AsyncBaseTransport) -> None:
        self._reads, self._changes = httpx.ASGITransport(litellm.app), changes

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        way = self._reads if request.method == "GET" else self._changes
        return await way.handle_async_request(request)


async def ask(world: Watched, client: httpx.AsyncClient, operation: str) -> int | None:
    """The status, or None if the process was killed."""
    method, path, options = REQUESTS[operation]
    body = {"key": world.secrets[ALICE]} if operation == "reportKey" else options.get("json")
    try:
        return (await client.request(method, path.replace(NO_KEY, world.keys[ALICE]), json=body)).status_code
    except Killed:
        return None


async def events_of(service: Service, actor: str, actions: set[str]) -> list[dict[str, Any]]:
    """Newest first."""
    answer = await service.signed_in(BOB).get(f"{BASE}/audit", params={"actor": actor, "limit": 100})
    return [row for row in answer.json()["events"] if row["action"] in actions]


FATES: dict[str, Callable[[LiteLLMStandIn], httpx.AsyncBaseTransport]] = {
    "LiteLLM fails": lambda _: answering(httpx.Response(500, json={})),
    "LiteLLM does not answer": lambda _: answering(hang),
    "killed before LiteLLM did it": lambda litellm: KillSwitch(litellm.app, 0, during=False),
    "killed after LiteLLM did it": lambda litellm: KillSwitch(litellm.app, 0, during=True),
    "refused": lambda litellm: httpx.ASGITransport(litellm.app),
    "done": lambda litellm: httpx.ASGITransport(litellm.app),
}


@pytest.mark.parametrize("fate", FATES)
async def test_no_change_is_without_its_event(
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock, fate: str, cells: Cells
) -> None:
    """Whatever becomes of it: there is an event at once, which says who, and it has an outcome some minutes later."""
    plain = make_service(creates_per_minute=100_000)
    world = Watched(plain, litellm)
    caller = CAROL if fate == "refused" else BOB
    for operation, actions in CHANGES.items():
        await world.add(ALICE)
        clock.advance(60)
        before = len(await events_of(plain, caller, actions))
        service = make_service(ports={"litellm": OnlyChanges(litellm, FATES[fate](litellm))})
        status = await ask(world, service.signed_in(caller), operation)
        told = await events_of(plain, caller, actions)
        new = [(row["action"], row["target"]) for row in told[: len(told) - before]]
        wrong = [] if new and len(new) == len(set(new)) else [f"{status}: {new}"]
        wrong += [f"{status}"] if (status is None) != fate.startswith("killed") else []
        clock.advance(400)
        await plain.run_background_jobs()
        wrong += [f"open: {row}" for row in await events_of(plain, caller, actions) if row["outcome"] is None]
        cells.record(operation, wrong)
    assert cells.failed == {}
