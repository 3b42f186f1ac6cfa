"""Alice leaves the real Backstage, and comes back, and leaves; the real LiteLLM follows."""

from __future__ import annotations

import asyncio
import json
import os
import re
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import expect

from clients.litellm.rows import ANNOTATIONS
from tests.conftest import ALICE, BASE, BOB, keys_path
from tests.live.conftest import Live, opened, sign_in
from tests.support.devices import approve, ask, poll, refresh, renewed
from tests.support.processes import listening, output
from tests.support.real_products import RealProducts

pytestmark = pytest.mark.live

_STRANGERS = ("svc-ci", "default_user_id")
_ORPHANED = "annotations: {backstage.io/orphan: 'true'}"
_POLL, _PATIENCE = 0.2, 120


@dataclass
class LiveOrganisation:
    """The real products, the catalog's file, and the settings of the service."""

    products: RealProducts
    org: Path
    config: Path

    async def set_membership(self, groups: str) -> None:
        """Write alice's groups into the org file, and wait until the catalog has them, which reads it again at once."""
        text = self.org.read_text("utf-8")
        self.org.write_text(re.sub(r"(Alice, .*memberOf: )\[.*\]", rf"\1[{groups}]", text), "utf-8")
        bob = {"Authorization": f"Bearer {await self.products.token('bob')}"}
        # By itself it would look at the file within its processing interval.
        await self.products.backstage.post("/api/catalog/refresh", json={"entityRef": ALICE}, headers=bob)
        headers = {"Authorization": f"Bearer {os.environ['BACKSTAGE_CATALOG_TOKEN']}"}
        for _ in range(int(_PATIENCE / _POLL)):
            entity = (
                await self.products.backstage.get("/api/catalog/entities/by-name/user/default/alice", headers=headers)
            ).json()
            found = [row["targetRef"].rpartition("/")[2] for row in entity["relations"] if row["type"] == "memberOf"]
            if found == [name for name in groups.split(", ") if name]:
                self.products.narrate(f"  org.yaml: alice is in [{groups}]")
                return
            await asyncio.sleep(_POLL)
        pytest.fail("the catalog never took the org file over")

    async def cleanup(self, how: str = "--apply") -> Any:
        """One run by the command line."""
        code, printed = await output("cleanup", "--config", str(self.config), how, "--json")
        report = json.loads(printed[printed.index("{\n") : printed.rindex("\n}") + 2])
        self.products.narrate(
            f"  cleanup {how} -> exit {code}, {report['outcome']}: {report['reason'] or report['done']}"
        )
        return report

    async def has_user(self, user_id: str) -> bool:
        """Whether LiteLLM has them."""
        return (await self.products.litellm.get("/v2/user/info", params={"user_id": user_id})).status_code == 200


@pytest.fixture
async def organisation(tmp_path: Path, products: RealProducts) -> AsyncIterator[LiveOrganisation]:
    """An otherwise empty LiteLLM with alice, bob and two strangers."""
    config = tmp_path / "app-config.yaml"
    config.write_text(
        f"""
        liteLLM:
          baseUrl: {os.environ["LITELLM_URL"]}
          masterKey: ${{LITELLM_MASTER_KEY}}
          adminGroup: admins
          allowedGroup: litellm-users
        backend: {{baseUrl: '{os.environ["BACKSTAGE_URL"]}', listen: '127.0.0.1:0'}}
        litellmOrchestrator:
          backstage: {{catalogToken: '${{BACKSTAGE_CATALOG_TOKEN}}'}}
          database: {{url: 'sqlite:///{tmp_path}/state.sqlite3'}}
          cleanup: {{interval: 2, gracePeriod: 0}}
        """
    )

    litellm = products.litellm
    await products.empty_litellm()
    ours = {"metadata": {ANNOTATIONS: {"tier": "userDefaults"}}}
    for user_id in (ALICE, BOB, *_STRANGERS):
        await litellm.post("/user/new", json={"user_id": user_id, "auto_create_key": False, **ours})
    organisation = LiveOrganisation(products, Path(os.environ["BACKSTAGE_ORG"]), config)
    await organisation.set_membership("litellm-users")
    yield organisation
    await organisation.set_membership("litellm-users")


