"""Rates: who changes keys too often waits, and what takes access away is done all the same."""

from __future__ import annotations

import httpx
import pytest

from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BASE, CAROL, MakeService, keys_path
from tests.support.keys import made, rotated

BLOCK = {"blocked": True}
NO_KEY = "0" * 64


async def test_new_keys_and_rotations_have_one_rate(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """Each makes a key; above the rate both are a 429 that makes none."""
    alice = make_service(creates_per_minute=2).signed_in(ALICE)
    new = (await rotated(alice, await made(alice)))["keyId"]
    refused = [await alice.post(keys_path(ALICE)), await alice.post(f"{keys_path(ALICE, new)}/regenerate")]
    assert [answer.status_code for answer in refused] == [429, 429]
    assert refused[0].headers["ratelimit-policy"] == refused[1].headers["ratelimit-policy"] == '"creates";q=2;w=60'
    assert list(litellm.rows.keys) == [new]


async def test_who_makes_keys_reads_what_is_left(make_service: MakeService) -> None:
    """With every new key, and with the answer to a repetition, which costs nothing; reports have their own rate."""
    service = make_service(creates_per_minute=9)
    alice = service.signed_in(ALICE)

    async def left(path: str, named: str, **body: object) -> str:
        answer = await alice.post(path, headers={"Idempotency-Key": named}, json=body)
        assert answer.headers["ratelimit-policy"].endswith(";q=9;w=60")
        return str(answer.headers["ratelimit"].partition(";t=")[0])

    key = (await alice.post(keys_path(ALICE))).json()
    again = f"{keys_path(ALICE, key['keyId'])}/regenerate"
    told = [await left(path, name) for path, name in ((keys_path(ALICE), "a"), (again, "b")) for _ in range(2)]
    assert told == ['"creates";r=7', '"creates";r=7', '"creates";r=6', '"creates";r=6']
    assert await left(f"{BASE}/keys/report", "c", key=key["keySecret"]) == '"reports";r=8'


async def test_reports_have_a_rate_of_their_own(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """Somebody who reports again and again neither keeps others from it, nor is kept from it by making keys."""
    service = make_service(creates_per_minute=1)
    alice, carol = service.signed_in(ALICE), service.signed_in(CAROL)
    key = (await alice.post(keys_path(ALICE))).json()
    answers = [await carol.post(f"{BASE}/keys/report", json={"key": f"sk-made-up-{n}"}) for n in range(2)]
    answers.append(await alice.post(f"{BASE}/keys/report", json={"key": key["keySecret"]}))
    assert [answer.status_code for answer in answers] == [202, 429, 202]
    assert litellm.rows.keys[key["keyId"]]["blocked"] is True


@pytest.fixture
async def hurried(make_service: MakeService) -> tuple[httpx.AsyncClient, list[str]]:
    """Alice above her rate, and three keys of hers; the last one is blocked."""
    service = make_service(changes_per_minute=2)
    alice = service.signed_in(ALICE)
    keys = [await made(alice) for _ in range(3)]
    assert (await alice.patch(keys_path(ALICE, keys[0]), json={"alias": "a"})).status_code == 200
    assert (await alice.patch(keys_path(ALICE, keys[2]), json=BLOCK)).status_code == 200
    return alice, keys


async def test_above_the_rate_a_key_that_works_is_blocked(
    hurried: tuple[httpx.AsyncClient, list[str]], litellm: LiteLLMStandIn
) -> None:
    """Nothing else is changed: no other property, no key that is blocked already, none that is not there."""
    alice, (first, second, blocked) = hurried
    for key_id, body in ((first, {"alias": "b"}), (blocked, BLOCK), (NO_KEY, BLOCK), (first, BLOCK | {"alias": "b"})):
        assert (await alice.patch(keys_path(ALICE, key_id), json=body)).status_code == 429, body
    assert (await alice.patch(keys_path(ALICE, second), json=BLOCK)).status_code == 200
    assert [row["blocked"] is True for row in litellm.rows.keys.values()] == [False, True, True]


async def test_above_the_rate_a_key_is_deleted(
    hurried: tuple[httpx.AsyncClient, list[str]], litellm: LiteLLMStandIn
) -> None:
    """One that is not there is a 429: its deletion takes nothing away, and would leave an event each time."""
    alice, keys = hurried
    assert (await alice.delete(keys_path(ALICE, NO_KEY))).status_code == 429
    assert (await alice.delete(keys_path(ALICE, keys[1]))).status_code == 204
    assert list(litellm.rows.keys) == [keys[0], keys[2]]
    assert (await alice.delete(keys_path(ALICE, keys[1]))).status_code == 429
