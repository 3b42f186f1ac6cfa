"""What people do at the same moment, at three processes on one PostgreSQL; LiteLLM is looked at afterwards.

ROUNDS says how often each pair meets.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import pytest

from standalone.backstage import BackstageStandIn
from standalone.catalog import CATALOG_TOKEN, MEMBERS, Component, Org
from standalone.litellm import MASTER_KEY, LiteLLMStandIn
from tests.conftest import BASE, BOB, keys_path, user_path
from tests.proof.conftest import Cells
from tests.support.postgresql import empty_database
from tests.support.processes import listening
from tests.support.raw_http import serving

ROUNDS = int(os.environ.get("ROUNDS", "10"))
_REPLICAS, _AT_ONCE = 3, 9
_POLL, _PATIENCE = 0.1, 60
_STAFF = 20
"""People who stay, so that one who leaves is no mass departure."""


@dataclass
class World:
    """Three replicas between LiteLLM and Backstage. `received` are the ids of keys whose secret somebody got."""

    litellm: LiteLLMStandIn
    backstage: BackstageStandIn
    origins: list[str]
    received: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        # A connection that is kept is closed after five idle seconds at both ends, and may be used at that moment.
        self._http = httpx.AsyncClient(timeout=_PATIENCE, limits=httpx.Limits(max_keepalive_connections=0))
        self._next = cycle(self.origins)

    async def ask(self, who: str, method: str, path: str, **options: Any) -> httpx.Response:
        """A request by `who`, to each replica in turn."""
        bearer = {"Authorization": f"Bearer {self.backstage.user_token(who)}"}
        headers = bearer | options.pop("headers", {})
        response = await self._http.request(method, f"{next(self._next)}{path}", headers=headers, **options)
        if response.status_code == 201 and "keyId" in response.json():
            self.received.add(response.json()["keyId"])
        return response

    async def key(self, owner: str) -> str:
        """The id of a new key."""
        return str((await self.ask(owner, "POST", keys_path(owner))).json()["keyId"])

    async def off_board(self, who: str) -> httpx.Response:
        """Bob deletes a user. He sends the request again while a cleanup runs, such as the one soon after the start."""
        for _ in range(int(_PATIENCE / _POLL)):
            answer = await self.ask(BOB, "DELETE", user_path(who))
            if answer.status_code != 409 or "Retry-After" not in answer.headers:
                return answer
            await asyncio.sleep(_POLL)
        pytest.fail("the cleanup never ended")

    def keys_of(self, owner: str) -> dict[str, Any]:
        """LiteLLM's rows by id."""
        return {key: row for key, row in self.litellm.rows.keys.items() if row["user_id"] == owner}

    async def clean_up(self) -> None:
        """A run that bob starts, to its end, or one that runs already."""
        await self.ask(BOB, "POST", f"{BASE}/cleanup", json={"dryRun": False})
        for _ in range(int(_PATIENCE / _POLL)):
            if not (await self.ask(BOB, "GET", f"{BASE}/cleanup")).json()["running"]:
                return
            await asyncio.sleep(_POLL)
        pytest.fail("the cleanup never ended")

    async def comes_true(self, condition: Callable[[], bool]) -> bool:
        """Whether the background jobs of the replicas bring it about."""
        for _ in range(int(_PATIENCE / _POLL)):
            if condition():
                return True
            await asyncio.sleep(_POLL)
        return False

    async def aclose(self) -> None:
        await self._http.aclose()


Race = Callable[[World, str], Awaitable[list[str]]]


