"""Who may do what: every kind of caller, every operation, every kind of target, against a table of its own."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from domain.identity import GroupRefs
from settings.model import ServiceToken
from standalone.backstage import BackstageStandIn
from standalone.catalog import ADMINS, MEMBERS, Component
from standalone.issuer import IssuerStandIn
from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BASE, BOB, CAROL, Clock, MakeService, Service, keys_path, user_path
from tests.proof.conftest import Cells
from tests.support.contract import operations
from tests.support.devices import ask, sign_in
from tests.support.requests import NO_CODE, NO_SESSION, REQUESTS
from tests.support.upstreams import Overriding

FRANK, AUDITORS = "user:default/frank", "group:default/auditors"
NOBODY = "user:default/nobody"
ASSISTANT, SHIPPING = "component:default/assistant", "component:default/shipping"
NO_KEY = "0" * 64
_MINUTE = 60.0
ADMIN_SERVICE, MEMBER_SERVICE = "admin-service-token-1", "member-service-token-1"
AUDITOR_SERVICE = "auditor-service-token-1"
NAMES = {
    400: "InputError",
    401: "AuthenticationError",
    403: "NotAllowedError",
    404: "NotFoundError",
    409: "ConflictError",
}


@dataclass(frozen=True)
class Caller:
    """What a caller sends as `Authorization`, who they are to the oracle, and whose resources are their own."""

    authorization: Callable[[BackstageStandIn], str | None]
    kind: str
    subject: str = ALICE


def bearer(token: Callable[[BackstageStandIn], str]) -> Callable[[BackstageStandIn], str]:
    return lambda backstage: f"Bearer {token(backstage)}"


def unsigned(backstage: BackstageStandIn) -> str:
    """Alice's token with `alg: none` and no signature."""
    header, claims, _ = backstage.user_token(ALICE).split(".")
    fields = json.loads(base64.urlsafe_b64decode(header + "==")) | {"alg": "none"}
    return base64.urlsafe_b64encode(json.dumps(fields).encode()).rstrip(b"=").decode() + f".{claims}."


def signed_with_the_public_key(backstage: BackstageStandIn) -> str:
    """Alice's claims under HS256, with the published key as the secret."""
    header, claims, _ = backstage.user_token(ALICE).split(".")
    fields = json.loads(base64.urlsafe_b64decode(header + "==")) | {"alg": "HS256"}
    payload = json.loads(base64.urlsafe_b64decode(claims + "=="))
    published = json.dumps(backstage._user_key.as_dict(private=False))
    return jwt.encode(fields, payload, OctKey.import_key(published), algorithms=["HS256"])


CALLERS = {
    "without a header": Caller(lambda _: None, "unknown"),
    "with an empty token": Caller(lambda _: "Bearer ", "unknown"),
    "with garbage": Caller(lambda _: "Bearer garbage", "unknown"),
    "with an expired token": Caller(bearer(lambda b: b.user_token(ALICE, exp=1_700_000_000)), "unknown"),
    "with a token of tomorrow": Caller(bearer(lambda b: b.user_token(ALICE, nbf=4_000_000_000)), "unknown"),
    "with another audience": Caller(bearer(lambda b: b.user_token(ALICE, aud="another")), "unknown"),
    "with another issuer": Caller(bearer(lambda b: b.user_token(ALICE, iss="https://elsewhere")), "unknown"),
    "with alg none": Caller(bearer(unsigned), "unknown"),
    "with HS256 and the public key": Caller(bearer(signed_with_the_public_key), "unknown"),
    "a plugin's token for another plugin": Caller(bearer(lambda b: b.plugin_token(aud="catalog")), "unknown"),
    "a limited token alone": Caller(bearer(lambda b: b.limited_token(ALICE)), "unknown"),
    "carol, an outsider": Caller(bearer(lambda b: b.user_token(CAROL)), "outsider", CAROL),
    "a plugin's token alone": Caller(bearer(lambda b: b.plugin_token()), "outsider"),
    "alice, a member": Caller(bearer(lambda b: b.user_token(ALICE)), "member"),
    "a plugin on behalf of alice": Caller(bearer(lambda b: b.plugin_token(b.limited_token(ALICE))), "member"),
    "frank, an auditor": Caller(bearer(lambda b: b.user_token(FRANK)), "auditor", FRANK),
    "bob, an admin": Caller(bearer(lambda b: b.user_token(BOB)), "admin", BOB),
    "a service as member": Caller(lambda _: f"Bearer {MEMBER_SERVICE}", "member service"),
    "a service as auditor": Caller(lambda _: f"Bearer {AUDITOR_SERVICE}", "auditor service"),
    "a service as admin": Caller(lambda _: f"Bearer {ADMIN_SERVICE}", "admin service"),
}

