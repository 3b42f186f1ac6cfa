"""The versions of a key, as a dialog over the keys."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from tests.conftest import ALICE, keys_path
from tests.console.conftest import Open, Opened, Portal, choose, judge

pytestmark = pytest.mark.console

DAVE, CHECKOUT = "user:default/dave", "component:default/checkout"


async def rotated(portal: Portal, owner: str, by: str, *overlaps: int) -> list[str]:
    """A key that was rotated as often as there are overlaps; its versions' ids."""
    async with portal.as_person(by) as person:
        found = [(await person.post(keys_path(owner), json={"alias": "ci"})).json()["keyId"]]
        for overlap in overlaps:
            answer = await person.post(f"{keys_path(owner, found[-1])}/regenerate", json={"overlap": overlap})
            found.append(answer.json()["keyId"])
    return found


async def test_the_versions_of_a_key(opened: Opened) -> None:
    """The newest first: who made each, what ended or is going to, its last use; the focus goes back to the menu."""
    page, rows = opened.page, opened.portal.litellm.rows
    ids = await rotated(opened.portal, CHECKOUT, DAVE, 0, 3600)
    rows.keys[ids[2]]["last_active"] = rows.stamp(-3600)
    await opened.sign_in("dave", f"#/keys/{CHECKOUT}")
    buttons = page.get_by_role("button", name="Actions for")
    await page.locator(f'[data-key="{ids[2]}"]').click()
    await page.get_by_role("menuitem", name="Versions").click()
    dialog = page.locator("dialog[open]")
    await expect(dialog.get_by_role("heading")).to_have_text("Versions of ci")
    await expect(dialog.locator("tbody .name")).to_have_text(["Version 3", "Version 2", "Version 1"])
    await expect(dialog.locator("tbody .pill")).to_have_text(["Active", "Active", "Deleted"])
    third, second, first = [re.sub(r"\s+", " ", row) for row in await dialog.locator("tbody tr").all_inner_texts()]
    assert "1 hour ago" in third
    assert re.search(r"is revoked in (1 hour|\d+ minutes)", second)
    assert "revoked" in first
    assert "is revoked" not in first
    for row, key_id in zip((third, second, first), reversed(ids), strict=True):
        assert DAVE in row
        assert key_id[:8] in row
    await page.get_by_role("button", name="Close").click()
    await expect(page.locator("dialog[open]")).to_have_count(0)
    await expect(page.locator(f'[data-key="{ids[2]}"]')).to_be_focused()
    await expect(buttons).to_have_count(2)


async def test_what_is_not_known_is_said(opened: Opened) -> None:
    """A key that was made elsewhere, as its third version: by nobody known, and two more of which nothing is known."""
    page, rows = opened.page, opened.portal.litellm.rows
    async with opened.portal.as_person(ALICE) as alice:
        await alice.get(keys_path(ALICE))
    note = {"litellm_orchestrator": {"alias": "old", "id": f"key_{'a' * 32}", "version": 3}}
    rows.add_key({"user_id": ALICE, "metadata": note})
    await opened.sign_in("alice")
    await choose(page, "old", "Versions")
    dialog = page.locator("dialog[open]")
    await expect(dialog.locator("tbody .name")).to_have_text(["Version 3"])
    await expect(dialog).to_contain_text("not known by whom")
    await expect(dialog).to_contain_text("There were 2 more versions, of which nothing is known.")


async def test_versions_that_cannot_be_read(opened: Opened) -> None:
    """The dialog says so, and another try gets them."""
    page = opened.page
    await rotated(opened.portal, ALICE, ALICE)
    await opened.sign_in("alice")
    await page.route(re.compile("/versions$"), lambda route: route.fulfill(status=503, json={}))
    await choose(page, "ci", "Versions")
    alert = page.locator("dialog[open]").get_by_role("alert")
    await expect(alert).to_contain_text("Versions of ci could not be loaded.")
    await page.unroute(re.compile("/versions$"))
    await alert.get_by_role("button", name="Try again").click()
    await expect(page.locator("dialog[open] tbody .name")).to_have_text(["Version 1"])


@pytest.mark.parametrize(("width", "theme"), [(1280, "dark"), (380, "light")])
async def test_the_versions_fit_every_window(open_page: Open, portal: Portal, width: int, theme: str) -> None:
    """Axe finds nothing."""
    await rotated(portal, ALICE, ALICE, 0, 3600)
    opened = await open_page(viewport={"width": width, "height": 800}, color_scheme=theme)
    await opened.sign_in("alice")
    await opened.page.get_by_role("button", name="Actions for").last.click()
    await opened.page.get_by_role("menuitem", name="Versions").click()
    await expect(opened.page.locator("dialog[open] tbody tr")).to_have_count(3)
    assert await opened.page.evaluate(
        "[...document.querySelectorAll('dialog[open]')].every(one => one.scrollWidth <= one.clientWidth)"
    )
    await judge(opened.page, f"versions-{width}-{theme}")
