"""What is typed is understood, and two who change the same thing are asked only about what collides."""

from __future__ import annotations

import csv
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.conftest import ALICE, keys_path, user_path
from tests.console.conftest import Opened, choose, create, describe, hold, spent

pytestmark = pytest.mark.console


async def edited(opened: Opened, theirs: dict[str, Any]) -> str:
    """Alice's dialog over a key that she changes elsewhere while it is open. Returns the path of the key."""
    async with opened.portal.as_person(ALICE) as alice:
        body = {"alias": "laptop", "maxBudget": 5}
        key_id = (await alice.post(keys_path(ALICE), json=body)).json()["keyId"]
        await opened.sign_in("alice")
        await choose(opened.page, "laptop", "Edit")
        await opened.page.get_by_label("Budget in USD").wait_for()
        assert (await alice.patch(keys_path(ALICE, key_id), json=theirs)).status_code == 200
    return str(keys_path(ALICE, key_id))


async def row_of(opened: Opened, path: str) -> dict[str, Any]:
    async with opened.portal.as_person(ALICE) as alice:
        return dict((await alice.get(path)).json())


async def save(page: Page) -> None:
    await page.locator("dialog .primary").click()


async def test_what_does_not_collide_is_saved(opened: Opened) -> None:
    """Their new name and my new budget; also if both made the same change."""
    page = opened.page
    path = await edited(opened, {"alias": "desk", "rpmLimit": 9})
    await page.get_by_label("Budget in USD").fill("7")
    await page.get_by_label("Requests per minute").fill("9")
    await save(page)
    await expect(page.locator("dialog[open]")).to_have_count(0)
    await expect(page.locator("tbody .name")).to_have_text("desk")
    row = await row_of(opened, path)
    assert (row["key_alias"], row["max_budget"], row["rpm_limit"]) == ("desk", 7, 9)


@pytest.mark.parametrize(("answer", "budget"), [("Keep theirs", 9), ("Use mine", 7)])
async def test_only_collisions_are_asked_about(opened: Opened, answer: str, budget: int) -> None:
    """With what was before, theirs and mine; the rest of mine is kept either way. Both answers are in sight."""
    page = opened.page
    path = await edited(opened, {"maxBudget": 9})
    await page.get_by_label("Budget in USD").fill("7")
    await page.get_by_label("Requests per minute").fill("30")
    await save(page)
    cells = page.locator(".compare tbody tr").locator("th, td")
    await expect(cells).to_have_text(["Budget in USD", "5", "9", "7"])
    for button in ("Keep theirs", "Use mine"):
        await expect(page.get_by_role("button", name=button)).to_be_in_viewport()
    await page.get_by_role("button", name=answer).click()
    await expect(page.locator("dialog[open]")).to_have_count(0)
    row = await row_of(opened, path)
    assert (row["max_budget"], row["rpm_limit"]) == (budget, 30)


@pytest.mark.parametrize(("typed", "read"), [("12,5", "$12.50"), ("1,000", "$1,000.00"), ("0.5", "$0.50")])
async def test_a_budget_is_read_as_it_is_meant(opened: Opened, typed: str, read: str) -> None:
    """A comma is a point, or stands between thousands; how it is understood stands under the field."""
    await opened.sign_in("alice")
    await describe(opened.page, "comma")
    budget = opened.page.get_by_label("Budget in USD")
    await budget.press_sequentially(typed)
    await expect(opened.page.locator(".field", has=budget)).to_contain_text(read)


async def test_what_is_no_number_is_not_sent(opened: Opened) -> None:
    """It is marked where it was typed."""
    page = opened.page
    await opened.sign_in("alice")
    await describe(page, "words")
    await page.get_by_label("Budget in USD").fill("a lot")
    await expect(page.get_by_label("Budget in USD")).to_have_attribute("aria-invalid", "true")
    await expect(page.locator("dialog .primary")).to_be_disabled()


