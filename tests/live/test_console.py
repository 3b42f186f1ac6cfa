"""The console with a genuine token, on the real LiteLLM and the real Backstage."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.conftest import ALICE, BASE, keys_path
from tests.console.conftest import describe
from tests.live.conftest import Live, forget_users, opened, opened_tabs, sign_in
from tests.support.processes import listening
from tests.support.real_products import RealProducts

pytestmark = pytest.mark.live


@pytest.fixture
async def page(live: Live) -> AsyncIterator[Page]:
    """Not signed in."""
    async with opened(f"{live.running.origin}{BASE}/console") as page:
        yield page


@pytest.fixture
async def tabs(live: Live) -> AsyncIterator[list[Page]]:
    """Two of alice's, signed in."""
    async with opened_tabs(f"{live.running.origin}{BASE}/console", 2) as tabs:
        for tab in tabs:
            await sign_in(tab, live, "alice")
            await tab.get_by_role("button", name="Create key").first.wait_for()
        yield tabs


async def create(page: Page, alias: str) -> str:
    """The secret of a new key."""
    await describe(page, alias)
    await page.locator("dialog .primary").click()
    return await page.locator("[data-secret]").inner_text()


async def choose(page: Page, action: str, row: str = "") -> None:
    """An action from the menu of the only key, or of the only one whose row says that."""
    await open_menu(page, row)
    await pick(page, action)


async def open_menu(page: Page, row: str) -> None:
    await page.locator("tbody tr", has_text=row).get_by_role("button", name="Actions for").click()


async def pick(page: Page, action: str) -> None:
    await page.get_by_role("menuitem", name=re.compile(rf"^{action}\b")).click()


async def pick_and_wait(page: Page, action: str) -> None:
    """Until the service has answered: blocking shows before it is done."""
    async with page.expect_response(re.compile("/keys/")):
        await pick(page, action)


async def first_of(tabs: list[Page]) -> tuple[Page, Page]:
    """Confirms the dialogs of both at once: whose has closed, and whose says why it was too late."""
    await asyncio.gather(*(tab.locator("dialog .primary").click() for tab in tabs))
    for tab in tabs:
        closed = tab.locator("llm-console:not(:has(dialog[open]))")
        await tab.locator("dialog[open] [role=alert]").or_(closed).first.wait_for()
    (first,) = [tab for tab in tabs if not await tab.locator("dialog[open]").count()]
    (second,) = [tab for tab in tabs if tab is not first]
    return first, second


async def read_again(tab: Page) -> None:
    """Closes whatever is open, and goes away and back."""
    await tab.keyboard.press("Escape")
    await tab.get_by_role("link", name="Spending").click()
    await tab.get_by_role("link", name="Keys", exact=True).click()


async def shown(tab: Page) -> list[str]:
    """The secrets that wait to be saved, newest first."""
    return await tab.locator("[data-secret]").all_inner_texts()


async def test_alice_gets_a_key_that_works_and_deletes_it(live: Live, page: Page) -> None:
    """With a pasted token; her user is created on the way."""
    await sign_in(page, live, "alice")
    secret = await create(page, "from the console")
    assert await live.products.chat(secret) == 200
    await choose(page, "Delete")
    await page.get_by_label("Type from the console to confirm").fill("from the console")
    await page.locator("dialog .danger").click()
    await expect(page.get_by_text("No keys yet.")).to_be_visible()
    assert await live.products.chat(secret) == 401


async def test_alice_edits_rotates_blocks_and_reports_her_key(live: Live, page: Page) -> None:
    """LiteLLM does at once what the page says."""
    await sign_in(page, live, "alice")
    old = await create(page, "laptop")
    await page.get_by_role("button", name="I saved the key").click()
    await choose(page, "Edit")
    await page.get_by_label("Budget in USD").fill("7")
    await page.locator("dialog .primary").click()
    await expect(page.locator("tbody .mini")).to_have_text("of $7.00")
    await choose(page, "Rotate")
    await page.get_by_label("Overlap").fill("0")
    await page.locator("dialog .primary").click()
    new = await page.locator("[data-secret]").inner_text()
    assert [await live.products.chat(secret) for secret in (old, new)] == [401, 200]
    await expect(page.locator("tbody tr")).to_have_count(1)
    for action, status in (("Block", 401), ("Unblock", 200)):
        async with page.expect_response(re.compile("/keys/")):
            await choose(page, action)
        assert await live.products.chat(new) == status
    await page.get_by_role("button", name="Report a leaked key").click()
    await page.locator("[name=key]").fill(new)
    await page.get_by_role("button", name="Block this key for good").click()
    await expect(page.get_by_text("Blocked, if it is one of ours.")).to_be_visible()
    assert await live.products.chat(new) == 401


