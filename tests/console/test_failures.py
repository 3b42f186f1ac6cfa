"""A failure is about what failed: it names the action and the thing, and its retry repeats that action."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Page, Route, expect

from tests.conftest import ALICE, BASE, BOB, keys_path, user_path
from tests.console.conftest import Opened, Portal, choose, create, describe, hold, stay

pytestmark = pytest.mark.console

ONE_KEY = re.compile("/keys/[0-9a-f]{64}$")
STATUS = "tbody td:nth-child(2) .pill"


async def add_keys(portal: Portal, *aliases: str) -> list[str]:
    """Keys of alice; their ids."""
    async with portal.as_person(ALICE) as alice:
        return [(await alice.post(keys_path(ALICE), json={"alias": alias})).json()["keyId"] for alias in aliases]


async def test_block_again(opened: Opened) -> None:
    """Alice blocks a key while the network fails: the notice says that it is not blocked, and its button blocks it."""
    page = opened.page
    (key_id,) = await add_keys(opened.portal, "staging")
    await opened.sign_in("alice")
    await page.route(ONE_KEY, lambda route: route.abort())
    await choose(page, "staging", "Block")
    notice = page.get_by_role("alert")
    await expect(notice).to_contain_text("“staging” was not blocked. The service cannot be reached.")
    await expect(page.locator(STATUS)).to_have_text("Active")
    await page.unroute(ONE_KEY)
    async with page.expect_response(ONE_KEY):
        await notice.get_by_role("button", name="Block again").click()
    await expect(page.locator(STATUS)).to_have_text("Blocked")
    await expect(notice).to_have_count(0)
    assert opened.portal.litellm.rows.keys[key_id]["blocked"] is True


async def test_the_notice_is_where_the_eye_is(opened: Opened) -> None:
    """Also far down a list of hundreds of keys; it can be dismissed, and goes with the person."""
    page, rows = opened.page, opened.portal.litellm.rows.keys
    await add_keys(opened.portal, "first")
    row = next(iter(rows.values()))
    for number in range(120):
        rows[f"{number:064x}"] = row | {"token": f"{number:064x}"}
    await opened.sign_in("alice")
    await page.route(ONE_KEY, lambda route: route.abort())
    last = page.locator("tbody tr").last
    await last.get_by_role("button").click()
    await page.get_by_role("menuitem", name="Block", exact=True).click()
    notice = page.get_by_role("alert")
    await expect(notice).to_be_in_viewport()
    await expect(last).to_be_in_viewport()
    await notice.get_by_role("button", name="Dismiss").click()
    await expect(notice).to_have_count(0)
    await last.get_by_role("button").click()
    await page.get_by_role("menuitem", name="Block", exact=True).click()
    await expect(notice).to_be_visible()
    await page.get_by_role("button", name="Sign out").click()
    await page.get_by_role("button", name="bob").click()
    await opened.loaded()
    await expect(notice).to_have_count(0)


async def test_deleting_what_is_gone_succeeds(opened: Opened) -> None:
    """Alice deleted the key in another tab: here its row goes, too, and nothing failed."""
    page = opened.page
    (key_id,) = await add_keys(opened.portal, "laptop")
    await opened.sign_in("alice")
    await choose(page, "laptop", "Delete")
    async with opened.portal.as_person(ALICE) as alice:
        await alice.delete(keys_path(ALICE, key_id))
    await page.locator("[name=confirmation]").fill("laptop")
    await page.locator("dialog .danger").click()
    await expect(page.get_by_text("No keys yet.")).to_be_visible()
    await expect(page.locator("[role=status]", has_text="“laptop” was already deleted.")).to_be_visible()
    await expect(page.get_by_role("alert")).to_have_count(0)


@pytest.mark.parametrize("action", ["Edit", "Rotate", "Block", "Save"])
async def test_what_was_deleted_meanwhile_goes_from_view(opened: Opened, action: str) -> None:
    """Whatever else is done to a key that another tab deleted: the page says so, and its row goes."""
    page = opened.page
    keys = dict(zip(("laptop", "other"), await add_keys(opened.portal, "laptop", "other"), strict=True))
    await opened.sign_in("alice")
    if action == "Save":
        await choose(page, "laptop", "Edit")
        await page.get_by_label("Budget in USD").fill("7")
    async with opened.portal.as_person(ALICE) as alice:
        await alice.delete(keys_path(ALICE, keys["laptop"]))
    if action != "Save":
        await choose(page, "laptop", action)
    if action in {"Rotate", "Save"}:
        await page.locator("dialog .primary").click()
    await expect(page.get_by_text("“laptop” was deleted meanwhile.")).to_be_visible()
    await expect(page.locator("dialog[open]")).to_have_count(0)
    await expect(page.locator("tbody .name")).to_have_text(["other"])
    await expect(page.get_by_role("button", name=re.compile("again", re.IGNORECASE))).to_have_count(0)


async def test_only_blocking_is_painted_before_it_is_done(opened: Opened) -> None:
    """An unblock that is under way or refused never shows a key as active: an admin has blocked it meanwhile."""
    page = opened.page
    (key_id,) = await add_keys(opened.portal, "laptop")
    async with opened.portal.as_person(ALICE) as alice:
        await alice.patch(keys_path(ALICE, key_id), json={"blocked": True})
    await opened.sign_in("alice")
    await expect(page.locator(STATUS)).to_have_text("Blocked")
    async with opened.portal.as_person(BOB) as bob:
        await bob.patch(keys_path(ALICE, key_id), json={"blocked": True})
    await page.evaluate(
        """globalThis.seen = [];
        new MutationObserver(() => seen.push(document.querySelector('tbody .pill')?.textContent))
            .observe(document.body, {subtree: true, childList: true, characterData: true});"""
    )
    await choose(page, "laptop", "Unblock")
    notice = page.get_by_role("alert")
    await expect(notice).to_contain_text("“laptop” was not unblocked. Only an admin may unblock a key")
    await expect(notice.get_by_role("button", name="Unblock again")).to_have_count(0)
    assert "Active" not in await page.evaluate("seen")


@pytest.mark.parametrize(
    ("reason", "word", "may_unblock"),
    [
        ("owner", "Blocked", {"alice", "bob"}),
        ("admin", "Blocked by an admin", {"bob"}),
        ("report", "Reported as leaked", set[str]()),
        ("offboarding", "Blocked: leaving", {"bob"}),
        ("something-new", "Blocked", {"bob"}),
    ],
)
async def test_why_a_key_is_blocked(opened: Opened, reason: str, word: str, may_unblock: set[str]) -> None:
    """By whom and since when; Unblock is offered to those who may."""
    page = opened.page
    await add_keys(opened.portal, "laptop")
    await blocked_by(opened, reason)
    for person, route in (("alice", ""), ("bob", "#/users/user:default/alice")):
        await page.goto("about:blank")
        await opened.sign_in(person, route)
        await expect(page.locator(STATUS)).to_have_text(word)
        await expect(page.locator(STATUS)).to_have_attribute("title", re.compile("3 November 2026"))
        await page.get_by_role("button", name="Actions for laptop").click()
        offered = await page.get_by_role("menuitem").all_inner_texts()
        assert ("Unblock" in offered) is (person in may_unblock)
        assert "Block" not in offered


async def blocked_by(opened: Opened, reason: str) -> None:
    """The only key is blocked, as a service says that knows why."""
    (row,) = opened.portal.litellm.rows.keys.values()
    row["blocked"] = True

    async def described(route: Route) -> None:
        response = await route.fetch()
        body = await response.json()
        body["keys"] = [key | {"blockedBy": reason, "blockedAt": "2026-11-03T10:00:00Z"} for key in body["keys"]]
        await route.fulfill(response=response, json=body)

    await opened.page.route(
        re.compile("/keys$"), lambda route: described(route) if route.request.method == "GET" else route.continue_()
    )


@pytest.mark.parametrize("how", ["owner", "expired"])
async def test_a_key_that_does_not_work_is_not_rotated(opened: Opened, how: str) -> None:
    """The API refuses it, so the page does not offer it, and promises nothing about an old key that goes on working."""
    page = opened.page
    (key_id,) = await add_keys(opened.portal, "laptop")
    if how == "expired":
        opened.portal.litellm.rows.keys[key_id]["expires"] = "2020-01-01T00:00:00Z"
    else:
        await blocked_by(opened, how)
    await opened.sign_in("alice")
    await page.get_by_role("button", name="Actions for laptop").click()
    assert "Rotate" not in " ".join(await page.get_by_role("menuitem").all_inner_texts())


async def test_a_reported_key_is_rotated_without_an_overlap(opened: Opened) -> None:
    """It does not work now, and the page does not promise that it will."""
    page, portal = opened.page, opened.portal
    await opened.sign_in("alice")
    secret = await create(page, "laptop")
    await page.get_by_role("button", name="I saved the key").click()
    async with portal.as_person(BOB) as bob:
        assert (await bob.post(f"{BASE}/keys/report", json={"key": secret})).status_code == 202
    await blocked_by(opened, "report")
    await page.goto("about:blank")
    await opened.sign_in("alice")
    await choose(page, "laptop", "Rotate")
    await expect(page.get_by_label("Overlap")).to_have_count(0)
    await page.get_by_role("button", name="Rotate: the old key stays blocked").click()
    await expect(page.locator("[data-secret]")).to_be_visible()


async def test_a_second_rotation_warns(opened: Opened) -> None:
    """The key before the key still works: it stops at once, and the page says so before."""
    page = opened.page
    await opened.sign_in("alice")
    await create(page, "laptop")
    await choose(page, "laptop", "Rotate")
    await page.locator("dialog .primary").click()
    await expect(page.locator("tbody tr")).to_have_count(2)
    await page.locator("tbody tr", has_text="Active").get_by_role("button").click()
    await page.get_by_role("menuitem", name="Rotate").click()
    await expect(page.locator("dialog[open]")).to_contain_text("That older key stops working within 60 s.")


@pytest.mark.parametrize(("choice", "query"), [("Keep it", ""), ("Delete it, too", "?replaced=delete")])
async def test_deleting_a_replacement_offers_to_keep_the_old_key(opened: Opened, choice: str, query: str) -> None:
    """By default it is kept, as long as it would have worked."""
    page, sent = opened.page, list[str]()
    await opened.sign_in("alice")
    await create(page, "laptop")
    await choose(page, "laptop", "Rotate")
    await page.locator("dialog .primary").click()
    await expect(page.locator("tbody tr")).to_have_count(2)

    async def deleted(route: Route) -> None:
        if route.request.method != "DELETE":
            return await route.continue_()
        sent.append(route.request.url)
        return await route.fulfill(status=204)

    await page.route(re.compile("/keys/[0-9a-f]{64}"), deleted)
    await page.locator("tbody tr", has_text="Active").get_by_role("button").click()
    await page.get_by_role("menuitem", name="Delete").click()
    await expect(page.get_by_label("Keep it")).to_be_checked()
    await page.get_by_label(choice).check()
    await page.locator("[name=confirmation]").fill("laptop")
    await page.locator("dialog .danger").click()
    await expect(page.locator("dialog[open]")).to_have_count(0)
    assert [url.partition("/keys/")[2][64:] for url in sent] == [query]


async def test_without_usage_the_keys_are_there(opened: Opened) -> None:
    """Its tile says what is missing, and asks again."""
    page = opened.page
    await add_keys(opened.portal, "laptop")
    await page.route(re.compile("/usage$"), lambda route: route.fulfill(status=503, json={"error": {"message": "no"}}))
    await opened.sign_in("alice")
    tile = page.locator(".tile", has_text="Budget renews")
    await expect(tile).to_contain_text("not available")
    await expect(page.locator("tbody .name")).to_have_text("laptop")
    await page.unroute(re.compile("/usage$"))
    await tile.get_by_role("button", name="Try again").click()
    await expect(tile).to_have_text(re.compile(r"^Budget renews\s*\d{1,2} [A-Z][a-z]{2}"))


async def test_without_models_the_keys_are_there(opened: Opened) -> None:
    """The form says that the list of models is missing; a key can be made without it, and blocked."""
    page = opened.page
    await add_keys(opened.portal, "laptop")
    await page.route(re.compile("/models$"), lambda route: route.fulfill(status=503, json={}))
    await opened.sign_in("alice")
    await expect(page.locator("tbody .name")).to_have_text("laptop")
    await choose(page, "laptop", "Block")
    await expect(page.locator(STATUS)).to_have_text("Blocked")
    await describe(page, "second")
    await expect(page.locator("dialog[open]")).to_contain_text("The list of models is not available")
    await page.locator("dialog .primary").click()
    await expect(page.locator("tbody tr")).to_have_count(2)


async def test_a_dialog_names_what_failed(opened: Opened) -> None:
    """Creation, deletion, rotation, limits: each says what was not done, and keeps what was typed."""
    page = opened.page
    await add_keys(opened.portal, "laptop")
    await opened.sign_in("alice")
    await page.route(re.compile("/keys"), fail_writes)
    alert = page.locator("dialog[open]").get_by_role("alert")
    await describe(page, "typed")
    await page.locator("dialog .primary").click()
    await expect(alert).to_contain_text("The key was not created. no")
    await expect(page.locator("[name=alias]")).to_have_value("typed")
    await page.keyboard.press("Escape")
    await choose(page, "laptop", "Rotate")
    await page.locator("dialog .primary").click()
    await expect(alert).to_contain_text("“laptop” was not rotated. no")
    await page.keyboard.press("Escape")
    await choose(page, "laptop", "Delete")
    await page.locator("[name=confirmation]").fill("laptop")
    await page.locator("dialog .danger").click()
    await expect(alert).to_contain_text("“laptop” was not deleted. no")


TOO_MANY = {"error": {"name": "RateLimitedError", "message": "At most 30 requests in 60 s. Retry after 2 s."}}


async def refuse_once(page: Page, sent: list[str]) -> None:
    """The first new key is one too many in this minute, as the service says that."""

    async def refused(route: Route) -> None:
        if route.request.method != "POST":
            return await route.continue_()
        sent.append(route.request.post_data or "")
        if len(sent) > 1:
            return await route.continue_()
        return await route.fulfill(status=429, json=TOO_MANY, headers={"Retry-After": "2"})

    await page.route(re.compile("/keys$|/regenerate$"), refused)


@pytest.mark.parametrize("action", ["create", "rotate"])
async def test_too_many_new_keys_wait_and_are_made(opened: Opened, action: str) -> None:
    """The dialog says why and how long, and then makes the key, with what is typed by then."""
    page, sent = opened.page, list[str]()
    await add_keys(opened.portal, "laptop")
    await opened.sign_in("alice")
    await refuse_once(page, sent)
    await (describe(page, "patient") if action == "create" else choose(page, "laptop", "Rotate"))
    await page.locator("dialog .primary").click()
    dialog = page.locator("dialog[open]")
    await expect(dialog.get_by_role("alert")).to_have_text("Too many new keys in a minute.")
    await expect(dialog.get_by_role("timer")).to_have_text(re.compile("^Trying again in [12] s[.]$"))
    await expect(dialog.locator(".primary")).to_be_disabled()
    if action == "create":
        await page.locator("[name=alias]").fill("patience")
    await page.locator("[data-secret]").wait_for()
    assert len(sent) == 2
    assert ("patience" in sent[1]) is (action == "create")


async def test_what_was_asked_too_often_is_said_in_a_notice(opened: Opened) -> None:
    """Where there is no dialog to wait in: what was not done, and when it can be."""
    page = opened.page
    await add_keys(opened.portal, "laptop")
    await opened.sign_in("alice")
    refusal = {"status": 429, "json": TOO_MANY, "headers": {"Retry-After": "2"}}
    await page.route(ONE_KEY, lambda route: route.fulfill(**refusal))
    await choose(page, "laptop", "Block")
    said = "“laptop” was not blocked. Too many requests in a minute. Try again in 2 s."
    await expect(page.get_by_role("alert")).to_contain_text(said)
    await page.unroute(ONE_KEY)
    await page.get_by_role("button", name="Block again").click()
    await expect(page.locator(STATUS)).to_have_text("Blocked")


async def test_what_waits_can_be_cancelled(opened: Opened) -> None:
    """Then it is not sent any more."""
    page, sent = opened.page, list[str]()
    await opened.sign_in("alice")
    await refuse_once(page, sent)
    await describe(page, "hasty")
    await page.locator("dialog .primary").click()
    await expect(page.get_by_role("timer")).to_be_visible()
    await page.locator("dialog[open]").get_by_role("button", name="Cancel").click()
    await page.wait_for_timeout(2500)
    assert len(sent) == 1
    assert opened.portal.litellm.rows.keys == {}


async def fail_writes(route: Route) -> None:
    """As a LiteLLM that is down."""
    if route.request.method == "GET":
        return await route.continue_()
    return await route.fulfill(status=503, json={"error": {"message": "no"}})


async def test_an_export_is_tried_again(opened: Opened) -> None:
    """The button of its notice exports."""
    page = opened.page
    await add_keys(opened.portal, "laptop")
    await opened.sign_in("bob", "#/audit")
    export = re.compile("/audit[?]limit=100")
    await page.route(export, lambda route: route.abort())
    await page.get_by_role("button", name="Download CSV").click()
    notice = page.get_by_role("alert")
    await expect(notice).to_contain_text("The file was not made.")
    await page.unroute(export)
    async with page.expect_download():
        await notice.get_by_role("button", name="Export again").click()


async def test_more_is_tried_again(opened: Opened) -> None:
    """From where the list ended, not from its beginning."""
    page = opened.page
    async with opened.portal.as_person(BOB) as bob:
        for budget in range(1, 71):
            await bob.patch(user_path(BOB), json={"maxBudget": budget})
    await opened.sign_in("bob", "#/audit")
    await expect(page.locator("tbody tr")).to_have_count(50)
    await page.route(re.compile("cursor="), lambda route: route.abort())
    await page.get_by_role("button", name="Show more").click()
    notice = page.get_by_role("alert")
    await expect(notice).to_contain_text("The next rows were not loaded.")
    await expect(page.locator("tbody tr")).to_have_count(50)
    await page.unroute(re.compile("cursor="))
    await notice.get_by_role("button", name="Show more").click()
    await expect(page.locator("tbody tr")).to_have_count(70)


async def gone(page: Page, module: str) -> None:
    await page.route(re.compile(f"/{module}[.]js$"), lambda route: route.fulfill(status=404))


async def test_a_module_that_is_gone_after_a_deployment(opened: Opened) -> None:
    """The link is marked, a sentence says why there is nothing, and Reload asks first while a secret is not saved."""
    page = opened.page
    asked = stay(page)
    await opened.sign_in("bob")
    await create(page, "laptop")
    await gone(page, "users-view")
    await page.get_by_role("link", name="Users").click()
    await expect(page.get_by_role("link", name="Users")).to_have_attribute("aria-current", "page")
    notice = page.get_by_role("alert")
    await expect(notice).to_contain_text("could not be loaded")
    await expect(page.locator("[data-secret]")).to_be_visible()
    await notice.get_by_role("button", name="Reload").click()
    await expect(page.locator("[data-secret]")).to_be_visible()
    assert asked == ["beforeunload"]
    await page.get_by_role("button", name="I saved the key").click()
    await page.unroute(re.compile("/users-view[.]js$"))
    await notice.get_by_role("button", name="Reload").click()
    await page.get_by_role("button", name="bob").click()
    await expect(page.get_by_role("heading", name="Users")).to_be_visible()


async def test_a_slow_module_shows_at_once_where_it_leads(opened: Opened) -> None:
    """The link is marked, and a skeleton is there."""
    page = opened.page
    await opened.sign_in("bob")

    module = await hold(page, re.compile("/audit-view[.]js$"))
    await page.get_by_role("link", name="Audit log").click()
    await expect(page.get_by_role("link", name="Audit log")).to_have_attribute("aria-current", "page")
    await expect(page.locator(".skeleton")).to_be_visible()
    await module.asked.wait()
    module.released.set()
    await expect(page.get_by_role("heading", name="Audit log")).to_be_visible()