async def test_at_most_is_the_lowest_limit_that_applies(opened: Opened) -> None:
    """The owner's own budget and rate, where they are below the tier's; what a key had before may stay."""
    page = opened.page
    async with opened.portal.as_person(ALICE) as alice:
        body = {"alias": "generous", "maxBudget": 50, "rpmLimit": 90}
        key_id = (await alice.post(keys_path(ALICE), json=body)).json()["keyId"]
    opened.portal.litellm.rows.users[ALICE] |= {"max_budget": 10.0, "rpm_limit": 60}
    for person, route in (("alice", ""), ("bob", "#/users/user:default/alice")):
        await page.goto("about:blank")
        await opened.sign_in(person, route)
        await describe(page, "modest")
        for name, most, above in (("Budget in USD", "$10.00", "11"), ("Requests per minute", "60", "61")):
            field = page.get_by_label(name)
            await expect(page.locator(".field", has=field)).to_contain_text(f"At most {most}.")
            await field.fill(above)
            await expect(field).to_have_attribute("aria-invalid", "true")
            await expect(page.locator("dialog .primary")).to_be_disabled()
            await field.fill("")
        await page.keyboard.press("Escape")
    await choose(page, "generous", "Edit")
    await page.locator("[name=alias]").fill("renamed")
    await save(page)
    await expect(page.locator("dialog[open]")).to_have_count(0)
    assert (await row_of(opened, keys_path(ALICE, key_id)))["key_alias"] == "renamed"


@pytest.mark.parametrize("present", ["1mo", "30d"])
async def test_a_budget_of_a_month_says_on_which_day_it_renews(opened: Opened, present: str) -> None:
    """LiteLLM takes 30 days for a month: there is one choice for both, and it keeps what was there."""
    page = opened.page
    async with opened.portal.as_person(ALICE) as alice:
        await alice.post(keys_path(ALICE), json={"alias": "laptop", "maxBudget": 5, "budgetDuration": present})
    await opened.sign_in("alice")
    await choose(page, "laptop", "Edit")
    renews = page.get_by_label("Budget renews")
    await expect(renews.locator("option")).to_have_text(["never", "daily", "weekly", "monthly, on the 1st"])
    await expect(renews).to_have_value(present)


async def test_any_name_is_a_name(opened: Opened) -> None:
    """The form says nothing else, and the API takes it: umlauts, colons, quotes, an end that is no letter."""
    page = opened.page
    await opened.sign_in("alice")
    for alias in ("Prüfschlüssel", "prod:eu", "my_key_", "O'Brien laptop"):
        await create(page, alias)
        await expect(page.locator("dialog[open]")).to_have_count(0)
    await describe(page, "hint")
    await expect(page.locator(".field", has=page.locator("[name=alias]"))).not_to_contain_text("letters")


async def test_saving_nothing_sends_nothing(opened: Opened) -> None:
    """The dialog closes."""
    page = opened.page
    await edited(opened, {})
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method))
    await save(page)
    await expect(page.locator("dialog[open]")).to_have_count(0)
    assert "PATCH" not in sent


async def test_no_limit_is_asked_about(opened: Opened) -> None:
    """Emptying the budget of a user says what it means, and is not one key press."""
    page = opened.page
    async with opened.portal.as_person(ALICE) as alice:
        await alice.get(user_path(ALICE))
    await opened.sign_in("bob", "#/users/user:default/alice")
    await page.get_by_role("button", name="Change limits").click()
    budget = page.get_by_label("Budget in USD")
    await expect(page.locator(".field", has=budget)).to_contain_text("Empty means no limit.")
    await budget.fill("")
    await expect(page.locator("dialog .primary")).to_be_disabled()
    await page.get_by_label("no limit to what this user may spend").check()
    await save(page)
    await expect(page.locator("dialog[open]")).to_have_count(0)
    assert opened.portal.litellm.rows.users[ALICE]["max_budget"] is None


