"""A secret is shown once, and is lost only by a deliberate click of the person whose it is."""

from __future__ import annotations

import asyncio
import re

import pytest
from playwright.async_api import Locator, Page, Route, expect

from tests.conftest import ALICE, keys_path
from tests.console.conftest import Opened, create, describe, stay

pytestmark = pytest.mark.console

KEYS, ROTATION = re.compile(r"/keys$"), re.compile(r"/regenerate$")


async def rotate(page: Page, alias: str) -> str:
    """The secret that the API answered."""
    await page.get_by_role("button", name=f"Actions for {alias}").click()
    await page.get_by_role("menuitem", name="Rotate").click()
    async with page.expect_response(ROTATION) as answer:
        await page.locator("dialog .primary").click()
    return str((await (await answer.value).json())["keySecret"])


async def test_each_key_has_its_own_card(opened: Opened) -> None:
    """A second creation and a rotation show their own secret, in the code too, above those before."""
    page = opened.page
    await opened.sign_in("alice")
    first = await create(page, "first")
    second = await create(page, "second")
    rotated = await rotate(page, "first")
    secrets, codes = page.locator("[data-secret]"), page.locator("[role=tabpanel]")
    await expect(secrets).to_have_text([rotated, second, first])
    for number, secret in enumerate((rotated, second, first)):
        await expect(codes.nth(number)).to_contain_text(f"Bearer {secret}")
    await expect(page.locator("secret-card h2")).to_contain_text(["first", "second", "first"])
    await page.locator("secret-card").nth(1).get_by_role("button", name="I saved the key").click()
    await expect(secrets).to_have_text([rotated, first])
    await expect(page.locator("secret-card").first.locator("section")).to_be_focused()


async def test_a_secret_survives_every_way_through_the_page(opened: Opened) -> None:
    """Links, the Back button, shortcuts, a link to nowhere: it is there until it is acknowledged."""
    page = opened.page
    await opened.sign_in("bob")
    secret = await create(page, "laptop")
    shown = page.locator("[data-secret]")
    for route in ("Spending", "Users", "Audit log"):
        await page.get_by_role("link", name=route).click()
        await opened.loaded()
        await expect(shown).to_have_text(secret)
    await page.go_back()
    await expect(page.locator("main h1").first).to_have_text("Users")
    await expect(shown).to_have_text(secret)
    await page.keyboard.press("g")
    await page.keyboard.press("k")
    await expect(page.locator("tbody .name")).to_have_text("laptop")
    await expect(shown).to_have_text(secret)
    await page.get_by_role("button", name="I saved the key").click()
    await expect(shown).to_have_count(0)
    assert secret not in await page.content()
    await expect(page.get_by_role("button", name="Actions for laptop")).to_be_focused()


async def test_a_reload_asks_first(opened: Opened) -> None:
    """While a secret is not acknowledged, and only then; nothing of it is stored."""
    page = opened.page
    asked = stay(page)
    await opened.sign_in("alice")
    secret = await create(page, "laptop")
    await page.locator("[data-secret]").wait_for()
    await page.evaluate("setTimeout(() => location.reload())")
    async with asyncio.timeout(60):
        while not asked:
            await page.evaluate("1")
    assert asked == ["beforeunload"]
    await expect(page.locator("[data-secret]")).to_have_text(secret)
    assert secret not in await page.evaluate(
        "JSON.stringify([localStorage, sessionStorage, document.cookie, history.state])"
    )
    await page.get_by_role("button", name="I saved the key").click()
    await page.reload()
    await expect(page.get_by_role("button", name="alice")).to_be_visible()
    assert len(asked) == 1


async def test_signing_out_asks_first(opened: Opened) -> None:
    """It names the key; staying keeps the secret, going forgets it for whoever is next."""
    page = opened.page
    await opened.sign_in("alice")
    secret = await create(page, "laptop")
    await page.get_by_role("button", name="Sign out").click()
    dialog = page.locator("dialog[open]")
    await expect(dialog).to_contain_text("laptop")
    await dialog.get_by_role("button", name="Cancel").click()
    await expect(page.locator("[data-secret]")).to_have_text(secret)
    await page.get_by_role("button", name="Sign out").click()
    await dialog.get_by_role("button", name="Sign out and lose it").click()
    await page.get_by_role("button", name="alice").click()
    await opened.loaded()
    await expect(page.locator("[data-secret]")).to_have_count(0)


