"""Signing devices in on the console, and out: what asks, for whose keys, and that no link decides anything."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Route, expect

from tests.conftest import ALICE, BASE
from tests.console.conftest import Opened, Portal, judge
from tests.support.contract import checked_client
from tests.support.devices import approve, ask, poll, revoke, sessions
from tests.support.keys import chat

pytestmark = pytest.mark.console

CHECKOUT = "component:default/checkout"
DAVE = "user:default/dave"


def place(codes: dict[str, str]) -> str:
    """The part of the link behind the page's address."""
    return "#" + codes["verification_uri_complete"].partition("#")[2]


async def asked(portal: Portal) -> dict[str, str]:
    """The codes of a device."""
    async with checked_client(portal.origin, None) as device:
        return await ask(device)


async def told(portal: Portal, codes: dict[str, str]) -> tuple[int, str]:
    """What the device is told."""
    async with checked_client(portal.origin, None) as device:
        answer = await poll(device, codes)
        return answer.status_code, answer.json().get("error", "")


async def signed_in(portal: Portal) -> None:
    """Alice has a device."""
    codes = await asked(portal)
    async with portal.as_person(ALICE) as alice:
        await approve(alice, codes, ALICE)
    assert await told(portal, codes) == (200, "")


async def test_a_device_is_approved_by_a_click_and_not_by_a_link(opened: Opened) -> None:
    """What asks is shown; nothing is ticked before, and the button is off until it is."""
    page, portal = opened.page, opened.portal
    codes = await asked(portal)
    await opened.sign_in("alice", place(codes))
    await expect(page).to_have_title("Devices · LiteLLM console")
    await expect(page.locator("device-request .tile").first).to_contain_text("laptop")
    await expect(page.locator("device-request .tile").nth(1)).to_contain_text("claude-code")
    await expect(page.locator("device-request .tile").nth(2)).to_contain_text("127.0.0.1")
    button, box = page.get_by_role("button", name="Sign the device in"), page.get_by_role("checkbox")
    await expect(box).not_to_be_checked()
    await expect(button).to_be_disabled()
    assert await told(portal, codes) == (400, "authorization_pending")
    await judge(page, "a device that asks")
    await page.get_by_label(re.compile(f"the device shows {codes['user_code']}")).check()
    await button.click()
    await expect(page.get_by_text("The device gets its key within seconds.")).to_be_visible()
    assert await told(portal, codes) == (200, "")
    async with portal.as_person(ALICE) as alice:
        (session,) = await sessions(alice)
    assert session["owner"] == ALICE


async def test_a_code_is_entered_by_hand(opened: Opened) -> None:
    """As it was typed; a wrong one says so, and one that is none is not sent."""
    page = opened.page
    codes = await asked(opened.portal)
    await opened.sign_in("alice", "#/devices")
    box, button = page.get_by_label("The code that the device shows"), page.get_by_role("button", name="Look it up")
    await box.fill("12345678")
    await button.click()
    await expect(page.get_by_role("alert")).to_contain_text("A code has eight letters")
    await box.fill("bbbb-bbbb")
    await button.click()
    await expect(page.get_by_role("alert")).to_contain_text("There is no such code")
    await box.fill(codes["user_code"].replace("-", "").lower())
    await button.click()
    await expect(page.get_by_role("alert")).to_have_count(0)
    await expect(page.locator("device-request .pill")).to_have_text("Waits for you")


async def test_a_device_is_refused(opened: Opened) -> None:
    """Without any tick."""
    page, portal = opened.page, opened.portal
    codes = await asked(portal)
    await opened.sign_in("alice", place(codes))
    await page.get_by_role("button", name="Refuse").click()
    await expect(page.get_by_text("The device gets nothing.")).to_be_visible()
    assert await told(portal, codes) == (400, "access_denied")


async def test_keys_of_what_one_manages_and_a_shorter_life(opened: Opened) -> None:
    """Dave chooses the component, and a week."""
    page, portal = opened.page, opened.portal
    codes = await asked(portal)
    await opened.sign_in("dave", place(codes))
    await page.get_by_label("Whose keys it gets").select_option(CHECKOUT)
    await page.get_by_label("Signed in for").select_option("7 days")
    await page.get_by_role("checkbox").check()
    await page.get_by_role("button", name="Sign the device in").click()
    await expect(page.get_by_text("The device gets its key within seconds.")).to_be_visible()
    async with checked_client(portal.origin, None) as device:
        got = (await poll(device, codes)).json()
    assert got["owner"] == CHECKOUT
    assert 0 <= 7 * 86400 - got["refresh_token_expires_in"] <= 60


async def test_an_old_request_from_elsewhere_is_warned_of(opened: Opened) -> None:
    """Somebody may have been sent a link."""
    page = opened.page
    codes = await asked(opened.portal)

    async def elsewhere(route: Route) -> None:
        answer = await route.fetch()
        body = await answer.json() | {"isSameNetwork": False, "ageSeconds": 61}
        await route.fulfill(response=answer, json=body)

    await page.route("**/device-codes/*", elsewhere)
    await opened.sign_in("alice", place(codes))
    await expect(page.get_by_text("This request is older than a minute.")).to_be_visible()
    await expect(page.get_by_text("This request comes from another network than this page.")).to_be_visible()
    await judge(page, "a device that asks from elsewhere")


async def test_a_device_is_signed_out(opened: Opened) -> None:
    """After a question; it is gone from the list, and gets nothing."""
    page, portal = opened.page, opened.portal
    await signed_in(portal)
    await opened.sign_in("alice", "#/devices")
    rows = page.get_by_role("region", name="Signed-in devices").locator("tbody tr")
    await expect(rows).to_have_count(1)
    await expect(rows).to_contain_text("laptop")
    await judge(page, "signed-in devices")
    await page.get_by_role("button", name="Sign out laptop").click()
    await page.locator("dialog").get_by_role("button", name="Sign laptop out").click()
    await expect(page.get_by_text("No device is signed in.")).to_be_visible()
    assert portal.litellm.rows.keys == {}


async def test_keys_of_a_device_are_one_row_among_the_others(opened: Opened) -> None:
    """Under what the device calls itself."""
    page = opened.page
    await signed_in(opened.portal)
    await opened.sign_in("alice", "#/keys")
    await expect(page.get_by_role("button", name="Device laptop claude-code")).to_be_visible()


async def test_spending_names_devices_and_their_people(opened: Opened) -> None:
    """Of software: several people sign devices in for it. Also after a device was signed out."""
    page, portal = opened.page, opened.portal
    codes = await asked(portal)
    async with portal.as_person(DAVE) as dave, checked_client(portal.origin, None) as device:
        await approve(dave, codes, CHECKOUT)
        got = (await poll(device, codes)).json()
        assert await chat(portal.litellm, got["access_token"]) == 200
        await revoke(device, got["refresh_token"])
    await opened.sign_in("dave", f"#/spending/{CHECKOUT}")
    await page.get_by_text("Key", exact=True).click()
    await expect(page.locator("tbody .name")).to_have_text("Device laptop claude-code of dave")


async def test_an_outsider_has_no_page_for_it(opened: Opened) -> None:
    """And the code can still be approved by whoever asked."""
    codes = await asked(opened.portal)
    await opened.go(place(codes))
    await opened.page.get_by_role("button", name="carol").click()
    await expect(opened.page.get_by_text("You are not in a group that may use models.")).to_be_visible()
    assert await told(opened.portal, codes) == (400, "authorization_pending")
    assert BASE in opened.page.url
