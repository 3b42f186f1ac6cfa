"""Tables fit the room that they have, and say how they are sorted."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.conftest import ALICE, keys_path
from tests.console.conftest import Open, Opened, Portal, spent

pytestmark = pytest.mark.console

WIDTHS = (320, 380, 600, 760, 900, 1024, 1280, 1440, 1920)
# The cells of the first row that are covered by another, or are out of the room of their table.
HIDDEN = """() => [...document.querySelectorAll('main .scroll')].flatMap(scroll => {
    const room = scroll.getBoundingClientRect();
    const cells = [...scroll.querySelectorAll('tbody td, tbody button')].map(cell => cell.getBoundingClientRect());
    const shown = cells.filter(box => box.width > 0);
    const out = shown.filter(box => box.right > room.right + 1 || box.left < room.left - 1);
    const boxes = [...scroll.querySelectorAll('tbody td')].map(cell => cell.getBoundingClientRect());
    const covered = boxes.filter((box, at) => boxes.some((other, place) => place > at && other.top < box.bottom - 1
        && other.bottom > box.top + 1 && other.left < box.right - 1 && other.right > box.left + 1));
    return [...out, ...covered].map(box => `${Math.round(box.left)}-${Math.round(box.right)} of ${room.right}`);
})"""


async def crowded(portal: Portal) -> None:
    """Alice has a key with a long name, all the models that there are, a great spend and great rates."""
    await spent(portal)
    models = ["gpt-fake", "claude-fake"]
    async with portal.as_person(ALICE) as alice:
        body = {"alias": "the nightly batch of the data platform", "models": models, "expiresIn": 5 * 86400}
        key_id = (await alice.post(keys_path(ALICE), json=body)).json()["keyId"]
    row = portal.litellm.rows.keys[key_id]
    row |= {"spend": 1_234_567.89, "max_budget": 2_000_000, "rpm_limit": 1_000_000, "tpm_limit": 100_000_000}


@pytest.mark.parametrize("route", ["", "#/spending", "#/users", "#/workloads", "#/audit", "#/cleanup"])
async def test_tables_fit_at_every_width(open_page: Open, portal: Portal, route: str) -> None:
    """No cell is covered, or out of sight, from the smallest phone to the widest screen."""
    await crowded(portal)
    portal.backstage.org.users[ALICE] = portal.backstage.org.users[ALICE] if route in {"", "#/spending"} else set()
    opened = await open_page()
    await opened.sign_in("alice" if route in {"", "#/spending"} else "bob", route)
    if route == "#/cleanup":
        await opened.page.get_by_role("button", name="Preview").click()
    await opened.page.locator("main tbody tr").first.wait_for()
    for width in WIDTHS:
        await opened.page.set_viewport_size({"width": width, "height": 800})
        assert (width, await opened.page.evaluate(HIDDEN)) == (width, [])


async def test_a_phone_has_cards(open_page: Open, portal: Portal) -> None:
    """Name and status first, then spend and budget, last use and end; the headings are for those who hear them."""
    await crowded(portal)
    opened = await open_page(viewport={"width": 380, "height": 800})
    await opened.sign_in("alice")
    card = opened.page.locator("tbody tr", has_text="nightly")
    name, pill = card.locator(".name"), card.locator(".pill")
    spend = card.get_by_text("$1,234,567.89")
    boxes = [await each.bounding_box() for each in (name, pill, spend)]
    tops = [box["y"] for box in boxes if box]
    assert len(tops) == 3
    assert tops[2] > max(tops[:2])
    await expect(card.get_by_text("of $2,000,000.00")).to_be_visible()
    await expect(card.locator("[data-label=ends]")).to_be_visible()
    await expect(opened.page.get_by_role("columnheader", name="Spend")).to_be_attached()


async def test_many_models_are_a_number(opened: Opened) -> None:
    """Which they are is there on demand."""
    await crowded(opened.portal)
    await opened.page.set_viewport_size({"width": 1440, "height": 800})
    await opened.sign_in("alice")
    row = opened.page.locator("tbody tr", has_text="nightly")
    await expect(row.get_by_text("claude-fake")).to_be_hidden()
    await row.get_by_text("2 models").click()
    await expect(row.get_by_text("claude-fake")).to_be_visible()


async def test_what_is_sorted_says_which_way(opened: Opened) -> None:
    """The most is first where that is looked for, a second click turns it round, and both are said."""
    await spent(opened.portal, days=1)
    page = opened.page
    await opened.sign_in("alice")
    head = page.get_by_role("columnheader", name="Spend")
    await head.get_by_role("button").click()
    await expect(head).to_have_attribute("aria-sort", "descending")
    shown = page.locator("tbody td:nth-child(4)")
    await expect(shown.first).to_have_text("$28.90")
    await head.get_by_role("button").click()
    await expect(head).to_have_attribute("aria-sort", "ascending")
    await expect(shown.last).to_have_text("$28.90")
    await page.get_by_role("columnheader", name="Key").get_by_role("button").click()
    await expect(page.get_by_role("columnheader", name="Key")).to_have_attribute("aria-sort", "ascending")
    await expect(head).to_have_attribute("aria-sort", "none")
