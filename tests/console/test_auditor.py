"""What an auditor sees: everything of everybody, and nothing that would change it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from playwright.async_api import expect

from tests.conftest import ALICE, keys_path
from tests.console.conftest import Configure, Opened

pytestmark = pytest.mark.console

DAVE, AUDITORS = "user:default/dave", "group:default/auditors"


@pytest.fixture
def configured() -> Configure:
    """With auditors."""
    return lambda settings: replace(settings, groups=replace(settings.groups, auditor=(AUDITORS,)))


@pytest.fixture
def audited(opened: Opened) -> Opened:
    """Dave is an auditor and no member; alice has a key."""
    org = opened.portal.backstage.org
    org.users[DAVE], org.groups[AUDITORS] = {AUDITORS}, None
    return opened


async def test_an_auditor_reads_without_buttons(audited: Opened) -> None:
    """They begin with the users, have no keys of their own, and nothing is offered that would be refused."""
    page = audited.page
    async with audited.portal.as_person(ALICE) as alice:
        await alice.post(keys_path(ALICE), json={"alias": "laptop"})
    await audited.sign_in("dave")
    await expect(page.locator("nav a")).to_have_text(["Users", "Workloads", "Off-boarding", "Audit log", "Health"])
    await expect(page.locator(".who")).to_contain_text("auditor")
    await page.get_by_role("link", name="alice").first.click()
    await expect(page.get_by_text("laptop")).to_be_visible()
    await audited.loaded()
    buttons = await page.locator("main button").all_inner_texts()
    assert {"Change limits", "Reset spend", "Off-board", "Create key"}.isdisjoint(map(str.strip, buttons))
    await page.get_by_role("button", name="Actions for laptop").click()
    await expect(page.get_by_role("menuitem")).to_have_text(["Versions"])
    await page.keyboard.press("Escape")
    await page.keyboard.press("c")
    await expect(page.locator("dialog[open]")).to_have_count(0)


async def test_an_auditor_previews_the_off_boarding(audited: Opened) -> None:
    """The preview is theirs to ask for, and not to carry out."""
    page = audited.page
    audited.portal.litellm.rows.add_user({"user_id": "user:default/gone"})
    await audited.sign_in("dave", "#/cleanup")
    await page.get_by_role("button", name="Preview").click()
    await expect(page.locator("cleanup-report")).to_contain_text("user:default/gone")
    await expect(page.locator("cleanup-report .dangerous")).to_have_count(0)
    await page.goto(f"{audited.portal.origin}/api/litellm-orchestrator/console#/keys")
    await expect(page.locator("main h1").first).to_have_text("Users")
