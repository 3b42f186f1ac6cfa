"""Alice leaves the real Backstage, and comes back, and leaves; the real LiteLLM follows."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import ALICE, BASE, BOB, keys_path
from tests.support.processes import listening, output

pytestmark = pytest.mark.live

_STRANGERS = ("svc-ci", "default_user_id")
_POLL, _PATIENCE = 0.5, 120


@dataclass
class Town:
    """The org file, the settings of the cleanup, and who sees what."""

    org: Path
    config: Path
    litellm: httpx.AsyncClient
    backstage: httpx.AsyncClient
    said: Callable[[str], None]

    async def set_membership(self, groups: str) -> None:
        """Write alice's groups into the org file, and wait until the catalog has them."""
        text = self.org.read_text("utf-8")
        self.org.write_text(re.sub(r"(Alice, .*memberOf: )\[.*\]", rf"\1[{groups}]", text), "utf-8")
        headers = {"Authorization": f"Bearer {os.environ['BACKSTAGE_CATALOG_TOKEN']}"}
        for _ in range(int(_PATIENCE / _POLL)):
            entity = (
                await self.backstage.get("/api/catalog/entities/by-name/user/default/alice", headers=headers)
            ).json()
            found = [row["targetRef"].rpartition("/")[2] for row in entity["relations"] if row["type"] == "memberOf"]
            if found == [name for name in groups.split(", ") if name]:
                self.said(f"  org.yaml: alice is in [{groups}]")
                return
            await asyncio.sleep(_POLL)
        pytest.fail("the catalog never took the org file over")

    async def cleanup(self) -> Any:
        """One run by the command line."""
        code, printed = await output("cleanup", "--config", str(self.config), "--apply", "--json")
        report = json.loads(printed[printed.index("{\n") : printed.rindex("\n}") + 2])
        self.said(f"  cleanup --apply -> exit {code}, {report['outcome']}: {report['reason'] or report['done']}")
        return report

    async def chat(self, secret: str) -> int:
        """The status of a call to a model with a key."""
        body = {"model": "gpt-fake", "messages": [{"role": "user", "content": "hello"}]}
        headers = {"Authorization": f"Bearer {secret}"}
        status = (await self.litellm.post("/v1/chat/completions", json=body, headers=headers)).status_code
        self.said(f"  alice's key on LiteLLM -> {status}")
        return status

    async def has_user(self, user_id: str) -> bool:
        """Whether LiteLLM has them."""
        return (await self.litellm.get("/v2/user/info", params={"user_id": user_id})).status_code == 200


@pytest.fixture
async def town(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Town]:
    """An otherwise empty LiteLLM with alice, bob and two strangers."""
    litellm_url, backstage_url = os.environ["LITELLM_URL"], os.environ["BACKSTAGE_URL"]
    config = tmp_path / "app-config.yaml"
    config.write_text(
        f"""
        liteLLM:
          baseUrl: {litellm_url}
          masterKey: ${{LITELLM_MASTER_KEY}}
          adminGroup: admins
          allowedGroup: litellm-users
        backend: {{baseUrl: '{backstage_url}', listen: '127.0.0.1:0'}}
        litellmOrchestrator:
          backstage: {{catalogToken: '${{BACKSTAGE_CATALOG_TOKEN}}'}}
          database: {{url: 'sqlite:///{tmp_path}/state.sqlite3'}}
          cleanup: {{interval: 2}}
        """
    )

    def said(line: str) -> None:
        with capsys.disabled():
            print(line)

    master = {"Authorization": f"Bearer {os.environ['LITELLM_MASTER_KEY']}"}
    org = Path(os.environ["BACKSTAGE_ORG"])
    async with (
        httpx.AsyncClient(base_url=litellm_url, headers=master, timeout=60) as litellm,
        httpx.AsyncClient(base_url=backstage_url, timeout=60) as backstage,
    ):
        while rows := (await litellm.get("/user/list", params={"page_size": 100})).json()["users"]:
            for row in rows:
                await litellm.post("/user/delete", json={"user_ids": [row["user_id"]]})
        for user_id in (ALICE, BOB, *_STRANGERS):
            await litellm.post("/user/new", json={"user_id": user_id, "auto_create_key": False})
        town = Town(org, config, litellm, backstage, said)
        await town.set_membership("litellm-users")
        yield town
        await town.set_membership("litellm-users")