async def test_alice_comes_and_goes(organisation: LiveOrganisation) -> None:
    """Alice leaves, is blocked, returns in time, leaves for good; an outage off-boards nobody."""
    key = (
        await organisation.products.litellm.post("/key/generate", json={"user_id": ALICE, "key_type": "llm_api"})
    ).json()["key"]
    assert (await organisation.cleanup())["outcome"] == "done"
    assert await organisation.products.chat(key) == 200

    await organisation.set_membership("")
    assert (await organisation.cleanup())["done"]["blocked"] == [ALICE]
    assert await organisation.products.chat(key) == 401

    await organisation.set_membership("litellm-users")
    assert (await organisation.cleanup())["done"]["restored"] == [ALICE]
    assert await organisation.products.chat(key) == 200

    await organisation.set_membership("")
    assert (await organisation.cleanup())["done"]["blocked"] == [ALICE]
    await stop_backstage(organisation)
    assert (await organisation.cleanup())["outcome"] == "refused"
    assert await organisation.has_user(ALICE)
    await start_backstage(organisation)

    assert (await organisation.cleanup())["done"]["deleted"] == [ALICE]
    assert await organisation.products.chat(key) == 401
    assert not await organisation.has_user(ALICE)
    for user_id in (BOB, *_STRANGERS):
        assert await organisation.has_user(user_id)
    organisation.products.narrate(f"  still there: {', '.join([BOB, *_STRANGERS])}")


async def test_a_dry_run_names_what_it_leaves(organisation: LiveOrganisation) -> None:
    """Alice's other user by a single sign-on, an id in upper case, a child group that is not shown, and an orphan."""
    litellm = organisation.products.litellm
    sso = str(uuid.uuid4())
    for user_id in (sso, "user:default/Zoe"):
        await litellm.post("/user/new", json={"user_id": user_id, "auto_create_key": False})
    for user_id, address in ((ALICE, "alice@example.com"), (sso, "Alice@Example.com")):
        await litellm.post("/user/update", json={"user_id": user_id, "user_email": address})
    before = organisation.org.read_text("utf-8")
    after = re.sub(r"(name: admins.*\n.*children: )\[\]", r"\1[hidden-team]", before)
    after = re.sub(r"name: carol(.*\n.*memberOf: )\[\]", rf"name: carol, {_ORPHANED}\1[litellm-users]", after)
    organisation.org.write_text(after, "utf-8")
    try:
        await organisation.set_membership("")
        for _ in range(_PATIENCE):
            report = await organisation.cleanup("--dry-run")
            found = {(row["kind"], row["userId"]) for row in report["findings"]}
            if report["orphans"] and ("childGroups", "group:default/admins") in found:
                break
        assert found == {
            ("sameAddress", sso),
            ("spelling", "user:default/Zoe"),
            ("childGroups", "group:default/admins"),
        }
        assert (report["outcome"], report["orphans"]) == ("planned", 1)
        actions = {row["userId"]: row["action"] for row in report["plan"]["entries"]}
        assert actions == {"user:default/Zoe": "block", ALICE: "block"}
    finally:
        organisation.org.write_text(before, "utf-8")


async def test_bob_confirms_a_plan_in_the_console(organisation: LiveOrganisation) -> None:
    """Alice leaves; nothing happens before he has seen what would, and typed how many users that is."""
    products = organisation.products
    new = {"user_id": ALICE, "key_type": "llm_api"}
    key = (await products.litellm.post("/key/generate", json=new)).json()["key"]
    assert (await organisation.cleanup())["outcome"] == "done"
    rarely = {"APP_CONFIG_litellmOrchestrator_cleanup_interval": "3600"}
    async with (
        listening("serve", "--config", str(organisation.config), **rarely) as running,
        opened(f"{running.origin}{BASE}/console#/cleanup") as page,
    ):
        # The one run of its own schedule comes first, while alice is still there.
        await scheduled_run(running.origin, await products.token("bob"))
        await sign_in(page, Live(products, running), "bob")
        await organisation.set_membership("")
        await page.get_by_role("button", name="Preview").click()
        await expect(page.locator("tbody tr", has_text=ALICE)).to_contain_text("Block the keys")
        assert await products.chat(key) == 200
        await page.get_by_role("button", name="Carry out this plan for 1 user").click()
        await page.get_by_label("Type 1 to confirm").fill("1")
        await page.locator("dialog .danger").click()
        await expect(page.locator("tbody tr", has_text=ALICE)).to_contain_text("Keys blocked")
        await expect(page.locator("section.card h2")).to_have_text(re.compile("Run of .* Done"))
    assert await products.chat(key) == 401


