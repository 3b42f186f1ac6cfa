"""Each (operation, status) of the contract is given by the service, and each test here stands in the contract."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from edge import application
from edge.binding import handler_name
from services.access import Principal, Role
from settings import Cors, Timeouts
from tests.conftest import ALICE, BASE, BOB, CAROL, MakeService, Service, keys_path, user_path
from tests.contract_check import CONTRACT_DOCUMENT, check, operations
from tests.upstreams import Hanging, answering

NO_KEY = "0" * 64
DAVE = "user:default/dave"
Case = Callable[[Service], Awaitable[httpx.Response]]

REQUESTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "createUser": ("POST", f"{BASE}/users", {"json": {"userId": DAVE}}),
    "getUser": ("GET", user_path(ALICE), {}),
    "createUserKey": ("POST", keys_path(ALICE), {"json": {}}),
    "getUserKeys": ("GET", keys_path(ALICE), {}),
    "deleteUserKey": ("DELETE", keys_path(ALICE, NO_KEY), {}),
    "getCleanup": ("GET", f"{BASE}/cleanup", {}),
    "runCleanup": ("POST", f"{BASE}/cleanup", {"json": {"dryRun": True}}),
    "getOpenapiYaml": ("GET", f"{BASE}/openapi.yaml", {}),
    "getOpenapiJson": ("GET", f"{BASE}/openapi.json", {}),
    "getDocs": ("GET", f"{BASE}/docs", {}),
    "getDocsAsset": ("GET", f"{BASE}/docs/swagger-ui.css", {}),
    "getLiveness": ("GET", "/.backstage/health/v1/liveness", {}),
    "getReadiness": ("GET", "/.backstage/health/v1/readiness", {}),
}
"""A good request for each operation, as bob the admin may send it."""

API = ["createUser", "getUser", "createUserKey", "getUserKeys", "deleteUserKey", "getCleanup", "runCleanup"]
WITH_BODY = ["createUser", "createUserKey", "runCleanup"]


async def send(client: httpx.AsyncClient, operation: str, **changes: Any) -> httpx.Response:
    method, path, options = REQUESTS[operation]
    return await client.request(method, path, **(options | changes))


def as_bob(operation: str, **changes: Any) -> Case:
    return lambda service: send(service.signed_in(BOB), operation, **changes)


async def alice_has_a_user(service: Service) -> None:
    await service.signed_in(ALICE).get(user_path(ALICE))


def after_alice(operation: str, **changes: Any) -> Case:
    async def case(service: Service) -> httpx.Response:
        await alice_has_a_user(service)
        return await send(service.signed_in(BOB), operation, **changes)

    return case


async def delete_a_key(service: Service) -> httpx.Response:
    alice = service.signed_in(ALICE)
    key = (await alice.post(keys_path(ALICE))).json()
    return await alice.delete(keys_path(ALICE, key["keyId"]))


async def create_twice(service: Service) -> httpx.Response:
    await send(service.signed_in(BOB), "createUser")
    return await send(service.signed_in(BOB), "createUser")


async def begin_a_cleanup(service: Service) -> httpx.Response:
    bob = service.signed_in(BOB)
    begun = await send(bob, "runCleanup", json={"dryRun": False})
    while (await send(bob, "getCleanup")).json()["running"]:
        pass
    return begun


def as_nobody(operation: str) -> Case:
    return lambda service: send(service.client(), operation)


def as_carol(operation: str) -> Case:
    return lambda service: send(service.signed_in(CAROL), operation)


CASES: dict[tuple[str, int], Case] = {
    ("createUser", 201): as_bob("createUser"),
    ("createUser", 409): create_twice,
    ("getUser", 200): after_alice("getUser"),
    ("getUser", 404): as_bob("getUser"),
    ("createUserKey", 201): after_alice("createUserKey"),
    ("createUserKey", 404): as_bob("createUserKey"),
    ("getUserKeys", 200): after_alice("getUserKeys"),
    ("getUserKeys", 404): as_bob("getUserKeys"),
    ("deleteUserKey", 204): delete_a_key,
    ("deleteUserKey", 404): after_alice("deleteUserKey"),
    ("getCleanup", 200): as_bob("getCleanup"),
    ("runCleanup", 200): as_bob("runCleanup"),
    ("runCleanup", 202): begin_a_cleanup,
    ("runCleanup", 409): as_bob("runCleanup", json={"dryRun": False, "planHash": "0" * 64}),
    **{(operation, 200): as_nobody(operation) for operation in REQUESTS if operation not in API},
    **{(operation, 400): as_bob(operation, params={"unknown": "1"}) for operation in REQUESTS},
    **{(operation, 401): as_nobody(operation) for operation in API},
    **{(operation, 403): as_carol(operation) for operation in API},
    **{(operation, 413): as_bob(operation, content=b" " * 70_000) for operation in WITH_BODY},
    **{
        (operation, 415): as_bob(operation, json=None, content=b"{}", headers={"Content-Type": "text/plain"})
        for operation in WITH_BODY
    },
}

FAULTS: dict[int, dict[str, Any]] = {
    502: {"world": {"litellm": answering(httpx.Response(200, html="<h1>Hello</h1>"))}},
    503: {"world": {"litellm": answering(httpx.ConnectError("refused"))}},
    504: {"world": {"litellm": Hanging()}, "timeouts": Timeouts(deadline=0.001)},
}


def contract_pairs() -> set[tuple[str, int]]:
    return {(name, int(status)) for name, (_, _, row) in operations().items() for status in row["responses"]}


def fault_pairs() -> set[tuple[str, int]]:
    return {(operation, status) for operation in API for status in FAULTS} | {("getReadiness", 503)}


def test_every_operation_and_status_is_tested_and_no_other() -> None:
    """The tables here and the contract list the same pairs."""
    assert CASES.keys() | fault_pairs() | {(operation, 500) for operation in REQUESTS} == contract_pairs()


@pytest.mark.parametrize("pair", sorted(CASES), ids=str)
async def test_status(service: Service, pair: tuple[str, int]) -> None:
    """The service gives this status, in the form that the contract promises."""
    assert (await CASES[pair](service)).status_code == pair[1]


@pytest.mark.parametrize("pair", sorted(fault_pairs()), ids=str)
async def test_upstream_status(make_service: MakeService, pair: tuple[str, int]) -> None:
    """An upstream at fault is 502, 503 or 504, and nothing else."""
    operation, status = pair
    fault = FAULTS[status]
    if operation == "getCleanup":
        # It asks LiteLLM nothing; who is asking can be told with Backstage's help only.
        fault = fault | {"world": {"backstage": fault["world"]["litellm"]}}
    assert (await send(make_service(**fault).signed_in(BOB), operation)).status_code == status


@pytest.mark.parametrize("operation", sorted(REQUESTS))
async def test_a_crash_is_a_500_that_tells_nothing(service: Service, operation: str) -> None:
    """A handler that crashes is a 500 in the one error body, without the exception's text."""

    async def crash(**_: Any) -> Any:
        raise ZeroDivisionError("canary-in-a-crash")

    crashing = crashing_application(crash)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(crashing), base_url="http://orchestrator") as client:
        response = await send(client, operation, headers={"Authorization": "Bearer any"})
    check(response)
    assert response.status_code == 500
    assert "canary" not in response.text


def crashing_application(crash: Any) -> Any:
    """The contract with every operation handled by `crash`."""

    async def authenticate(_: str) -> Principal:
        return Principal(BOB, frozenset({Role.ADMIN}))

    return application.build(
        CONTRACT_DOCUMENT,
        handlers={handler_name(operation): crash for operation in REQUESTS},
        available={},
        authenticate=authenticate,
        cors=Cors(),
        lifespan=asyncio.timeout,  # type: ignore[arg-type]  # never entered: this transport has no lifespan
        new_id=lambda: "request-1",
        now=lambda: 0.0,
    )
