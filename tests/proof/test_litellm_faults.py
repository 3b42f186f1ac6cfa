"""What LiteLLM, or the network before it, can do to a call: every fault, at every operation.

Nothing hangs, nothing is sent twice, nothing is lost, nothing secret is said; the next request works.
"""

from __future__ import annotations

import asyncio
import io
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import pytest

from domain.users import Tier
from settings.model import CircuitSettings, LiteLLMSettings, Timeouts
from standalone.catalog import MEMBERS
from standalone.litellm import MASTER_KEY, LiteLLMStandIn
from tests.conftest import ALICE, BASE, BOB, Clock, MakeService, Service, keys_path, user_path
from tests.proof.conftest import Cells
from tests.support import faults
from tests.support.adoption import finished
from tests.support.faults import FaultyProxy, answer, faulty
from tests.support.raw_http import serving
from tests.support.requests import API, DAVE, NO_KEY, REQUESTS

SOFTWARE = "component:default/checkout"
WORKS = {200, 201, 202, 204, 404}
UNREACHABLE, SLOW, WRONG = {503}, {504}, {502}
PATIENT = Timeouts(connect=5, read=5, pool=5, deadline=10)
MOST_CALLS = 4
"""More than run into their deadlines one after another in any request; in a deletion three do."""
# Only where no call ever arrives: elsewhere a busy machine would look like a slow LiteLLM.
IMPATIENT = Timeouts(connect=0.3, read=0.7, pool=0.7, deadline=1.2)
DETAIL = {"detail": "Not Found"}
NO_DATABASE = {"error": {"message": "No connected db. sk-canary-of-litellm", "type": "no_db_connection", "code": "400"}}

FAULTS: dict[str, tuple[faults.Respond, set[int]]] = {
    "never answers": (faults.never_answer, SLOW),
    "resets before the response": (faults.reset_before, UNREACHABLE),
    "resets within the response": (faults.reset_during, UNREACHABLE | WRONG),
    "resets after it has done it": (faults.reset_after, UNREACHABLE),
    "a byte at a time": (faults.drip, SLOW),
    "500": (answer(500, {"error": {"message": "sk-canary-of-litellm"}}), WRONG),
    "502 of a proxy": (answer(502, b"<h1>sk-canary-of-litellm</h1>", "text/html"), WRONG),
    "503": (answer(503, {"error": "overloaded"}), WRONG),
    "429": (answer(429, {"error": "rate"}, Retry_After="30"), UNREACHABLE),
    "401 for our master key": (answer(401, {"error": {"message": "sk-canary-of-litellm"}}), WRONG),
    "404 for a route that it lacks": (answer(404, DETAIL), WRONG),
    "404 of an ingress": (answer(404, b"default backend - 404", "text/plain"), WRONG),
    "302 to a sign-in": (answer(302, b"", "text/html", Location="https://sso.example.com"), WRONG),
    "403 of a firewall": (answer(403, b"<h1>sk-canary-of-litellm</h1>", "text/html"), WRONG),
    "200 that is not JSON": (answer(200, b'{"user_id": "sk-canary-of-litellm'), WRONG),
    "200 of another shape": (answer(200, {"hello": ["sk-canary-of-litellm"]}), WRONG),
    "its database is down": (answer(400, NO_DATABASE), UNREACHABLE),
}
PASSED_ON = ("resets within the response", "resets after it has done it", "a byte at a time")
"""Where LiteLLM gets the request. In the others it gets none: the real one could tell no more than the stand-in."""
WITHOUT_LITELLM = {"getMe", "getAudit", "getCleanup", "getCleanupRun", "getAdoption", "startAdoption"}
WITHOUT_LITELLM |= {"getWorkloads", "testWorkload", "getDeviceCode", "getSessions"}
WITHOUT_LITELLM |= {"approveDeviceCode", "refuseDeviceCode", "endSession"}  # of nothing: see test_device_faults
LATER = {"startAdoption"}
"""Answered before LiteLLM is asked: what that meets stands in the report."""
CALLS: dict[str, Callable[[str], bool]] = {"every call": lambda _: True, "changes only": lambda method: method != "GET"}


