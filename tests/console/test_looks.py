"""Focus, titles, contrast and forced colours: the page is there for those who do not see it as it was drawn."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from tests.conftest import ALICE, keys_path
from tests.console.conftest import Open, Opened, Portal, choose, create, spent

pytestmark = pytest.mark.console

FOCUSED = "document.activeElement.textContent.trim()"
# How far a colour of the design stands out from the surface (WCAG's ratio).
CONTRAST = """name => {
    const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
    const light = colour => {
        canvas.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(colour);
        canvas.fillRect(0, 0, 1, 1);
        const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map(part => part / 255)
            .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
    };
    const [one, other] = [light(name), light('--surface')];
    return Math.max(one, other) / Math.min(one, other);
}"""


async def test_the_title_and_the_focus_follow_the_view(opened: Opened) -> None:
    """After signing in, by a link and on the way back, for somebody's page, and after signing out."""
    page = opened.page
    await opened.sign_in("bob")
    await expect(page).to_have_title("Keys · LiteLLM console")
    await expect(page.locator("main h1").first).to_be_focused()
    await page.get_by_role("link", name="Users").click()
    await expect(page).to_have_title("Users · LiteLLM console")
    await expect(page.locator("main h1").first).to_be_focused()
    await opened.go("#/users/user:default/alice")
    await expect(page).to_have_title("alice · LiteLLM console")
    await page.get_by_role("button", name="Sign out").click()
    await expect(page).to_have_title("Sign in · LiteLLM console")


async def test_the_focus_goes_to_the_next_key(opened: Opened) -> None:
    """Of what was saved to its key, of what was deleted to the one after it, of the last to what makes another."""
    page = opened.page
    await opened.sign_in("alice")
    for alias in ("one", "two"):
        await create(page, alias)
        await page.get_by_role("button", name="I saved the key").click()
        await expect(page.get_by_role("button", name=f"Actions for {alias}")).to_be_focused()
    for alias, other in (("two", "Actions for one"), ("one", "Create key")):
        await choose(page, alias, "Delete")
        await page.get_by_label(f"Type {alias} to confirm").fill(alias)
        await page.get_by_role("button", name=f"Delete {alias} for good").click()
        await expect(page.get_by_role("button", name=other).first).to_be_focused()


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_lines_and_series_stand_out(open_page: Open, theme: str) -> None:
    """The ring of the focus, the borders of fields and the series of charts: 3 to 1."""
    opened = await open_page(color_scheme=theme)
    await opened.sign_in("alice", "#/spending")
    page = opened.page
    weak = {}
    for name in ("--accent", "--field-line", *(f"--c{number}" for number in range(1, 7))):
        ratio = await page.evaluate(CONTRAST, name)
        if ratio < 3:
            weak[name] = ratio
    assert weak == {}
    await page.keyboard.press("Tab")
    ring = await page.evaluate(
        "(({outlineStyle, outlineWidth}) => `${outlineStyle} ${outlineWidth}`)"
        "(getComputedStyle(document.activeElement))"
    )
    assert ring == "solid 2px"


async def test_forced_colours_keep_focus_and_legend(open_page: Open, portal: Portal) -> None:
    """There is an outline around what has the focus, and each series keeps its colour beside its name."""
    await spent(portal, days=3)
    opened = await open_page(forced_colors="active")
    page = opened.page
    await opened.sign_in("alice", "#/spending")
    await page.get_by_label("Period").focus()
    await page.keyboard.press("Tab")
    assert await page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    swatches = await page.evaluate(
        "[...document.querySelectorAll('figcaption span')]"
        ".map(one => getComputedStyle(one, '::before').backgroundColor)"
    )
    assert len(swatches) == len(set(swatches)) == 2


async def test_a_bar_has_the_colour_that_the_reader_forces(open_page: Open, portal: Portal) -> None:
    """How much of a budget is spent is drawn in the colour of what is highlighted."""
    await spent(portal, days=1)
    opened = await open_page(forced_colors="active")
    await opened.sign_in("alice")
    fill, highlight = await opened.page.evaluate(
        """() => {
            const probe = document.body.appendChild(document.createElement('i'));
            probe.style.color = 'Highlight';
            return [getComputedStyle(document.querySelector('.bar rect')).fill, getComputedStyle(probe).color];
        }"""
    )
    assert fill == highlight


async def test_the_menu_belongs_to_its_key(opened: Opened) -> None:
    """It says whose it is, goes when the page is scrolled, and is used by keyboard as menus are."""
    page = opened.page
    async with opened.portal.as_person(ALICE) as alice:
        for number in range(30):
            await alice.post(keys_path(ALICE), json={"alias": f"key {number}"})
    await opened.sign_in("alice")
    button = page.get_by_role("button", name="Actions for key 20")
    await button.click()
    menu = page.get_by_role("menu", name="key 20")
    await expect(menu).to_be_visible()
    await expect(button).to_have_attribute("aria-expanded", "true")
    for key, label in (("End", "Delete"), ("Home", "Edit"), ("r", "Rotate (new secret, same limits)")):
        await page.keyboard.press(key)
        assert await page.evaluate(FOCUSED) == label
    await page.keyboard.press("Tab")
    await expect(menu).to_have_count(0)
    assert await page.evaluate("document.activeElement.tagName") != "BODY"
    await button.click()
    await page.mouse.move(700, 400)
    await page.mouse.wheel(0, 300)
    await expect(menu).to_have_count(0)
    await expect(button).to_have_attribute("aria-expanded", "false")


@pytest.mark.parametrize("width", [320, 360, 380])
async def test_the_navigation_fits_a_phone(open_page: Open, width: int) -> None:
    """An admin reaches every view, the theme and the way out without scrolling sideways, and sees who is signed in."""
    opened = await open_page(viewport={"width": width, "height": 740})
    page = opened.page
    await opened.sign_in("bob")
    nav = page.get_by_role("navigation", name="Sections")
    assert await nav.evaluate("nav => nav.scrollWidth <= nav.clientWidth")
    reached = [
        *await nav.get_by_role("link").all(),
        *await nav.get_by_role("button").all(),
        nav.get_by_text("bob").first,
    ]
    assert len(reached) == 8 + 2 + 1
    for each in reached:
        await expect(each).to_be_in_viewport(ratio=1)
    boxes = [await link.bounding_box() for link in await nav.get_by_role("link").all()]
    assert min(box["height"] for box in boxes if box) >= 44
    box = await nav.bounding_box()
    assert box is not None
    assert box["height"] <= 160


async def test_who_may_not_see_it_is_told(opened: Opened) -> None:
    """A member at an address for admins, and an admin at that of nobody: another try is not offered."""
    page = opened.page
    await opened.sign_in("alice", "#/audit")
    await expect(page.get_by_text("Only admins see this.")).to_be_visible()
    await expect(page.locator("main h1")).to_have_text("Audit log")
    await page.get_by_role("button", name="Sign out").click()
    await opened.sign_in("bob", "#/users/user:default/nobody")
    await expect(page.get_by_text("There is no such user.")).to_be_visible()
    await expect(page.get_by_role("button", name=re.compile("Try again"))).to_have_count(0)


async def test_what_failed_offline_is_loaded_afterwards(opened: Opened) -> None:
    """Without a click."""
    page = opened.page
    await opened.sign_in("alice")
    await page.context.set_offline(True)
    await page.get_by_role("link", name="Spending").click()
    await expect(page.get_by_text("could not be loaded")).to_be_visible()
    await page.context.set_offline(False)
    await expect(page.get_by_text("could not be loaded")).to_have_count(0)
    await expect(page.locator(".tile")).to_have_count(3)
