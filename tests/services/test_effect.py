"""`Effective-Within`: how long a key that was ended here may still work in a LiteLLM that was not told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from settings.model import Cors
from tests.conftest import ALICE, BASE, BOB, CAROL, MakeService, Service, keys_path, user_path
from tests.support.keys import made

ORIGIN = "http://localhost:3000"
Request = Callable[[Service], Awaitable[httpx.Response]]


def on_a_key(method: str, path: str = "", **options: Any) -> Request:
    """What alice asks of a new key of hers."""

    async def ask(service: Service) -> httpx.Response:
        alice = service.signed_in(ALICE)
        return await alice.request(method, keys_path(ALICE, await made(alice)) + path, **options)

    return ask


def reported(*, exists: bool) -> Request:
    """Carol reports a key of alice's, or one that there is not."""

    async def ask(service: Service) -> httpx.Response:
        created = (await service.signed_in(ALICE).post(keys_path(ALICE))).json()
        secret = created["keySecret"] if exists else "sk-nobody-has-this-one"
        return await service.signed_in(CAROL).post(f"{BASE}/keys/report", json={"key": secret})

    return ask


def rotated_twice(*overlaps: int) -> Request:
    """Alice rotates a key, and then the new one."""

    async def ask(service: Service) -> httpx.Response:
        alice = service.signed_in(ALICE)
        key_id = await made(alice)
        for overlap in overlaps:
            answer = await alice.post(f"{keys_path(ALICE, key_id)}/regenerate", json={"overlap": overlap})
            key_id = answer.json()["keyId"]
        return answer

    return ask


async def repeated_rotation(service: Service) -> httpx.Response:
    """Alice asks for the same rotation again."""
    alice = service.signed_in(ALICE)
    path, once = f"{keys_path(ALICE, await made(alice))}/regenerate", {"Idempotency-Key": "once"}
    await alice.post(path, headers=once)
    return await alice.post(path, headers=once)


def as_bob(method: str, path: str, **options: Any) -> Request:
    """What bob asks when alice has a user."""

    async def ask(service: Service) -> httpx.Response:
        await service.signed_in(ALICE).get(user_path(ALICE))
        return await service.signed_in(BOB).request(method, path, **options)

    return ask


ENDS: dict[str, Request] = {
    "a deleted key": on_a_key("DELETE"),
    "a blocked key": on_a_key("PATCH", json={"blocked": True}),
    "a rotation": on_a_key("POST", "/regenerate"),
    "a rotation, asked for again": repeated_rotation,
    "a rotation that ends the key before": rotated_twice(3600, 60),
    "a leaked key": reported(exists=True),
    "a leaked key that does not exist": reported(exists=False),
    "a deleted user": as_bob("DELETE", user_path(ALICE)),
    "a run of the cleanup": as_bob("POST", f"{BASE}/cleanup", json={"dryRun": False}),
}
ENDS_NOTHING: dict[str, Request] = {
    "a renamed key": on_a_key("PATCH", json={"alias": "a"}),
    "an unblocked key": on_a_key("PATCH", json={"blocked": False}),
    "a key that is read": on_a_key("GET"),
    "a rotation with an overlap": on_a_key("POST", "/regenerate", json={"overlap": 60}),
    "other limits of a user": as_bob("PATCH", user_path(ALICE), json={"maxBudget": 1}),
    "a dry run of the cleanup": as_bob("POST", f"{BASE}/cleanup"),
}


@pytest.mark.parametrize("name", ENDS)
async def test_whoever_ends_a_key_learns_how_long_it_still_works(service: Service, name: str) -> None:
    """A minute at most, as LiteLLM remembers keys unless configured otherwise."""
    answer = await ENDS[name](service)
    assert (answer.is_success, answer.headers.get("effective-within")) == (True, "60")


@pytest.mark.parametrize("name", ENDS_NOTHING)
async def test_an_answer_that_ends_no_key_does_not_say_so(service: Service, name: str) -> None:
    """Or a caller would take a key for dead that works."""
    answer = await ENDS_NOTHING[name](service)
    assert (answer.is_success, "effective-within" in answer.headers) == (True, False)


async def test_a_dry_run_that_takes_long_ends_no_key_either(make_service: MakeService) -> None:
    """It is a 202 like a run, and changes nothing."""
    answer = await as_bob("POST", f"{BASE}/cleanup")(make_service(ports={"patience": 0.0}))
    assert (answer.status_code, "effective-within" in answer.headers) == (202, False)


async def test_a_litellm_that_remembers_keys_for_another_time(make_service: MakeService) -> None:
    """The operator says so, and callers and the console learn it; pages of other origins may read it."""
    service = make_service(effective_within_seconds=5, cors=Cors(origins=(ORIGIN,)))
    answer = await ENDS["a deleted key"](service)
    assert answer.headers["effective-within"] == "5"
    read = await service.client().get(f"{BASE}/console/settings", headers={"Origin": ORIGIN})
    assert read.json()["effectiveWithin"] == 5
    assert "Effective-Within" in read.headers["access-control-expose-headers"].split(", ")