async def test_a_signed_in_device_of_somebody_who_leaves(organisation: LiveOrganisation) -> None:
    """Alice's laptop gets no further key as soon as the catalog knows it, and the next run blocks the one it has."""
    products = organisation.products
    devices = {
        "APP_CONFIG_litellmOrchestrator_cleanup_enabled": "false",
        "APP_CONFIG_litellmOrchestrator_publicUrl": "https://portal.example.com",
        "APP_CONFIG_liteLLM_publicUrl": os.environ["LITELLM_URL"],
    }
    async with listening("serve", "--config", str(organisation.config), **devices) as running:
        live = Live(products, running)
        async with live.caller(await products.token("alice")) as alice, live.caller(None) as laptop:
            codes = await ask(laptop)
            assert (await approve(alice, codes, ALICE)).status_code == 200
            given = await renewed(laptop, (await poll(laptop, codes)).json()["refresh_token"])
            await organisation.set_membership("")
            refused = await refresh(laptop, given["refresh_token"])
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
        assert await products.chat(given["access_token"]) == 200
        assert (await organisation.cleanup())["done"]["blocked"] == [ALICE]
        assert await products.chat(given["access_token"]) == 401


async def scheduled_run(origin: str, token: str) -> None:
    """Waits until the service has made a run on schedule."""
    async with httpx.AsyncClient(base_url=origin, headers={"Authorization": f"Bearer {token}"}, timeout=60) as client:
        for _ in range(int(_PATIENCE / _POLL)):
            status = (await client.get(f"{BASE}/cleanup")).json()
            if status["lastReport"]["trigger"] == "schedule" and not status["running"]:
                return
            await asyncio.sleep(_POLL)
    pytest.fail("there was no run on schedule")


async def test_the_service_runs_the_cleanup_on_schedule(organisation: LiveOrganisation) -> None:
    """Every interval; bob the admin reads its report through the API."""
    await organisation.set_membership("")
    async with (
        listening("serve", "--config", str(organisation.config)) as running,
        httpx.AsyncClient(base_url=running.origin, timeout=60) as client,
    ):
        bob = {"Authorization": f"Bearer {await organisation.products.token('bob')}"}
        for _ in range(int(_PATIENCE / _POLL)):
            if not await organisation.has_user(ALICE):
                break
            await asyncio.sleep(_POLL)
        status = (await client.get(f"{BASE}/cleanup", headers=bob)).json()
        planned = await client.post(f"{BASE}/cleanup", headers=bob, json={})
        refused = await client.post(f"{BASE}/users", headers=bob, json={"userId": ALICE})
    organisation.products.narrate(
        f"  GET /cleanup -> {status['lastReport']['outcome']}; POST /users for alice -> {refused.status_code}"
    )
    assert not await organisation.has_user(ALICE)
    assert (status["enabled"], status["lastReport"]["trigger"]) == (True, "schedule")
    assert (planned.status_code, planned.json()["plan"]["entries"]) == (200, [])
    assert (refused.status_code, "neither" in refused.json()["error"]["message"]) == (400, True)
    assert await organisation.has_user(BOB)


async def test_leaving_takes_effect_before_the_token_expires(organisation: LiveOrganisation) -> None:
    """With `membership: catalog` alice's genuine token, an hour long, is refused right after she left."""
    organisation.config.write_text(
        organisation.config.read_text("utf-8").replace(
            "cleanup:", "membership: catalog\n          membershipSeconds: 0\n          cleanup:"
        )
    )
    alice = {"Authorization": f"Bearer {await organisation.products.token('alice')}"}
    nested = {"Authorization": f"Bearer {await organisation.products.token('dave')}"}
    async with (
        listening(
            "serve", "--config", str(organisation.config), APP_CONFIG_litellmOrchestrator_cleanup_enabled="false"
        ) as running,
        httpx.AsyncClient(base_url=running.origin, timeout=60) as client,
    ):
        before = (await client.get(keys_path(ALICE), headers=alice)).status_code
        daves = (await client.get(keys_path("user:default/dave"), headers=nested)).status_code
        await organisation.set_membership("")
        after = (await client.get(keys_path(ALICE), headers=alice)).status_code
    organisation.products.narrate(f"  alice: {before}, then {after}; dave of the nested team-a: {daves}")
    assert (before, after, daves) == (200, 403, 200)


async def stop_backstage(organisation: LiveOrganisation) -> None:
    await _backstage("stop")
    organisation.products.narrate("  Backstage is stopped")


async def start_backstage(organisation: LiveOrganisation) -> None:
    await _backstage("up")
    await organisation.set_membership("")
    organisation.products.narrate("  Backstage is back")


async def _backstage(command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        os.environ["BACKSTAGE_START"], command, stdout=asyncio.subprocess.DEVNULL
    )
    assert await process.wait() == 0