async def test_two_tabs_make_rotate_and_block_the_same_key(live: Live, tabs: list[Page]) -> None:
    """Each shows and keeps its own secrets; who comes second is told why nothing was done, and can go on."""
    own = await asyncio.gather(*(create(tab, f"of tab {number}") for number, tab in enumerate(tabs)))
    assert [await live.products.chat(secret) for secret in own] == [200, 200]
    assert [await shown(tab) for tab in tabs] == [[secret] for secret in own]

    for tab in tabs:
        await describe(tab, "shared")
    maker, other = await first_of(tabs)
    await expect(other.locator("dialog [role=alert]")).to_contain_text("The key was not created.")
    await expect(other.locator("dialog [role=alert]")).to_contain_text("alias")
    await expect(maker.locator("[data-secret]")).to_have_count(2)
    made = (await shown(maker))[0]
    await read_again(other)

    for tab in tabs:
        await choose(tab, "Rotate", "shared")
    rotator, other = await first_of(tabs)
    await expect(other.locator("dialog [role=alert]")).to_contain_text("“shared” was not rotated.")
    await expect(rotator.locator("secret-card").first).to_contain_text("“shared”")
    rotated = (await shown(rotator))[0]
    assert [await live.products.chat(secret) for secret in (made, rotated)] == [200, 200]
    await read_again(other)

    now = f"sk-...{rotated[-4:]}"
    for action, word, status in (("Block", "Blocked", 401), ("Unblock", "Active", 200)):
        # Neither learns of the other's before it has decided.
        for tab in tabs:
            await open_menu(tab, now)
        await asyncio.gather(*(pick_and_wait(tab, action) for tab in tabs))
        for tab in tabs:
            await expect(tab.locator("tbody tr", has_text=now).locator(".pill")).to_have_text(word)
            await expect(tab.get_by_role("alert")).to_have_count(0)
        assert await live.products.chat(rotated) == status

    first, second = tabs
    await choose(first, "Delete", now)
    await first.get_by_label("Type shared to confirm").fill("shared")
    await first.locator("dialog .danger").click()
    await expect(first.locator("tbody tr", has_text=now)).to_have_count(0)
    await choose(second, "Block", now)
    await expect(second.get_by_text("“shared” was deleted meanwhile.")).to_be_visible()
    await expect(second.locator("tbody tr", has_text=now)).to_have_count(0)

    kept = {secret for tab in tabs for secret in await shown(tab)}
    assert kept == {*own, made, rotated}


async def test_bob_changes_resets_and_off_boards_alice(live: Live, page: Page) -> None:
    """Her limits, what she spent, and then her user with its key; her spending is shown beside it."""
    async with live.caller(await live.products.token("alice")) as alice:
        secret = (await alice.post(keys_path(ALICE), json={"alias": "laptop"})).json()["keySecret"]
    await live.products.litellm.post("/user/update", json={"user_id": ALICE, "spend": 3.5})
    await sign_in(page, live, "bob")
    await page.get_by_role("link", name="Users").click()
    await page.get_by_role("link", name="Alice").click()
    spent = page.locator("keys-view .tile").first
    await expect(spent).to_contain_text("$3.50")
    await expect(page.locator("spending-view .tile").first).to_contain_text("$3.50")
    await page.get_by_role("button", name="Change limits").click()
    await page.get_by_label("Budget in USD").fill("7.5")
    await page.locator("dialog .primary").click()
    await expect(spent).to_contain_text("$3.50 of $7.50")
    await page.get_by_role("button", name="Reset spend").click()
    await page.locator("dialog .danger").click()
    await expect(spent).to_contain_text("$0.00 of $7.50")
    assert await live.products.chat(secret) == 200
    await page.get_by_role("button", name="Off-board", exact=True).click()
    await page.get_by_label("Type alice to confirm").fill("alice")
    await page.get_by_role("button", name="Off-board alice for good").click()
    await page.wait_for_url(re.compile("#/users$"))
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
    await page.get_by_role("button", name="Preview").click()
    await expect(page.locator("section.card h2").first).to_contain_text("Preview of")
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
    """Alice creates a key, and is asked about what collides; the page keeps its own Content-Security-Policy."""
    await forget_users(products)
    backstage = os.environ["BACKSTAGE_URL"]
    refresh = {"APP_CONFIG_litellmOrchestrator_console_refreshUrl": json.dumps(f"{backstage}/api/auth/test/refresh")}
    address = f"{backstage}/api/proxy/litellm-console/console"
    async with listening("serve", "--config", str(config), **refresh) as running, opened(address) as page:
        policy = (await products.backstage.get(address)).headers["Content-Security-Policy"]
        assert "require-trusted-types-for 'script'" in policy
        assert (await products.backstage.get(f"{address}/")).headers["Location"] == "../console"
        assert await products.chat(await create(page, "through the proxy")) == 200
        await choose(page, "Edit")
        await page.locator("dialog [name=alias]").fill("edited")
        async with Live(products, running).caller(await products.token("alice")) as alice:
            key = (await alice.get(keys_path(ALICE))).json()["keys"][0]["token"]
            await alice.patch(keys_path(ALICE, key), json={"alias": "theirs"})
        await page.locator("dialog .primary").click()
        await expect(page.get_by_text("It was changed meanwhile")).to_be_visible()