@pytest.fixture
async def proxy(litellm: LiteLLMStandIn, *, is_real: bool) -> AsyncIterator[FaultyProxy]:
    """A proxy in front of LiteLLM: of the stand-in, on a socket of its own, and of the real one."""
    if is_real:
        async with faulty(os.environ["LITELLM_URL"]) as proxy:
            yield proxy
        return
    async with serving(litellm.app) as port, faulty(f"http://127.0.0.1:{port}") as proxy:
        yield proxy


class Faulty:
    """The service on that proxy. Each key whose secret somebody received is in `received`."""

    def __init__(self, make_service: MakeService, proxy: FaultyProxy, log: io.StringIO, *, is_real: bool) -> None:
        self.proxy, self.log = proxy, log
        self.make_service = make_service
        self.master_key = os.environ["LITELLM_MASTER_KEY"] if is_real else MASTER_KEY
        self.service = self.at(proxy.origin, PATIENT)
        self.received: set[str] = set()
        self.secrets: set[str] = {self.master_key, "sk-canary-of-litellm"}

    def at(self, origin: str, timeouts: Timeouts) -> Service:
        """The service with its LiteLLM at `origin`, and so long to wait for it."""
        return self.make_service(
            ports={"litellm": None, "patience": 60},  # a dry run is waited for until it has failed
            litellm=LiteLLMSettings(origin, self.master_key, Tier()), timeouts=timeouts,
            circuit_breaker=CircuitSettings(failures=0),  # the table is about each fault by itself
            creates_per_minute=100_000,
        )  # fmt: skip

    async def prepare(self) -> str:
        """A component has a user, alice has one and a key, whose id is the answer."""
        await self.service.signed_in(BOB).post(f"{BASE}/users", json={"userId": SOFTWARE})
        response = await self.service.signed_in(ALICE).post(keys_path(ALICE), json={})
        assert response.status_code == 201, response.text
        return self.note(response)

    def note(self, response: httpx.Response) -> str:
        body = response.json()
        self.received.add(body["keyId"])
        self.secrets.add(body["keySecret"])
        return str(body["keyId"])

    async def send(self, client: httpx.AsyncClient, operation: str, key_id: str) -> httpx.Response:
        method, path, options = REQUESTS[operation]
        response = await client.request(method, path.replace(NO_KEY, key_id), **options)
        if operation in LATER:
            await finished(client, response.json()["adoptionId"])
        if response.status_code == 201 and "keyId" in response.json():
            self.note(response)
        return response

    def faults_of(self, response: httpx.Response, seconds: float, expected: set[int]) -> list[str]:
        """What is wrong with a response."""
        changes = [call for call in self.proxy.calls if call[0] != "GET"]
        status = response.status_code
        checks = {
            f"{response.status_code} and not {sorted(expected)}: {response.text[:200]}": response.status_code
            in expected,
            f"it took {seconds:.1f} s": seconds < MOST_CALLS * PATIENT.deadline,
            "a change was sent twice": len(changes) == len(set(changes)),
            "the response has a secret": status == 201 or not any(secret in response.text for secret in self.secrets),
            "the log has a secret": not any(secret in self.log.getvalue() for secret in self.secrets),
        }
        return [what for what, holds in checks.items() if not holds]

    async def keys_of_alice(self) -> set[str]:
        """Their ids, as LiteLLM lists them."""
        headers = {"Authorization": f"Bearer {self.master_key}"}
        async with httpx.AsyncClient(base_url=self.proxy.upstream, headers=headers) as http:
            query: dict[str, str | int] = {"user_id": ALICE, "return_full_object": "true", "size": 100}
            return {row["token"] for row in (await http.get("/key/list", params=query)).json()["keys"]}

    async def faults_of_the_next(self, bob: httpx.AsyncClient) -> list[str]:
        """What is wrong with a request once the fault is over."""
        response = await bob.get(user_path(ALICE))
        return [] if response.status_code in (200, 404) else [f"the next request: {response.status_code}"]


@pytest.fixture
async def world(
    make_service: MakeService, proxy: FaultyProxy, log: io.StringIO, *, is_real: bool
) -> AsyncIterator[Faulty]:
    world = Faulty(make_service, proxy, log, is_real=is_real)
    yield world
    for user_id in (ALICE, DAVE, SOFTWARE, MEMBERS) if is_real else ():  # a stand-in is of one test only
        await world.service.signed_in(BOB).delete(user_path(user_id))


