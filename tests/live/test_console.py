"""The console with a genuine token, on the real LiteLLM and the real Backstage."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright, expect

from tests.conftest import ALICE, BASE, keys_path
from tests.live.conftest import Live, forget_users
from tests.support.processes import listening
from tests.support.real_products import RealProducts

pytestmark = pytest.mark.live


@asynccontextmanager
async def opened(address: str) -> AsyncIterator[Page]:
    """The console. Anything that it complains about, other than refused requests, fails the test."""
    complaints: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = await browser.new_page()
        page.on("pageerror", lambda error: complaints.append(f"{error}"))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        await page.goto(address)
        yield page
        await browser.close()
    assert [text for text in complaints if not text.startswith("Failed to load resource")] == []


@pytest.fixture
async def page(live: Live) -> AsyncIterator[Page]:
    """Not signed in."""
    async with opened(f"{live.running.origin}{BASE}/console") as page:
        yield page


async def sign_in(page: Page, live: Live, name: str) -> None:
    await page.locator("[name=token]").fill(await live.products.token(name))
    await page.get_by_role("button", name="Sign in").click()


async def test_alice_gets_a_key_that_works_and_deletes_it(live: Live, page: Page) -> None:
    """With a pasted token; her user is created on the way."""
    await sign_in(page, live, "alice")
    await page.get_by_role("button", name="Create key").first.click()
    await page.locator("[name=alias]").fill("from the console")
    await page.locator("dialog .primary").click()
    secret = await page.locator("[data-secret]").inner_text()
    assert await live.products.chat(secret) == 200
    await page.get_by_role("button", name="Actions for from the console").click()
    await page.get_by_role("menuitem", name="Delete").click()
    await page.get_by_label("Type from the console to confirm").fill("from the console")
    await page.locator("dialog .danger").click()
    await expect(page.get_by_text("No keys yet.")).to_be_visible()
    assert await live.products.chat(secret) == 401


async def test_bob_sees_users_the_audit_log_and_health(live: Live, page: Page) -> None:
    """Each view that only admins have shows real rows."""
    async with live.caller(await live.products.token("alice")) as alice:
        await alice.post(f"{BASE}/users/user%3Adefault%2Falice/keys", json={"alias": "laptop"})
    await sign_in(page, live, "bob")
    await page.get_by_role("link", name="Users").click()
    await page.get_by_role("link", name="Alice").click()
    await expect(page.locator("keys-view tbody .name")).to_have_text("laptop")
    await page.get_by_role("link", name="Audit log").click()
    await expect(page.locator("audit-view tbody")).to_contain_text("key.create")
    await page.get_by_role("link", name="Off-boarding").click()
    await page.get_by_role("button", name="Show what would happen").click()
    await expect(page.locator("section.card h2")).to_contain_text("The plan")
    await page.get_by_role("link", name="Health").click()
    await expect(page.get_by_text("Everything works.")).to_be_visible()


async def test_carol_is_told_whom_to_ask(live: Live, page: Page) -> None:
    """She is in neither group."""
    await sign_in(page, live, "carol")
    await expect(page.get_by_text("You are not in a group that may use models.")).to_be_visible()


@pytest.mark.skipif("APP_CONFIG_proxy_endpoints" not in os.environ, reason="Backstage was started without this proxy")
async def test_who_is_signed_in_to_backstage_needs_no_token_behind_its_proxy(
    config: Path, products: RealProducts
) -> None:
    """Alice creates a key, and hears of a change beside hers; the page keeps its own Content-Security-Policy."""
    await forget_users(products)
    backstage = os.environ["BACKSTAGE_URL"]
    refresh = {"APP_CONFIG_litellmOrchestrator_console_refreshUrl": json.dumps(f"{backstage}/api/auth/test/refresh")}
    address = f"{backstage}/api/proxy/litellm-console/console"
    async with listening("serve", "--config", str(config), **refresh) as running, opened(address) as page:
        policy = (await products.backstage.get(address)).headers["Content-Security-Policy"]
        assert "require-trusted-types-for 'script'" in policy
        await page.get_by_role("button", name="Create key").first.click()
        await page.locator("[name=alias]").fill("through the proxy")
        await page.locator("dialog .primary").click()
        assert await products.chat(await page.locator("[data-secret]").inner_text()) == 200
        await page.get_by_role("button", name="Actions for through the proxy").click()
        await page.get_by_role("menuitem", name="Edit").click()
        await page.locator("dialog [name=alias]").fill("edited")
        async with Live(products, running).caller(await products.token("alice")) as alice:
            key = (await alice.get(keys_path(ALICE))).json()["keys"][0]["token"]
            await alice.patch(keys_path(ALICE, key), json={"maxBudget": 7})
        await page.locator("dialog .primary").click()
        await expect(page.get_by_text("Somebody else changed it meanwhile")).to_be_visible()
