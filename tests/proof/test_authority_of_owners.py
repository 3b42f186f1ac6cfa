"""Who may do what to what belongs to groups and components: each kind of caller, operation and owner, by a table."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
import pytest

from domain.identity import GroupRefs
from settings.model import ServiceToken
from standalone.backstage import BackstageStandIn
from standalone.catalog import ADMINS, MEMBERS, TEAM_A, Component
from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BASE, BOB, CAROL, Clock, MakeService, Service, keys_path, user_path
from tests.proof.conftest import Cells

AUDITORS, OTHERS, PARTNERS, BELOW = (f"group:default/{name}" for name in ("auditors", "others", "partners", "below"))
DAVE, GINA, HUGO, IDA, FORMER, FRANK = (
    f"user:default/{name}" for name in ("dave", "gina", "hugo", "ida", "former", "frank")
)
CHECKOUT, IDAS = "component:default/checkout", "component:default/idas"
MEMBER_SERVICE, ADMIN_SERVICE = "member-service-token-1", "admin-service-token-1"
_MINUTE = 61.0

OWNERS = (CHECKOUT, TEAM_A, IDAS)
MANAGED: dict[str, set[str]] = {
    DAVE: {CHECKOUT, TEAM_A},
    GINA: {CHECKOUT, TEAM_A},
    ALICE: set(),
    HUGO: set(),
    FORMER: set(),
    IDA: {IDAS},
}
"""dave is in the team, gina in a group below it, alice only in one above, hugo in another, former was in it, ida owns a
component herself. All of them are members."""
CALLERS: dict[str, Callable[[Service], httpx.AsyncClient]] = {
    **{ref: partial(Service.signed_in, ref=ref) for ref in (*MANAGED, BOB, FRANK, CAROL)},
    "a plugin on behalf of dave": lambda service: service.client(
        service.backstage.plugin_token(service.backstage.limited_token(DAVE))
    ),
    "a service as member": lambda service: service.client(MEMBER_SERVICE),
    "a service as admin": lambda service: service.client(ADMIN_SERVICE),
    "nobody": lambda service: service.client(),
}
READS = {"getUser": 200, "getUserUsage": 200, "getUserKeys": 200, "getUserKey": 200, "getAudit": 200}
CHANGES = {
    "createUserKey": 201,
    "updateUserKey": 200,
    "regenerateUserKey": 201,
    "transferUserKey": 200,
    "deleteUserKey": 204,
    "createUser": 409,
}
FOR_ADMINS = {"getKnownSecrets": 200, "getOwners": 200, "updateUser": 200, "deleteUser": 200}


def expected(caller: str, operation: str, owner: str) -> int:
    """The status that the table gives."""
    done = (READS | CHANGES | FOR_ADMINS)[operation]
    if caller == "nobody":
        return 401
    if caller in (BOB, "a service as admin"):
        return done
    if caller == FRANK:
        return done if operation in READS or operation in ("getKnownSecrets", "getOwners") else 403
    if operation == "getAudit" and caller == "a service as member":
        return 403
    manages = MANAGED.get(DAVE if "plugin" in caller else caller, set())
    return done if operation not in FOR_ADMINS and owner in manages else 403


def request(operation: str, owner: str, key_id: str) -> tuple[str, str, dict[str, Any]]:
    """Method, path and options. A key goes to another owner of the same manager."""
    path, to = keys_path(owner, key_id), {CHECKOUT: TEAM_A, TEAM_A: CHECKOUT, IDAS: IDA}[owner]
    requests: dict[str, tuple[str, str, dict[str, Any]]] = {
        "getUser": ("GET", user_path(owner), {}),
        "getUserUsage": ("GET", f"{user_path(owner)}/usage", {}),
        "getKnownSecrets": ("GET", f"{user_path(owner)}/known-secrets", {}),
        "getOwners": ("GET", f"{BASE}/owners", {}),
        "getUserKeys": ("GET", keys_path(owner), {}),
        "getUserKey": ("GET", path, {}),
        "getAudit": ("GET", f"{BASE}/audit", {"params": {"target": owner}}),
        "createUser": ("POST", f"{BASE}/users", {"json": {"userId": owner}}),
        "updateUser": ("PATCH", user_path(owner), {"json": {"maxBudget": 5}}),
        "deleteUser": ("DELETE", user_path(owner), {}),
        "createUserKey": ("POST", keys_path(owner), {}),
        "updateUserKey": ("PATCH", path, {"json": {"maxBudget": 1}}),
        "regenerateUserKey": ("POST", f"{path}/regenerate", {"json": {}}),
        "transferUserKey": ("POST", f"{path}/transfer", {"json": {"owner": to}}),
        "deleteUserKey": ("DELETE", path, {}),
    }
    return requests[operation]


@pytest.fixture
async def service(make_service: MakeService, backstage: BackstageStandIn) -> Service:
    """Each owner has a user; the former member managed the team's things a minute ago."""
    org = backstage.org
    org.groups |= {AUDITORS: None, OTHERS: MEMBERS, BELOW: TEAM_A, PARTNERS: None}
    org.users |= {GINA: {BELOW}, HUGO: {OTHERS}, IDA: {MEMBERS}, FORMER: {TEAM_A}, FRANK: {AUDITORS}, CAROL: {PARTNERS}}
    org.components[IDAS] = Component(IDA)
    tokens = (
        ServiceToken(MEMBER_SERVICE, "service:member", "member"),
        ServiceToken(ADMIN_SERVICE, "service:x", "admin"),
    )
    groups = GroupRefs(allowed=(MEMBERS,), admin=(ADMINS,), auditor=(AUDITORS,))
    service = make_service(service_tokens=tokens, groups=groups, creates_per_minute=1000, changes_per_minute=1000)
    for owner in OWNERS:
        await service.signed_in(BOB).post(f"{BASE}/users", json={"userId": owner})
    await service.signed_in(IDA).get(user_path(IDA))
    await service.signed_in(FORMER).post(keys_path(CHECKOUT))
    org.users[FORMER] = {MEMBERS}
    return service


@pytest.mark.parametrize("caller", CALLERS)
async def test_owners(service: Service, litellm: LiteLLMStandIn, clock: Clock, cells: Cells, caller: str) -> None:
    """The status of the table; a refused caller changes nothing in LiteLLM."""
    clock.advance(_MINUTE)
    bob, client = service.signed_in(BOB), CALLERS[caller](service)
    for operation in (*READS, *CHANGES, *FOR_ADMINS):
        for owner in OWNERS:
            await bob.post(f"{BASE}/users", json={"userId": owner})
            key_id = (await bob.post(keys_path(owner))).json()["keyId"]
            before = {**litellm.rows.users}, {**litellm.rows.keys}
            method, path, options = request(operation, owner, key_id)
            answer, wanted = await client.request(method, path, **options), expected(caller, operation, owner)
            found = [] if answer.status_code == wanted else [f"{answer.status_code}, not {wanted}: {answer.text}"]
            if wanted >= 400 and before != ({**litellm.rows.users}, {**litellm.rows.keys}):
                found.append("changed LiteLLM")
            cells.record(f"{operation} {owner}", found)
            await bob.delete(keys_path(owner, key_id))
    assert cells.failed == {}