async def timed(call: Awaitable[httpx.Response]) -> tuple[httpx.Response, float]:
    """What a call returns, and the seconds that it took by the event loop's clock, which faults let run ahead."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    return await call, loop.time() - began


async def reconciled(world: Faulty, clock: Clock) -> list[str]:
    """What is left behind once the background jobs have run, some minutes later."""
    clock.advance(400)
    await world.service.run_background_jobs()
    clock.advance(400)
    await world.service.run_background_jobs()
    known = await world.keys_of_alice()
    events = (await world.service.signed_in(BOB).get(f"{BASE}/audit", params={"limit": 100})).json()["events"]
    checks = {
        f"keys that nobody received: {known - world.received}": known <= world.received,
        "changes without outcome": all(event["outcome"] is not None for event in events),
    }
    return [what for what, holds in checks.items() if not holds]


async def require_no_harm(world: Faulty, clock: Clock, fault: str, applies: str, cells: Cells) -> None:
    respond, expected = FAULTS[fault]
    bob, key_id = world.service.signed_in(BOB), ""
    for operation in API:
        key_id = key_id or await world.prepare()
        world.proxy.calls.clear()
        world.proxy.fault, world.proxy.applies = respond, CALLS[applies]
        response, seconds = await timed(world.send(bob, operation, key_id))
        met = any(world.proxy.applies(method) for method, *_ in world.proxy.calls)
        world.proxy.fault = faults.pass_on
        # To its reporter, a key that does not exist looks like one that does.
        also = {202} if operation == "reportKey" and 404 in expected else set()
        is_told = met and operation not in LATER
        wrong = world.faults_of(response, seconds, expected | also if is_told else WORKS)
        wrong += [] if met or operation in WITHOUT_LITELLM or applies != "every call" else ["LiteLLM was not asked"]
        cells.record(operation, [*wrong, *await world.faults_of_the_next(bob)])
        key_id = key_id if REQUESTS[operation][0] == "GET" else ""  # it may be gone
    cells.record("reconciliation", await reconciled(world, clock))
    assert cells.failed == {}


@pytest.mark.parametrize("fault", FAULTS)
async def test_changes(world: Faulty, clock: Clock, fault: str, cells: Cells) -> None:
    """At each operation, in the calls to LiteLLM that change something; what reads is answered."""
    await require_no_harm(world, clock, fault, "changes only", cells)


@pytest.mark.parametrize("fault", PASSED_ON)
async def test_every_call_that_is_passed_on(world: Faulty, clock: Clock, fault: str, cells: Cells) -> None:
    """At each operation, in every call to LiteLLM, which does what it says."""
    await require_no_harm(world, clock, fault, "every call", cells)


@pytest.mark.parametrize("is_real", [False])
@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in PASSED_ON])
async def test_every_call(world: Faulty, clock: Clock, fault: str, cells: Cells) -> None:
    """At each operation, in every call to LiteLLM, which gets none of them."""
    await require_no_harm(world, clock, fault, "every call", cells)


@asynccontextmanager
async def refused() -> AsyncIterator[str]:
    """An address where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{free.getsockname()[1]}"


@asynccontextmanager
async def without_a_name() -> AsyncIterator[str]:
    """A name that does not exist (RFC 6761)."""
    yield "http://litellm.invalid"


ADDRESSES = {
    "refuses connections": (refused, UNREACHABLE),
    "has no address": (without_a_name, UNREACHABLE | SLOW),  # as fast as the resolver is
    "accepts no connection": (faults.unreachable, SLOW),
}


@pytest.mark.parametrize("is_real", [False])
@pytest.mark.parametrize("address", ADDRESSES)
async def test_address(world: Faulty, clock: Clock, address: str, cells: Cells) -> None:
    """The same where no call arrives at all."""
    where, expected = ADDRESSES[address]
    async with where() as origin:
        elsewhere = world.at(origin, IMPATIENT if expected >= SLOW else PATIENT).signed_in(BOB)
        for operation in API:
            key_id = await world.prepare()
            world.proxy.calls.clear()
            response, seconds = await timed(world.send(elsewhere, operation, key_id))
            wrong = world.faults_of(response, seconds, WORKS if operation in WITHOUT_LITELLM else expected)
            cells.record(operation, [*wrong, *await world.faults_of_the_next(world.service.signed_in(BOB))])
    cells.record("reconciliation", await reconciled(world, clock))
    assert cells.failed == {}
