"""What people do most, over the connections of production: LiteLLM and Backstage are HTTP servers on sockets.

Most tests answer inside the process (ADR 13), so these prove that nothing depends on that.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import httpx
import pytest

from standalone.backstage import BackstageStandIn
from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BASE, BOB, MakeService, Service, keys_path, user_path
from tests.support import faults
from tests.support.faults import faulty
from tests.support.keys import chat, made, rotated
from tests.support.raw_http import serving
from tests.support.requests import ended

ALIAS = "laptop / desk + 50 %"


@pytest.fixture
async def service(
    make_service: MakeService, litellm: LiteLLMStandIn, backstage: BackstageStandIn
) -> AsyncIterator[Service]:
    """The service with the connections of production."""
    usual = make_service().settings
    async with serving(litellm.app) as to_litellm, serving(backstage.app) as to_backstage:
        yield make_service(
            ports={"litellm": None, "backstage": None},
            litellm=replace(usual.litellm, base_url=f"http://127.0.0.1:{to_litellm}"),
            backstage=replace(usual.backstage, base_url=f"http://127.0.0.1:{to_backstage}"),
        )


async def first_use(service: Service) -> None:
    """A member signs in with a genuine token, and has a user from then on."""
    alice = service.signed_in(ALICE)
    assert (await alice.get(f"{BASE}/me")).json()["roles"] == ["member"]
    assert (await alice.get(user_path(ALICE))).json()["maxBudget"] == 100
    assert list(service.litellm.rows.users) == [ALICE]


async def life_of_a_key(service: Service) -> None:
    """Created, listed, read, changed, rotated, deleted."""
    alice = service.signed_in(ALICE)
    key_id = await made(alice, alias=ALIAS)
    assert [row["key_alias"] for row in (await alice.get(keys_path(ALICE))).json()["keys"]] == [ALIAS]
    assert (await alice.patch(keys_path(ALICE, key_id), json={"maxBudget": 5})).status_code == 200
    assert (await alice.get(keys_path(ALICE, key_id))).json()["max_budget"] == 5
    new = await rotated(alice, key_id)
    assert await chat(service.litellm, new["keySecret"]) == 200
    assert (await alice.delete(keys_path(ALICE, new["keyId"]))).status_code == 204
    assert service.litellm.rows.keys == {}


async def leaked_key(service: Service) -> None:
    """Bob reports a key of alice's that he found, and it is blocked."""
    key = (await service.signed_in(ALICE).post(keys_path(ALICE))).json()
    reported = await service.signed_in(BOB).post(f"{BASE}/keys/report", json={"key": key["keySecret"]})
    assert reported.status_code == 202
    assert service.litellm.rows.keys[key["keyId"]]["blocked"] is True


async def spending(service: Service) -> None:
    """The models that there are, and what their calls cost."""
    alice = service.signed_in(ALICE)
    key = (await alice.post(keys_path(ALICE))).json()
    assert await chat(service.litellm, key["keySecret"]) == 200
    assert "gpt-fake" in [row["id"] for row in (await alice.get(f"{BASE}/models")).json()["models"]]
    assert (await alice.get(f"{user_path(ALICE)}/usage")).json()["total"]["requests"] == 1


async def page_of_users(service: Service) -> None:
    """An admin sees who there is."""
    await made(service.signed_in(ALICE))
    users = (await service.signed_in(BOB).get(f"{BASE}/users?limit=50")).json()["users"]
    assert [row["userId"] for row in users] == [ALICE]


async def off_boarding(service: Service) -> None:
    """Who has left every group has no working key after a run of the cleanup."""
    key_id = await made(service.signed_in(ALICE))
    service.backstage.org.users[ALICE] = set()
    bob = service.signed_in(BOB)
    assert (await bob.post(f"{BASE}/cleanup", json={"dryRun": False})).status_code == 202
    assert (await ended(bob))["lastReport"]["done"]["blocked"] == [ALICE]
    assert service.litellm.rows.keys[key_id]["blocked"] is True


STORIES = [first_use, life_of_a_key, leaked_key, spending, page_of_users, off_boarding]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
async def test_over_sockets(service: Service, story: Callable[[Service], Awaitable[None]]) -> None:
    """What people do works over the network as it does inside the process."""
    await story(service)


FAULTS: dict[str, tuple[faults.Respond | None, int]] = {
    "refuses": (None, 503),
    "drops": (faults.reset_before, 503),
    "hangs": (faults.never_answer, 504),
}
CALLS: dict[str, Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]] = {
    "read": lambda alice: alice.get(keys_path(ALICE)),
    "change": lambda alice: alice.post(keys_path(ALICE)),
}


@pytest.mark.parametrize(("fault", "status"), FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_a_litellm_out_of_reach(
    service: Service,
    make_service: MakeService,
    fault: faults.Respond | None,
    status: int,
    call: Callable[[httpx.AsyncClient], Awaitable[httpx.Response]],
) -> None:
    """A refused or dropped connection is a 503, and one without an answer a 504."""
    async with faulty(service.settings.litellm.base_url) as line:
        behind = replace(service.settings.litellm, base_url=line.origin)
        alice = make_service(ports={"litellm": None}, litellm=behind).signed_in(ALICE)
        await made(alice)
        if fault is None:
            await line.refuse()
        else:
            line.fault = fault
        assert (await call(alice)).status_code == status