async def expired(opened: Opened) -> tuple[str, Locator]:
    """Alice's session ends while she has a secret: the secret, and the dialog in which somebody may sign in."""
    await opened.sign_in("alice")
    secret = await create(opened.page, "laptop")
    opened.portal.is_expired = True
    await opened.page.evaluate("location.hash = '#/spending'")
    again = opened.page.locator("dialog.again")
    await expect(again).to_be_visible()
    opened.portal.is_expired = False
    return secret, again


async def test_nobody_else_sees_the_secret(opened: Opened) -> None:
    """Alice's session ends, and bob signs in instead of her: it is shown again when she is back."""
    page = opened.page
    secret, again = await expired(opened)
    await again.get_by_role("button", name="bob").click()
    await expect(page.locator(".who b")).to_have_text("bob")
    await opened.loaded()
    assert secret not in await page.content()
    await page.get_by_role("button", name="Sign out").click()
    await page.get_by_role("button", name="alice").click()
    await expect(page.locator("[data-secret]")).to_have_text(secret)


async def test_it_survives_an_expired_session(opened: Opened) -> None:
    """Alice signs in again."""
    page = opened.page
    secret, again = await expired(opened)
    await again.get_by_role("button", name="alice").click()
    await expect(again).to_have_count(0)
    await expect(page.locator("[data-secret]")).to_have_text(secret)


async def test_an_answer_that_comes_after_alice_has_gone(opened: Opened) -> None:
    """Bob is signed in when her new key is made: he does not see its secret, and she does when she is back."""
    page, answers, asked = opened.page, asyncio.Event(), asyncio.Event()

    async def late(route: Route) -> None:
        if route.request.method != "POST":
            return await route.continue_()
        response = await route.fetch()
        asked.set()
        await answers.wait()
        return await route.fulfill(response=response)

    await opened.sign_in("alice")
    await page.route(KEYS, late)
    await describe(page, "late")
    await page.locator("dialog .primary").click()
    await asked.wait()
    await page.evaluate(
        "import(document.querySelector('script[type=module]').src.replace('main.js', 'session.js'))"
        ".then(({session}) => session.signOut())"
    )
    await page.get_by_role("button", name="bob").click()
    await opened.loaded()
    async with page.expect_response(lambda response: response.request.method == "POST") as answer:
        answers.set()
    secret = (await (await answer.value).json())["keySecret"]
    await page.get_by_role("link", name="Spending").click()
    await opened.loaded()
    assert secret not in await page.content()
    await page.get_by_role("button", name="Sign out").click()
    await page.get_by_role("button", name="alice").click()
    await expect(page.locator("[data-secret]")).to_have_text(secret)


async def test_back_closes_the_dialog(opened: Opened) -> None:
    """It does not stay above another page."""
    page = opened.page
    await opened.sign_in("alice", "#/spending")
    await page.get_by_role("link", name="Keys").click()
    await describe(page, "laptop")
    await page.go_back()
    await expect(page.locator("main h1")).to_have_text("Spending")
    await expect(page.locator("dialog[open]")).to_have_count(0)


@pytest.mark.parametrize("way", ["Escape", "Back"])
async def test_it_is_too_late_to_cancel(opened: Opened, way: str) -> None:
    """While the key is made, Cancel is off and says why; whoever leaves all the same gets the secret."""
    page, answers = opened.page, asyncio.Event()

    async def slow(route: Route) -> None:
        if route.request.method == "POST":
            await answers.wait()
        await route.continue_()

    await opened.sign_in("alice", "#/spending")
    await page.get_by_role("link", name="Keys").click()
    await page.route(KEYS, slow)
    await describe(page, "slow")
    await page.locator("dialog .primary").click()
    await expect(page.get_by_role("button", name="Cancel")).to_be_disabled()
    await expect(page.locator("dialog[open]")).to_contain_text("too late to cancel")
    if way == "Escape":
        for _ in range(3):
            await page.keyboard.press("Escape")
        await expect(page.locator("dialog[open]")).to_be_visible()
    else:
        await page.go_back()
        await expect(page.locator("main h1")).to_have_text("Spending")
        await expect(page.locator("dialog[open]")).to_have_count(0)
    answers.set()
    await expect(page.locator("[data-secret]")).to_be_visible()