# What a member and an admin get. A service has nothing of its own: to it, everything is another's.
ONE = {"it": (200, 200)}
FOR_ADMINS = {"it": (403, 200)}
READ_A_USER = {"self": (200, 200), "other": (403, 200), "missing": (403, 404)}
CHANGE_A_USER = {"self": (403, 200), "other": (403, 200), "missing": (403, 404)}


def on_a_key(done: int) -> dict[str, tuple[int, int]]:
    return {
        "own": (done, done),
        "another's by their path": (403, done),
        "another's by my path": (404, 404),
        "without owner": (404, 404),
        "missing": (404, 404),
        "missing by another's path": (403, 404),
    }


ORACLE: dict[str, dict[str, tuple[int, int]]] = {
    "getMe": ONE,
    "getModels": ONE,
    "getUsers": FOR_ADMINS,
    "createUser": {"self": (409, 409), "other": (403, 409), "missing": (403, 400)},
    "getUser": READ_A_USER,
    "updateUser": CHANGE_A_USER,
    "deleteUser": CHANGE_A_USER,
    "getUserUsage": READ_A_USER,
    "getKnownSecrets": {"self": (403, 200), "other": (403, 200), "missing": (403, 200)},
    "getOwners": FOR_ADMINS,
    "createUserKey": {"self": (201, 201), "other": (403, 201), "missing": (403, 404)},
    "getUserKeys": READ_A_USER,
    "getUserKey": on_a_key(200),
    "getUserKeyVersions": on_a_key(200),
    "updateUserKey": on_a_key(200),
    "deleteUserKey": on_a_key(204),
    "regenerateUserKey": on_a_key(201),
    "transferUserKey": on_a_key(200),
    "reportKey": {"another's key": (202, 202)},
    # A member gets their own events, whatever they ask for.
    "getAudit": {"self": (200, 200), "other": (200, 200), "all": (200, 200)},
    "getCleanup": FOR_ADMINS,
    "getCleanupRun": {"missing": (403, 404)},
    "runCleanup": FOR_ADMINS,
    "startAdoption": {"it": (403, 202)},
    "getAdoption": {"missing": (403, 404)},
    "getWorkloads": FOR_ADMINS,
    "testWorkload": {"claims": (403, 200), "token": (403, 200)},
    "getDeviceCode": {"asks": (200, 200), "unknown": (404, 404)},
    # Nobody signs a device in as another person; alice manages the first of the components, and an admin both.
    "approveDeviceCode": {
        "self": (200, 200), "other": (403, 403), "managed": (200, 200), "another's component": (403, 200),
        "unknown": (404, 404),
    },
    "refuseDeviceCode": {"asks": (200, 200), "unknown": (404, 404)},
    "getSessions": {"self": (200, 200), "other": (403, 200), "missing": (403, 200)},
    "endSession": {"own": (204, 204), "other": (403, 204), "another's by mine": (404, 404), "missing": (404, 404)},
}  # fmt: skip

OPEN = {"getOpenapiYaml", "getOpenapiJson", "getDocs", "getDocsAsset", "getLiveness", "getReadiness", "getMetrics"}
OPEN |= {"getConsole", "getConsoleAsset", "getConsoleSettings"}
OPEN |= {"authorizeDevice", "revokeToken", "getAuthorizationMetadata", "getAuthorizationMetadataAtRoot"}
IN_PERSON = {"getDeviceCode", "approveDeviceCode", "refuseDeviceCode"}
"""What no service and no auditor does, whatever it is about."""
EXCHANGE = {"issueToken"}
EXCHANGES = {"a rule's token": 200, "another's token": 400, "a forged token": 400}
"""Whoever sends it: whose token it is decides."""
BODIES: dict[str, dict[str, Any]] = {
    "updateUser": {"maxBudget": 5},
    "createUserKey": {},
    "updateUserKey": {"alias": "mine now"},
    "regenerateUserKey": {"overlap": 60},
    "transferUserKey": {"owner": MEMBERS},
    "runCleanup": {"dryRun": True},
    "startAdoption": {"dryRun": True},
}


def expected(kind: str, operation: str, target: str) -> int:  # noqa: PLR0911  # one for each kind of caller
    """The status that the table gives this caller."""
    if operation in OPEN | EXCHANGE:
        return EXCHANGES.get(target, 200)
    if kind == "unknown":
        return 401
    if operation == "reportKey":
        return 202
    if kind == "outsider" or (kind.startswith("auditor") and operation not in READ_BY_AUDITORS):
        return 403
    row = ORACLE[operation]
    if operation in IN_PERSON and kind.endswith("service"):
        return 403
    if operation == "getSessions" and target == "self":
        return 200
    if operation == "endSession" and kind.endswith("service"):
        target = {"own": "another's by mine"}.get(target, target)
    if kind.endswith("service") or kind == "auditor":
        target = {"self": "other", "own": "another's by their path"}.get(target, target)
        if kind == "member service" and operation in on_a_user:
            return 403
    return row[target][kind.startswith(("admin", "auditor"))]