async def test_an_admin_sees_who_cannot_call(opened: Opened) -> None:
    """In the list and on the page of a user, also before the service has looked at everybody again."""
    page = opened.page
    await spent(opened.portal, days=1)
    opened.portal.litellm.rows.users[ALICE] |= {"max_budget": 0.0, "spend": 0.0}
    await opened.sign_in("bob", "#/users")
    await expect(page.locator("tbody tr", has_text=ALICE).locator(".pill")).to_have_text("Over budget")
    await page.locator("tbody tr", has_text=ALICE).get_by_role("link").click()
    await expect(page.locator("user-view > .summary .pill")).to_have_text("Over budget")


async def test_the_file_has_a_row_for_each_day_and_group(opened: Opened) -> None:
    """It names the user and the period, calls the id of a key what it is, and has no dust of floats."""
    page = opened.page
    await spent(opened.portal, days=3)
    await opened.sign_in("alice", "#/spending")
    await page.get_by_text("Key", exact=True).click()
    await expect(page.locator("figcaption")).to_contain_text("laptop")
    async with page.expect_download() as downloading:
        await page.get_by_role("button", name="Download CSV").click()
    download = await downloading.value
    assert download.suggested_filename.startswith("spending-user-default-alice-by-key-")
    saved = list(csv.DictReader((await download.path()).read_text().splitlines()))
    assert set(saved[0]) == {"day", "key_id", "alias", "usd"}
    assert len({(row["day"], row["key_id"]) for row in saved}) == len(saved) == 2 + 4 + 4
    assert max(len(row["usd"].partition(".")[2]) for row in saved) <= 6


@asynccontextmanager
async def before(opened: Opened, answer: str) -> AsyncIterator[None]:
    """Alice is signed in, and the page still waits for an answer, which comes at the end."""
    held = await hold(opened.page, re.compile(f"/{answer}$"))
    await opened.sign_in("alice")
    async with opened.page.expect_response(re.compile(f"/{answer}$")):
        yield
        held.released.set()


async def test_a_form_lists_the_models_that_come_later(opened: Opened) -> None:
    """What was chosen and typed until then stays: each choice stays with its model."""
    page = opened.page
    async with opened.portal.as_person(ALICE) as alice:
        body = {"alias": "early", "models": ["gpt-fake"]}
        key_id = (await alice.post(keys_path(ALICE), json=body)).json()["keyId"]
    async with before(opened, "models"):
        await choose(page, "early", "Edit")
        await expect(page.locator("dialog[open]")).to_contain_text("The list of models is not available")
        await page.get_by_label("gpt-fake").uncheck()
        await page.get_by_label("Requests per minute").fill("7")
    await expect(page.locator("dialog[open]")).to_contain_text("Leave empty to allow every model")
    await page.get_by_label("claude-fake").check()
    await expect(page.get_by_label("gpt-fake")).not_to_be_checked()
    await save(page)
    await expect(page.locator("dialog[open]")).to_have_count(0)
    row = await row_of(opened, keys_path(ALICE, key_id))
    assert (row["models"], row["rpm_limit"]) == (["claude-fake"], 7)


async def test_a_rotation_that_began_before_the_models_came_shows_one(opened: Opened) -> None:
    """The code for the new key calls a model that is served."""
    page = opened.page
    async with opened.portal.as_person(ALICE) as alice:
        await alice.post(keys_path(ALICE), json={"alias": "early"})
    async with before(opened, "models"):
        await choose(page, "early", "Rotate")
    await save(page)
    await expect(page.get_by_role("tabpanel")).to_contain_text(re.compile(r'"model": "(claude|gpt)-fake"'))


async def test_a_form_says_when_the_budget_renews_once_that_is_known(opened: Opened) -> None:
    """A new key of somebody whose budget is used up cannot call until then."""
    page, users = opened.page, opened.portal.litellm.rows.users
    async with opened.portal.as_person(ALICE) as alice:
        await alice.get(user_path(ALICE))
    users[ALICE] |= {"spend": 10.4, "max_budget": 10.0}
    notice = page.locator("dialog[open] .notice")
    async with before(opened, "usage"):
        await describe(page, "another")
        await expect(notice).to_contain_text("until it is raised")
    await expect(notice).to_contain_text(re.compile(r"Calls fail until \d+ \w+\."))
