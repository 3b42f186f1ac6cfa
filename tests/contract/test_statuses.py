"""Each (operation, status) of the contract is given by the service, and each test here stands in the contract."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest

from settings.model import ConnectionLimits, Timeouts
from standalone.catalog import MEMBERS
from state.database import Database
from state.lease import Lease
from tests.conftest import ALICE, BASE, BOB, CAROL, MakeService, Service, keys_path, user_path
from tests.support.adoption import planned
from tests.support.application import application_of
from tests.support.contract import check, operations
from tests.support.devices import ask, sign_in
from tests.support.requests import (
    API,
    CONDITIONAL,
    NO_CODE,
    NO_KEY,
    OPEN,
    PAGES,
    REQUESTS,
    WITH_BODY,
    ended,
    exchange,
    send,
)
from tests.support.upstreams import Hanging, answering

Case = Callable[[Service], Awaitable[httpx.Response]]

ON_A_KEY = ["getUserKey", "getUserKeyVersions", "updateUserKey", "deleteUserKey", "regenerateUserKey"]
ON_A_KEY += ["transferUserKey"]
CREATES = ["createUser", "createUserKey", "regenerateUserKey"]
ON_A_CODE = ["getDeviceCode", "approveDeviceCode", "refuseDeviceCode"]
METADATA = ["getAuthorizationMetadata", "getAuthorizationMetadataAtRoot"]
ASK_BACKSTAGE_ONLY = [
    "getKnownSecrets",
    "getOwners",
    "getCleanup",
    "getCleanupRun",
    "getMe",
    "getAudit",
    "getAdoption",
    "startAdoption",
    "getWorkloads",
    "testWorkload",
    "getDeviceCode",
    "approveDeviceCode",
    "refuseDeviceCode",
    "getSessions",
    "endSession",
]


FAULTS: dict[int, dict[str, Any]] = {
    502: {"ports": {"litellm": answering(httpx.Response(200, html="<h1>Hello</h1>"))}},
    503: {"ports": {"litellm": answering(httpx.ConnectError("refused"))}},
    504: {"ports": {"litellm": Hanging()}, "timeouts": Timeouts(deadline=0.001)},
}


def as_bob(operation: str, **changes: Any) -> Case:
    return lambda service: send(service.signed_in(BOB), operation, **changes)


def alice_has_a_user(service: Service) -> None:
    service.litellm.rows.add_user({"user_id": ALICE})


def alice_has_a_key(service: Service, alias: str | None = None) -> str:
    """Its id."""
    row, _ = service.litellm.rows.add_key({"user_id": ALICE, "duration": "30d", "key_alias": alias})
    return str(row["token"])


def exchanged(times: int = 1) -> Case:
    """As many tokens of a workload; the last answer."""

    async def case(service: Service) -> httpx.Response:
        for number in range(times):
            response = await exchange(service.client(), service.issuer.token(jti=f"run-{number}"))
        return response

    return case


def after_alice(operation: str, **changes: Any) -> Case:
    async def case(service: Service) -> httpx.Response:
        alice_has_a_user(service)
        return await send(service.signed_in(BOB), operation, **changes)

    return case


def on_a_key(operation: str, times: int = 1, **changes: Any) -> Case:
    """As alice, on a key of hers, once or several times; the last answer."""

    async def case(service: Service) -> httpx.Response:
        alice = service.signed_in(ALICE)
        alice_has_a_user(service)
        alice_has_a_key(service, "taken")
        key_id = alice_has_a_key(service)
        method, path, options = REQUESTS[operation]
        for _ in range(times - 1):
            await alice.request(method, path.replace(NO_KEY, key_id), **(options | changes))
        return await alice.request(method, path.replace(NO_KEY, key_id), **(options | changes))

    return case


async def alias_twice(service: Service) -> httpx.Response:
    alice = service.signed_in(ALICE)
    await alice.post(keys_path(ALICE), json={"alias": "laptop"})
    return await alice.post(keys_path(ALICE), json={"alias": "laptop"})


async def there_is_something_to_read(service: Service) -> None:
    """Alice has a key, and bob has made a dry run of the cleanup and one of an adoption."""
    alice_has_a_user(service)
    alice_has_a_key(service)
    bob = service.signed_in(BOB)
    await send(bob, "runCleanup")
    await planned(bob)


def read_twice(operation: str) -> Case:
    """As bob; the second time with the tag of the first."""

    async def case(service: Service) -> httpx.Response:
        bob = service.signed_in(BOB)
        method, path, options = REQUESTS[operation]
        path = path.replace(NO_KEY, next(iter(service.litellm.rows.keys)))
        tag = (await bob.request(method, path, **options)).headers["etag"]
        return await bob.request(method, path, **options, headers={"If-None-Match": tag})

    return case


async def look_at_a_dry_run(service: Service) -> httpx.Response:
    bob = service.signed_in(BOB)
    await send(bob, "runCleanup")
    return await send(bob, "getCleanupRun")


async def look_at_a_planned_adoption(service: Service) -> httpx.Response:
    bob = service.signed_in(BOB)
    await planned(bob)
    return await send(bob, "getAdoption")


async def no_such_console_file(service: Service) -> httpx.Response:
    return await service.client().get(f"{BASE}/console/{'0' * 16}/other.js")


async def off_board_during_a_cleanup(service: Service) -> httpx.Response:
    alice_has_a_user(service)
    database = Database(service.settings.database_url, service.ports.wall_clock)
    lease = Lease(database, "cleanup", owner="another replica", life=60)
    held = await lease.acquire()
    answer = await send(service.signed_in(BOB), "deleteUser")
    await lease.release(held, next_run_in=None)
    await database.aclose()
    return answer


async def transfer_in_an_overlap(service: Service) -> httpx.Response:
    alice = service.signed_in(ALICE)
    key_id = (await alice.post(keys_path(ALICE))).json()["keyId"]
    await alice.post(f"{keys_path(ALICE, key_id)}/regenerate", json={"overlap": 60})
    return await alice.post(f"{keys_path(ALICE, key_id)}/transfer", json={"owner": MEMBERS})


async def accept_another_uid(service: Service) -> httpx.Response:
    bob, checkout = service.signed_in(BOB), "component:default/checkout"
    await bob.post(keys_path(checkout))
    return await bob.patch(user_path(checkout), json={"entityUid": "another"})


def same_key_for_two(operation: str) -> Case:
    """One Idempotency-Key for two different requests."""

    async def case(service: Service) -> httpx.Response:
        named = {"Idempotency-Key": "one"}
        if operation == "regenerateUserKey":
            await on_a_key(operation, headers=named)(service)
        else:
            await send(service.signed_in(ALICE), "createUserKey", json={"alias": "a"}, headers=named)
        body = {"userId": ALICE} if operation == "createUser" else {}
        return await send(service.signed_in(ALICE), operation, json=body, headers=named)

    return case


def too_often(operation: str, times: int = 30) -> Case:
    async def case(service: Service) -> httpx.Response:
        bob = service.signed_in(BOB)
        for _ in range(times):
            assert (await send(bob, operation)).status_code != 429
        return await send(bob, operation)

    return case


async def create_twice(service: Service) -> httpx.Response:
    await send(service.signed_in(BOB), "createUser")
    return await send(service.signed_in(BOB), "createUser")


async def begin_a_cleanup(service: Service) -> httpx.Response:
    bob = service.signed_in(BOB)
    begun = await send(bob, "runCleanup", json={"dryRun": False})
    await ended(bob)
    return begun


def as_nobody(operation: str) -> Case:
    return lambda service: send(service.client(), operation)


def with_a_slash(operation: str) -> Case:
    _, path, _ = REQUESTS[operation]
    return lambda service: service.client().get(f"{path}/")


def as_carol(operation: str) -> Case:
    return lambda service: send(service.signed_in(CAROL), operation)


def on_a_code(operation: str, times: int = 1) -> Case:
    """As bob, on the code of a device that asks, once or several times; the last answer."""

    async def case(service: Service) -> httpx.Response:
        codes, bob = await ask(service.client()), service.signed_in(BOB)
        method, path, options = REQUESTS[operation]
        for _ in range(times):
            answer = await bob.request(method, path.replace(NO_CODE, codes["user_code"]), **options)
        return answer

    return case


async def end_a_session(service: Service) -> httpx.Response:
    session = (await sign_in(service, BOB))["session_id"]
    return await service.signed_in(BOB).delete(f"{BASE}/sessions/{session}")


async def answered_by(service: Service, operation: str, **options: Any) -> httpx.Response:
    answer = await send(service.client(), operation, **options)
    await service.aclose()
    return answer


async def without_a_database(service: Service) -> httpx.Response:
    """Where its file should be, there is no folder."""
    settings = replace(service.settings, database_url="sqlite+aiosqlite:////proc/nowhere/state.sqlite3")
    plain = Service(settings, service.ports, service.litellm, service.backstage, service.issuer)
    return await send(plain.client(), "authorizeDevice")


async def exchanged_during(failing: Service, service: Service) -> httpx.Response:
    return await exchange(failing.client(), service.issuer.token())


async def revoked_during(failing: Service, service: Service) -> httpx.Response:
    """A token of a device that was signed in before."""
    token = (await sign_in(service, BOB))["refresh_token"]
    return await answered_by(failing, "revokeToken", data={"token": token})


OUTAGES = {"issueToken": exchanged_during, "revokeToken": revoked_during}


def without_an_address(operation: str) -> Case:
    async def case(service: Service) -> httpx.Response:
        settings = replace(service.settings, public_url=None)
        plain = Service(settings, service.ports, service.litellm, service.backstage, service.issuer)
        return await answered_by(plain, operation)

    return case


OTHER_VERSION = {"If-Match": f'"{NO_KEY[:32]}"'}

CASES: dict[tuple[str, int], Case] = {
    ("getMe", 200): as_bob("getMe"),
    ("getModels", 200): as_bob("getModels"),
    ("getUsers", 200): after_alice("getUsers"),
    ("createUser", 201): as_bob("createUser"),
    ("createUser", 409): create_twice,
    **{
        (operation, 200): after_alice(operation)
        for operation in ("getUser", "updateUser", "deleteUser", "getUserUsage")
    },
    **{(operation, 404): as_bob(operation) for operation in ("getUser", "updateUser", "deleteUser", "getUserUsage")},
    ("getKnownSecrets", 200): as_bob("getKnownSecrets"),
    ("getOwners", 200): as_bob("getOwners"),
    ("updateUser", 409): accept_another_uid,
    ("deleteUser", 409): off_board_during_a_cleanup,
    ("createUserKey", 201): after_alice("createUserKey"),
    ("createUserKey", 404): as_bob("createUserKey"),
    ("createUserKey", 409): alias_twice,
    ("getUserKeys", 200): after_alice("getUserKeys"),
    ("getUserKeys", 404): as_bob("getUserKeys"),
    **{(operation, 404): after_alice(operation) for operation in ON_A_KEY},
    **{(operation, 200): on_a_key(operation) for operation in ON_A_KEY[:2]},
    ("updateUserKey", 200): on_a_key("updateUserKey"),
    ("updateUserKey", 409): on_a_key("updateUserKey", json={"alias": "taken"}),
    ("deleteUserKey", 204): on_a_key("deleteUserKey"),
    ("transferUserKey", 200): on_a_key("transferUserKey"),
    ("transferUserKey", 409): transfer_in_an_overlap,
    ("regenerateUserKey", 201): on_a_key("regenerateUserKey"),
    ("regenerateUserKey", 409): on_a_key("regenerateUserKey", times=2, json={"overlap": 60}),
    **{(operation, 412): on_a_key(operation, headers=OTHER_VERSION) for operation in ON_A_KEY[2:]},
    **{(operation, 422): same_key_for_two(operation) for operation in CREATES},
    **{
        (operation, 429): too_often(operation) for operation in [*CREATES, "reportKey", "deleteUser", "transferUserKey"]
    },
    **{(operation, 429): too_often(operation, 120) for operation in ["updateUser", "updateUserKey", "deleteUserKey"]},
    **{(operation, 308): with_a_slash(operation) for operation in PAGES},
    ("reportKey", 202): as_carol("reportKey"),
    ("getAudit", 200): as_bob("getAudit"),
    ("getCleanup", 200): as_bob("getCleanup"),
    ("getCleanupRun", 200): look_at_a_dry_run,
    ("getCleanupRun", 404): as_bob("getCleanupRun"),
    ("startAdoption", 202): as_bob("startAdoption"),
    ("startAdoption", 409): as_bob("startAdoption", json={"dryRun": False, "planHash": "0" * 64}),
    ("getAdoption", 200): look_at_a_planned_adoption,
    ("getAdoption", 404): as_bob("getAdoption"),
    ("getConsoleAsset", 404): no_such_console_file,
    ("runCleanup", 200): as_bob("runCleanup"),
    ("runCleanup", 202): begin_a_cleanup,
    ("runCleanup", 409): as_bob("runCleanup", json={"dryRun": False, "planHash": "0" * 64}),
    **{(operation, 200): as_nobody(operation) for operation in OPEN if operation != "issueToken"},
    ("getDeviceCode", 200): on_a_code("getDeviceCode"),
    ("approveDeviceCode", 200): on_a_code("approveDeviceCode"),
    ("refuseDeviceCode", 200): on_a_code("refuseDeviceCode"),
    ("approveDeviceCode", 409): on_a_code("approveDeviceCode", times=2),
    ("refuseDeviceCode", 409): on_a_code("refuseDeviceCode", times=2),
    **{(operation, 404): as_bob(operation) for operation in [*ON_A_CODE, "endSession"]},
    **{(operation, 429): too_often(operation, 5) for operation in ON_A_CODE},
    ("authorizeDevice", 429): too_often("authorizeDevice"),
    ("authorizeDevice", 503): without_a_database,
    ("getSessions", 200): as_bob("getSessions"),
    ("endSession", 204): end_a_session,
    ("endSession", 429): too_often("endSession"),
    **{(operation, 404): without_an_address(operation) for operation in METADATA},
    ("issueToken", 200): exchanged(),
    ("issueToken", 429): exchanged(times=61),
    ("getWorkloads", 200): as_bob("getWorkloads"),
    ("testWorkload", 200): as_bob("testWorkload"),
    **{(operation, 400): as_bob(operation, params={"unknown": "1"}) for operation in REQUESTS},
    **{(operation, 401): as_nobody(operation) for operation in API},
    **{(operation, 403): as_carol(operation) for operation in API if operation != "reportKey"},
    **{(operation, 304): read_twice(operation) for operation in CONDITIONAL},
    **{(operation, 412): after_alice(operation, headers=OTHER_VERSION) for operation in ("updateUser", "deleteUser")},
    **{(operation, 413): as_bob(operation, content=b" " * 70_000) for operation in WITH_BODY},
    **{
        (operation, 415): as_bob(operation, json=None, content=b"{}", headers={"Content-Type": "text/plain"})
        for operation in WITH_BODY
    },
}

WITHOUT_A_TRACE = (304, 308, 400, 401, 403, 413, 415)
"""Who gets one of these leaves nothing that would change the next answer."""
KEPT = {("getReadiness", 503)}
"""What earlier versions gave and this one does not (ADR 16); who reads it still may find it in the contract."""


def contract_pairs() -> set[tuple[str, int]]:
    return {(name, int(status)) for name, (_, _, row) in operations().items() for status in row["responses"]}


def fault_pairs() -> set[tuple[str, int]]:
    return {(operation, status) for operation in API for status in FAULTS}


def test_every_operation_and_status_is_tested_and_no_other() -> None:
    """The tables here and the contract list the same pairs."""
    others = {(operation, 500) for operation in REQUESTS} | {(operation, 408) for operation in WITH_BODY}
    outages = {(operation, 503) for operation in OUTAGES}
    assert CASES.keys() | fault_pairs() | outages | others | KEPT == contract_pairs()


@pytest.mark.parametrize("pair", sorted(pair for pair in CASES if pair[1] not in WITHOUT_A_TRACE), ids=str)
async def test_status(service: Service, pair: tuple[str, int]) -> None:
    """The service returns this status in the form of the contract."""
    assert (await CASES[pair](service)).status_code == pair[1]


@pytest.mark.parametrize("status", WITHOUT_A_TRACE)
async def test_status_that_changes_nothing(service: Service, subtests: pytest.Subtests, status: int) -> None:
    """Each operation that has it returns it in the form of the contract, whatever was asked before."""
    if status == 304:
        await there_is_something_to_read(service)
    for operation in sorted(operation for operation, other in CASES if other == status):
        with subtests.test(operation):
            assert (await CASES[operation, status](service)).status_code == status


@pytest.mark.parametrize("pair", sorted(fault_pairs()), ids=str)
async def test_upstream_status(make_service: MakeService, pair: tuple[str, int]) -> None:
    """A failing upstream is 502, 503 or 504, and nothing else."""
    operation, status = pair
    fault = FAULTS[status]
    if operation in ASK_BACKSTAGE_ONLY:
        # It asks LiteLLM nothing; who is asking can be told with Backstage's help only.
        fault = fault | {"ports": {"backstage": fault["ports"]["litellm"]}}
    response = await send(make_service(**fault).signed_in(BOB), operation)
    assert response.status_code == status


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("operation", OUTAGES)
async def test_an_outage_in_oauths_form(
    make_service: MakeService, service: Service, operation: str, fault: int
) -> None:
    """A client of OAuth gets a 503 with `Retry-After`, whatever failed."""
    response = await OUTAGES[operation](make_service(**FAULTS[fault]), service)
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
    assert response.json()["error"] == "temporarily_unavailable"


async def test_a_body_that_is_late(make_service: MakeService, subtests: pytest.Subtests) -> None:
    """It is a 408; LiteLLM and Backstage are asked nothing that changes them."""

    async def half_a_body() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    bob = make_service(connections=ConnectionLimits(body_seconds=0)).signed_in(BOB)
    for operation in WITH_BODY:
        with subtests.test(operation):
            response = await send(bob, operation, json=None, content=half_a_body())
            assert (response.status_code, response.headers["connection"]) == (408, "close")
            body = response.json()
            message = body["error_description"] if "/oauth/" in REQUESTS[operation][1] else body["error"]["message"]
            assert message == "The body did not arrive within 0 s"


async def test_a_crash_is_a_500_that_tells_nothing(subtests: pytest.Subtests) -> None:
    """A crash is a 500 in the error body, without the exception's text."""

    async def crash(**_: Any) -> Any:
        raise ZeroDivisionError("canary-in-a-crash")

    crashing = application_of(dict.fromkeys(REQUESTS, crash))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(crashing), base_url="http://orchestrator") as client:
        for operation in sorted(REQUESTS):
            with subtests.test(operation):
                response = await send(client, operation, headers={"Authorization": "Bearer any"})
                check(response)
                assert response.status_code == 500
                assert "canary" not in response.text