READ_BY_AUDITORS = {
    *("getMe", "getModels", "getUsers", "getUser", "getUserUsage", "getUserKeys", "getUserKey", "getAudit"),
    *("getUserKeyVersions", "getCleanup", "getCleanupRun"),
    *("runCleanup", "startAdoption"),  # dry runs
    *("getKnownSecrets", "getOwners", "getAdoption", "getWorkloads", "testWorkload", "getSessions"),
}
on_a_user = {name for name, (_, path, _) in operations().items() if "{userId}" in path} | {"createUser"}
CELLS = [
    (caller, operation, target)
    for operation, targets in (ORACLE | {"issueToken": EXCHANGES} | dict.fromkeys(sorted(OPEN), ONE)).items()
    for target in targets
    for caller in CALLERS
]

CHANGES = [
    (caller, operation, target)
    for caller, operation, target in CELLS
    if operations()[operation][0] != "GET" and expected(CALLERS[caller].kind, operation, target) < 400
]


def test_every_operation_has_its_rows() -> None:
    """A new operation without a decision about who may call it fails here."""
    assert ORACLE.keys() | OPEN | EXCHANGE == operations().keys()
    opened = {name for name, (_, _, row) in operations().items() if row.get("security") == []}
    assert opened == OPEN | EXCHANGE


@dataclass
class World:
    """alice and bob have a user and a key each; one key has no owner. `wire` is what LiteLLM was asked."""

    service: Service
    wire: Overriding
    keys: dict[str, str] = field(default_factory=dict)
    sessions: dict[str, str] = field(default_factory=dict)
    code: str = ""
    secrets: dict[str, str] = field(default_factory=dict)

    def request(self, operation: str, target: str, me: str) -> tuple[str, str, dict[str, Any]]:
        """Method, path and options of a request to `operation` by the user `me`."""
        if operation in OPEN:
            return REQUESTS[operation]
        if operation in {"issueToken", "testWorkload"}:
            return self.request_of_a_workload(operation, target)
        method, template, _ = operations()[operation]
        other = ALICE if me == BOB else BOB
        if operation in IN_PERSON | {"getSessions", "endSession"}:
            return self.request_of_a_device(operation, target, me, other)
        owner = {"other": other, "missing": NOBODY, "another's by their path": other}.get(target, me)
        owner = other if target == "missing by another's path" else owner
        options: dict[str, Any] = {"json": BODIES[operation]} if operation in BODIES else {}
        if operation == "createUser":
            options["json"] = {"userId": owner}
        if operation == "reportKey":
            options["json"] = {"key": self.secrets[other]}
        if operation == "getAudit" and target != "all":
            options["params"] = {"target": owner}
        if "{keyId}" in template:
            owner = me if target == "missing" else owner
            of = {"own": me, "without owner": "", "another's by their path": other, "another's by my path": other}
            path = keys_path(owner, self.keys.get(of.get(target, "missing"), NO_KEY))
            return method, path + template.partition("{keyId}")[2], options
        path = template.replace(f"{BASE}/users/{{userId}}", user_path(owner))
        return method, path.replace("{runId}", "1").replace("{adoptionId}", "1"), options

    def request_of_a_device(self, operation: str, target: str, me: str, other: str) -> tuple[str, str, dict[str, Any]]:
        method, path, options = REQUESTS[operation]
        of = {"own": me, "other": other, "another's by mine": other}
        path = path.replace(NO_SESSION, self.sessions.get(of.get(target, ""), NO_SESSION))
        owners = {"self": me, "other": other, "managed": ASSISTANT, "another's component": SHIPPING, "unknown": me}
        if operation == "approveDeviceCode":
            options = {"json": {"owner": owners[target]}}
        if target != "unknown":
            path = path.replace(NO_CODE, self.code)
        if target in {"other", "missing"} and operation in {"getSessions", "endSession"}:
            options = {"params": {"userId": other if target == "other" else NOBODY}}
            options = {} if operation == "endSession" and target == "missing" else options
        return method, path, options

    def request_of_a_workload(self, operation: str, target: str) -> tuple[str, str, dict[str, Any]]:
        method, path, options = REQUESTS[operation]
        issuer = IssuerStandIn(self.service.issuer._now) if target == "a forged token" else self.service.issuer
        token = issuer.token(**({"sub": "repo:mallory/x:main"} if target == "another's token" else {}))
        if operation == "issueToken":
            return method, path, {"data": options["data"] | {"subject_token": token}}
        return method, path, {"json": {"token": token}} if target == "token" else options