async def first_requests(world: World, who: str) -> list[str]:
    """All are answered, and each key has been received."""
    paths = [("GET", user_path(who)), ("POST", keys_path(who)), ("GET", keys_path(who))] * (_AT_ONCE // 3)
    statuses = {row.status_code for row in await asyncio.gather(*(world.ask(who, *path) for path in paths))}
    keys = world.keys_of(who).keys()
    return wrong(
        {
            f"statuses {statuses}": statuses <= {200, 201},
            "no user": who in world.litellm.rows.users,
            f"keys {keys}": len(keys) == _AT_ONCE // 3 and keys <= world.received,
        }
    )


async def one_idempotency_key(world: World, who: str) -> list[str]:
    """One key, and one secret for everybody who got an answer."""
    named = {"Idempotency-Key": who.rpartition("/")[2]}
    answers = await asyncio.gather(
        *(world.ask(who, "POST", keys_path(who), headers=named) for _ in range(_AT_ONCE)),
    )
    statuses = {row.status_code for row in answers}
    secrets = {row.json()["keySecret"] for row in answers if row.status_code == 201}
    return wrong(
        {
            f"statuses {statuses}": statuses <= {201, 409},
            f"{len(secrets)} secrets": len(secrets) == 1,
            f"keys {world.keys_of(who)}": len(world.keys_of(who)) == 1,
        }
    )


async def rotation_against_deletion(world: World, who: str) -> list[str]:
    """The new key stays if there is one, else none; no key whose secret nobody has."""
    old = await world.key(who)
    rotated, deleted = await asyncio.gather(
        world.ask(who, "POST", f"{keys_path(who, old)}/regenerate", json={}),
        world.ask(who, "DELETE", keys_path(who, old)),
    )
    left = {rotated.json()["keyId"]} if rotated.status_code == 201 else set()
    return wrong(
        {
            f"rotation {rotated.status_code}": rotated.status_code in {201, 404},
            f"deletion {deleted.status_code}": deleted.status_code in {204, 404},
            "both found nothing": (rotated.status_code, deleted.status_code) != (404, 404),
            f"keys {world.keys_of(who)}, not {left}": world.keys_of(who).keys() == left,
        }
    )


async def cleanup_against_return(world: World, who: str) -> list[str]:
    """In the end they are there with a key that works, or neither they nor the key."""
    key = await world.key(who)
    world.backstage.org.users[who] = set()
    await world.clean_up()
    blocked = world.keys_of(who)[key]["blocked"]

    async def come_back() -> None:
        world.backstage.org.users[who] = {MEMBERS}

    await asyncio.gather(world.clean_up(), come_back())
    await world.clean_up()
    keys, is_there = world.keys_of(who), who in world.litellm.rows.users
    return wrong(
        {
            "the leaver's key was not blocked": blocked is True,
            f"user {is_there}, keys {keys}": keys.keys() == ({key} if is_there else set()),
            "the key is still blocked": not any(row["blocked"] for row in keys.values()),
        }
    )


async def off_boarding_against_creation(world: World, who: str) -> list[str]:
    """No key without its owner is left, and none that nobody received."""
    await world.key(who)
    deleted, *created = await asyncio.gather(
        world.off_board(who), *(world.ask(who, "POST", keys_path(who)) for _ in range(2))
    )

    def is_whole() -> bool:
        keys = world.keys_of(who)
        return keys.keys() <= world.received and (who in world.litellm.rows.users or not keys)

    return wrong(
        {
            f"deletion {deleted.status_code}": deleted.status_code == 200,
            f"creations {[row.status_code for row in created]}": {row.status_code for row in created} <= {201, 409},
            "keys without an owner, or that nobody received": await world.comes_true(is_whole),
        }
    )


async def two_patches_of_one_version(world: World, who: str) -> list[str]:
    """One wins, and LiteLLM has its value; the other learns of it."""
    tag = (await world.ask(BOB, "GET", user_path(who))).headers.get("ETag")
    if tag is None:
        await world.key(who)
        tag = (await world.ask(BOB, "GET", user_path(who))).headers["ETag"]
    budgets = [1.0, 2.0, 3.0]
    answers = await asyncio.gather(
        *(
            world.ask(BOB, "PATCH", user_path(who), json={"maxBudget": budget}, headers={"If-Match": tag})
            for budget in budgets
        )
    )
    won = [budget for budget, row in zip(budgets, answers, strict=True) if row.status_code == 200]
    statuses = sorted(row.status_code for row in answers)
    return wrong(
        {
            f"statuses {statuses}": statuses == [200, 412, 412],
            "LiteLLM has another value": [world.litellm.rows.users[who]["max_budget"]] == won,
        }
    )


async def block_against_unblock(world: World, who: str) -> list[str]:
    """An admin's block stands, whoever came first."""
    key = await world.key(who)
    blocked, unblocked = await asyncio.gather(
        world.ask(BOB, "PATCH", keys_path(who, key), json={"blocked": True}),
        world.ask(who, "PATCH", keys_path(who, key), json={"blocked": False}),
    )
    return wrong(
        {
            f"block {blocked.status_code}": blocked.status_code == 200,
            f"unblock {unblocked.status_code}": unblocked.status_code in {200, 403},
            "the key works": world.keys_of(who)[key]["blocked"] is True,
        }
    )


def component_of(world: World, who: str) -> str:
    """A component that `who` manages."""
    component = f"component:default/{who.rpartition('/')[2]}"
    world.backstage.org.components[component] = Component(who)
    return component


async def two_managers_rotate_one_key(world: World, who: str) -> list[str]:
    """One of them gets the new key, and it is the only one."""
    component = component_of(world, who)
    old = str((await world.ask(who, "POST", keys_path(component))).json()["keyId"])
    answers = await asyncio.gather(
        *(world.ask(manager, "POST", f"{keys_path(component, old)}/regenerate", json={}) for manager in (who, BOB))
    )
    new = {row.json()["keyId"] for row in answers if row.status_code == 201}
    statuses = sorted(row.status_code for row in answers)
    return wrong(
        {
            f"statuses {statuses}": statuses in ([201, 404], [201, 409]),
            f"keys {world.keys_of(component)}, not {new}": world.keys_of(component).keys() == new,
        }
    )


async def transfer_against_rotation(world: World, who: str) -> list[str]:
    """Whichever came first: there is one key, and somebody received its secret."""
    component, key = component_of(world, who), await world.key(who)
    moved, rotated = await asyncio.gather(
        world.ask(who, "POST", f"{keys_path(who, key)}/transfer", json={"owner": component}),
        world.ask(who, "POST", f"{keys_path(who, key)}/regenerate", json={}),
    )
    left = [*world.keys_of(who), *world.keys_of(component)]
    return wrong(
        {
            f"transfer {moved.status_code}, rotation {rotated.status_code}": (moved.status_code, rotated.status_code)
            in {(200, 404), (404, 201), (409, 201)},
            f"keys {left}": len(left) == 1 and {*left} <= world.received,
            "at the wrong owner": (moved.status_code == 200) == (key in world.keys_of(component)),
        }
    )


async def transfer_against_off_boarding(world: World, who: str) -> list[str]:
    """The key went in time, or it went with its owner; it never stays with somebody who is gone."""
    component, key = component_of(world, who), await world.key(who)
    moved, deleted = await asyncio.gather(
        world.ask(who, "POST", f"{keys_path(who, key)}/transfer", json={"owner": component}),
        world.off_board(who),
    )
    return wrong(
        {
            f"transfer {moved.status_code}": moved.status_code in {200, 404, 409},
            f"deletion {deleted.status_code}": deleted.status_code == 200,
            f"keys of the leaver {world.keys_of(who)}": not world.keys_of(who),
            f"keys of the component {world.keys_of(component)}": world.keys_of(component).keys()
            == ({key} if moved.status_code == 200 else set()),
        }
    )


async def a_component_changes_its_owner(world: World, who: str) -> list[str]:
    """Who managed it when they asked gets a key, and everybody who got one received it."""
    component = component_of(world, who)

    async def create() -> httpx.Response:
        created = await world.ask(who, "POST", keys_path(component))
        world.backstage.org.components[component] = Component("group:default/others")
        return created

    created = await asyncio.gather(create(), create(), create())
    statuses = {row.status_code for row in created}
    return wrong(
        {
            f"statuses {statuses}": statuses <= {201, 403},
            f"keys {world.keys_of(component)}": len(world.keys_of(component))
            == sum(row.status_code == 201 for row in created),
        }
    )


RACES: list[Race] = [
    first_requests,
    one_idempotency_key,
    rotation_against_deletion,
    cleanup_against_return,
    off_boarding_against_creation,
    two_patches_of_one_version,
    block_against_unblock,
    two_managers_rotate_one_key,
    transfer_against_rotation,
    transfer_against_off_boarding,
    a_component_changes_its_owner,
]


def wrong(checks: dict[str, bool]) -> list[str]:
    """What does not hold."""
    return [what for what, holds in checks.items() if not holds]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Three processes with nothing but their database in common."""
    litellm, backstage = LiteLLMStandIn(), BackstageStandIn(org=Org())
    backstage.org.users |= {f"user:default/staff-{number}": {MEMBERS} for number in range(_STAFF)}
    config = tmp_path / "app-config.yaml"
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(empty_database())
        litellm_port = await stack.enter_async_context(serving(litellm.app))
        backstage_port = await stack.enter_async_context(serving(backstage.app))
        config.write_text(
            f"""
            liteLLM:
              baseUrl: http://127.0.0.1:{litellm_port}
              masterKey: {MASTER_KEY}
              adminGroup: admins
              allowedGroup: litellm-users
            backend: {{baseUrl: 'http://127.0.0.1:{backstage_port}', listen: '127.0.0.1:0'}}
            litellmOrchestrator:
              backstage: {{catalogToken: {CATALOG_TOKEN}}}
              owners: [{{kind: component, filter: {{spec.type: service}}}}]
              database: {{url: '{database.replace("+psycopg", "")}'}}
              maintenanceInterval: 0.5
              cleanup: {{interval: 3600, gracePeriod: 0, maxDeletions: 100000}}
              rateLimit: {{createsPerMinute: 100000, changesPerMinute: 100000, refusalsPerMinute: 100000}}
            """
        )
        starting = [stack.enter_async_context(listening("serve", "--config", str(config))) for _ in range(_REPLICAS)]
        world = World(litellm, backstage, [row.origin for row in await asyncio.gather(*starting)])
        stack.push_async_callback(world.aclose)
        yield world


@pytest.mark.postgresql
async def test_races(world: World, cells: Cells) -> None:
    """What holds after each meeting, and in the end: every change has its outcome."""
    for number in range(ROUNDS):
        for race in RACES:
            name = f"{race.__name__.replace('_', '-')}-{number}"
            world.backstage.org.users[f"user:default/{name}"] = {MEMBERS}
            cells.record(name, await race(world, f"user:default/{name}"))
    assert cells.failed == {}
    query: dict[str, Any] = {"limit": 100}
    while query.get("cursor", True):
        page = (await world.ask(BOB, "GET", f"{BASE}/audit", params=query)).json()
        assert [row for row in page["events"] if row["outcome"] is None] == []
        query["cursor"] = page["nextCursor"]