async def test_alice_comes_and_goes(town: Town) -> None:
    """Alice leaves, is blocked, returns in time, leaves for good; an outage removes nobody."""
    town.said(f"\n{test_alice_comes_and_goes.__doc__}")
    key = (await town.litellm.post("/key/generate", json={"user_id": ALICE, "key_type": "llm_api"})).json()["key"]
    assert (await town.cleanup())["outcome"] == "done"
    assert await town.chat(key) == 200

    await town.set_membership("")
    assert (await town.cleanup())["done"]["blocked"] == [ALICE]
    assert await town.chat(key) == 401

    await town.set_membership("litellm-users")
    assert (await town.cleanup())["done"]["restored"] == [ALICE]
    assert await town.chat(key) == 200

    await town.set_membership("")
    assert (await town.cleanup())["done"]["blocked"] == [ALICE]
    await stop_backstage(town)
    assert (await town.cleanup())["outcome"] == "refused"
    assert await town.has_user(ALICE)
    await start_backstage(town)

    assert (await town.cleanup())["done"]["deleted"] == [ALICE]
    assert await town.chat(key) == 401
    assert not await town.has_user(ALICE)
    for user_id in (BOB, *_STRANGERS):
        assert await town.has_user(user_id)
    town.said(f"  still there: {', '.join([BOB, *_STRANGERS])}")


async def test_the_service_runs_it_by_itself(town: Town) -> None:
    """Every interval, and bob the admin sees it over the API; alice does not."""
    town.said(f"\n{test_the_service_runs_it_by_itself.__doc__}")
    await town.set_membership("")
    async with (
        listening("serve", "--config", str(town.config)) as running,
        httpx.AsyncClient(base_url=running.origin, timeout=60) as client,
    ):
        answer = await town.backstage.get("/api/auth/test/refresh", params={"user": BOB})
        bob = {"Authorization": f"Bearer {answer.json()['backstageIdentity']['token']}"}
        for _ in range(int(_PATIENCE / _POLL)):
            if not await town.has_user(ALICE):
                break
            await asyncio.sleep(_POLL)
        status = (await client.get(f"{BASE}/cleanup", headers=bob)).json()
        planned = await client.post(f"{BASE}/cleanup", headers=bob, json={})
        refused = await client.post(f"{BASE}/users", headers=bob, json={"userId": ALICE})
    town.said(f"  GET /cleanup -> {status['lastReport']['outcome']}; POST /users for alice -> {refused.status_code}")
    assert not await town.has_user(ALICE)
    assert (status["enabled"], status["lastReport"]["trigger"]) == (True, "schedule")
    assert (planned.status_code, planned.json()["plan"]["entries"]) == (200, [])
    assert (refused.status_code, "neither" in refused.json()["error"]["message"]) == (400, True)
    assert await town.has_user(BOB)


async def test_leaving_takes_effect_before_the_token_expires(town: Town) -> None:
    """With `membership: catalog` alice's genuine token, an hour long, is worth nothing a moment after she left."""
    town.said(f"\n{test_leaving_takes_effect_before_the_token_expires.__doc__}")
    town.config.write_text(
        town.config.read_text("utf-8").replace(
            "cleanup:", "membership: catalog\n          membershipSeconds: 0\n          cleanup:"
        )
    )
    answer = await town.backstage.get("/api/auth/test/refresh", params={"user": ALICE})
    alice = {"Authorization": f"Bearer {answer.json()['backstageIdentity']['token']}"}
    dave = (await town.backstage.get("/api/auth/test/refresh", params={"user": "user:default/dave"})).json()
    async with (
        listening(
            "serve", "--config", str(town.config), APP_CONFIG_litellmOrchestrator_cleanup_enabled="false"
        ) as running,
        httpx.AsyncClient(base_url=running.origin, timeout=60) as client,
    ):
        before = (await client.get(keys_path(ALICE), headers=alice)).status_code
        nested = {"Authorization": f"Bearer {dave['backstageIdentity']['token']}"}
        daves = (await client.get(keys_path("user:default/dave"), headers=nested)).status_code
        await town.set_membership("")
        after = (await client.get(keys_path(ALICE), headers=alice)).status_code
    town.said(f"  alice: {before}, then {after}; dave of the nested team-a: {daves}")
    assert (before, after, daves) == (200, 403, 200)


async def stop_backstage(town: Town) -> None:
    await _backstage("stop")
    town.said("  Backstage is stopped")


async def start_backstage(town: Town) -> None:
    await _backstage("up")
    await town.set_membership("")
    town.said("  Backstage is back")


async def _backstage(command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        os.environ["BACKSTAGE_START"], command, stdout=asyncio.subprocess.DEVNULL
    )
    assert await process.wait() == 0