@pytest.fixture
async def world(make_service: MakeService, litellm: LiteLLMStandIn, backstage: BackstageStandIn) -> World:
    wire = Overriding(httpx.ASGITransport(litellm.app), {})
    tokens = (
        ServiceToken(ADMIN_SERVICE, "service:admin", "admin"),
        ServiceToken(MEMBER_SERVICE, "service:member", "member"),
        ServiceToken(AUDITOR_SERVICE, "service:auditor", "auditor"),
    )
    org = backstage.org
    org.components[SHIPPING] = Component("group:default/elsewhere")
    org.users[FRANK], org.groups[AUDITORS] = {AUDITORS}, None
    groups = GroupRefs(allowed=(MEMBERS,), admin=(ADMINS,), auditor=(AUDITORS,))
    service = make_service(ports={"litellm": wire}, service_tokens=tokens, groups=groups)
    world = World(service, wire)
    for owner in (ALICE, BOB):
        made = (await service.signed_in(owner).post(keys_path(owner), json={})).json()
        world.keys[owner], world.secrets[owner] = made["keyId"], made["keySecret"]
        world.sessions[owner] = (await sign_in(service, owner))["session_id"]
    world.code = (await ask(service.client()))["user_code"]
    world.keys[""] = "f" * 64
    litellm.rows.keys["f" * 64] = litellm.rows.keys[world.keys[ALICE]] | {"token": "f" * 64, "user_id": None}
    return world


async def test_a_forged_copy_of_a_token_in_use(world: World, backstage: BackstageStandIn) -> None:
    """Alice's header and claims under the signature of another token of hers, or of bob's: a 401, and no change."""
    token, later = backstage.user_token(ALICE), backstage.user_token(ALICE, iat=1_799_999_999)
    genuine = world.service.client(token)
    world.wire.seen.clear()
    forged = [".".join([*token.split(".")[:2], other.split(".")[2]]) for other in (later, backstage.user_token(BOB))]
    for client in (genuine, *map(world.service.client, forged), genuine):
        response = await client.get(user_path(ALICE))
        assert response.status_code == (200 if client is genuine else 401)
        created = await client.post(keys_path(ALICE), json={})
        assert created.status_code == (201 if client is genuine else 401)
    assert [request.url.path for request in world.wire.seen].count("/key/generate") == 2


async def wrong(world: World, backstage: BackstageStandIn, caller: str, operation: str, target: str) -> list[str]:
    """What differs from the table. A refused caller must change nothing in LiteLLM and see nothing of others."""
    who = CALLERS[caller]
    client = world.service.client()
    if (authorization := who.authorization(backstage)) is not None:
        client.headers["Authorization"] = authorization
    if operation in IN_PERSON:  # codes end sooner than the table
        world.code = (await ask(world.service.client()))["user_code"]
    method, path, options = world.request(operation, target, BOB if who.subject == BOB else ALICE)
    world.wire.seen.clear()
    response = await client.request(method, path, **options)
    wanted = expected(who.kind, operation, target)
    found = [] if response.status_code == wanted else [f"{response.status_code}, not {wanted}: {response.text}"]
    if response.status_code == wanted >= 400:
        error = response.json()["error"]
        named = error if operation == "issueToken" else error["name"]
        name = "invalid_grant" if operation == "issueToken" else NAMES[wanted]
        found += [] if named == name else [f"named {named}"]
    if wanted in (400, 401, 403, 404):
        found += [f"asked LiteLLM for {row.url.path}" for row in world.wire.seen if row.method != "GET"]
        found += ["shows a secret"] if "sk-" in response.text else []
    if operation == "getAudit" and who.kind.startswith("member"):
        theirs = {who.subject, "service:member"} if who.kind == "member service" else {who.subject}
        found += [
            f"shows {row}" for row in response.json()["events"] if theirs.isdisjoint((row["target"], row["actor"]))
        ]
    return found


@pytest.mark.parametrize("caller", CALLERS)
async def test_what_changes_nothing(
    world: World, backstage: BackstageStandIn, clock: Clock, cells: Cells, caller: str
) -> None:
    """Every read and every refusal, one after the other: the status of the table."""
    for operation, target in (cell[1:] for cell in CELLS if cell[0] == caller and cell not in CHANGES):
        clock.advance(_MINUTE)  # no cell uses up the limits of the next
        cells.record(f"{operation} {target}", await wrong(world, backstage, caller, operation, target))
    assert cells.failed == {}


@pytest.mark.parametrize(("caller", "operation", "target"), CHANGES)
async def test_what_changes_something(
    world: World, backstage: BackstageStandIn, caller: str, operation: str, target: str
) -> None:
    """Every change, each in a world of its own: the status of the table."""
    assert await wrong(world, backstage, caller, operation, target) == []