@pytest.mark.parametrize("what", ["create", "delete"])
async def test_what_waits_for_a_session_is_dropped_with_its_dialog(opened: Opened, what: str) -> None:
    """Alice goes Back instead of signing in again: what she had begun is not done when she signs in later."""
    page, portal = opened.page, opened.portal
    async with portal.as_person(ALICE) as alice:
        await alice.post(keys_path(ALICE), json={"alias": "kept"})
    await opened.sign_in("alice", "#/spending")
    await page.get_by_role("link", name="Keys").click()
    if what == "create":
        await describe(page, "cancelled")
    else:
        await page.get_by_role("button", name="Actions for kept").click()
        await page.get_by_role("menuitem", name="Delete").click()
        await page.locator("[name=confirmation]").fill("kept")
    portal.is_expired = True
    await page.locator("dialog .primary, dialog .danger").click()
    again = page.locator("dialog.again")
    await expect(again).to_be_visible()
    await page.go_back()
    await expect(page.locator("dialog[open]:not(.again)")).to_have_count(0)
    portal.is_expired = False
    await again.get_by_role("button", name="alice").click()
    await expect(again).to_have_count(0)
    await page.get_by_role("link", name="Keys").click()
    await expect(page.locator("tbody .name")).to_have_text(["kept"])
    assert len(portal.litellm.rows.keys) == 1


async def test_the_question_who_is_there_stays(opened: Opened) -> None:
    """However often Escape is pressed, what waits for the answer does not hang; signing out is the way out of it."""
    page, portal = opened.page, opened.portal
    await opened.sign_in("alice")
    await describe(page, "waiting")
    portal.is_expired = True
    await page.locator("dialog .primary").click()
    again = page.locator("dialog.again")
    await expect(again).to_be_visible()
    for _ in range(3):
        await page.keyboard.press("Escape")
    await expect(again).to_be_visible()
    box = await again.bounding_box()
    assert box is not None
    assert box["width"] < 500
    portal.is_expired = False
    await again.get_by_role("button", name="Sign out").click()
    await expect(page.locator("dialog[open]")).to_have_count(0)
    await page.get_by_role("button", name="alice").click()
    await opened.loaded()
    await expect(page.get_by_text("No keys yet.")).to_be_visible()


REFUSE = """
Object.defineProperty(navigator, 'clipboard', {value: {writeText: () => Promise.reject(new Error('no'))}});
document.execCommand = () => false;
"""


async def test_copied_is_said_if_it_is_true(opened: Opened) -> None:
    """On the button, and to a screen reader; the clipboard has the secret."""
    page = opened.page
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=opened.portal.origin)
    await opened.sign_in("alice")
    secret = await create(page, "laptop")
    await page.get_by_role("button", name="Copy key").click()
    await expect(page.locator("secret-card [role=status]", has_text="Copied")).to_have_count(1)
    assert await page.evaluate("navigator.clipboard.readText()") == secret
    await page.get_by_role("button", name="Copy code").click()
    await expect(page.locator("secret-card [role=status]", has_text="Copied").last).to_be_attached()
    assert (await page.evaluate("navigator.clipboard.readText()")).startswith("curl ")


async def test_nothing_was_copied(opened: Opened) -> None:
    """Then it does not say so: the secret is selected, and the page says which keys to press."""
    page = opened.page
    await page.add_init_script(REFUSE)
    await opened.sign_in("alice")
    secret = await create(page, "laptop")
    await page.get_by_role("button", name="Copy key").click()
    await expect(page.locator("secret-card [role=status]", has_text="Not copied")).to_contain_text("Ctrl+C")
    assert await page.evaluate("getSelection().toString()") == secret
    await expect(page.get_by_text("Copied", exact=True)).to_have_count(0)
