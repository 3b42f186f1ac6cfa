"""Numbers and days are true: of what was loaded, in UTC, down to small money, and with what a used-up budget means."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import Page, expect

from tests.conftest import ALICE, keys_path, user_path
from tests.console.conftest import Open, Opened, Portal, hold, spent

pytestmark = pytest.mark.console

USAGE = re.compile("/usage[?]")


async def choose_grouping(page: Page, group: str) -> None:
    await page.locator(".segments").get_by_text(group, exact=True).click()


async def test_every_grouping_follows_every_other(opened: Opened) -> None:
    """Back and forth between days, models and keys; an error in between would fail this test."""
    page = opened.page
    await spent(opened.portal, days=9)
    await opened.sign_in("alice", "#/spending")
    head = page.locator("spending-view th").first
    for group, heading in (("Day", "Day (UTC)"), ("Key", "Key"), ("Model", "Model"), ("Day", "Day (UTC)")):
        await choose_grouping(page, group)
        await expect(head).to_have_text(heading)


async def test_what_is_shown_is_what_is_labelled(opened: Opened) -> None:
    """While another period is read, the old numbers keep their own label, and are dimmed."""
    page = opened.page
    await spent(opened.portal, days=9)
    await opened.sign_in("alice", "#/spending")
    tile = page.locator(".tile", has_text="(UTC)")
    await expect(tile).to_contain_text("Last 30 days (UTC)")

    usage = await hold(page, USAGE)
    await page.get_by_label("Period").select_option("7")
    await usage.asked.wait()
    await expect(page.locator("section.card[aria-busy=true]")).to_be_visible()
    await expect(tile).to_contain_text("Last 30 days (UTC)")
    usage.released.set()
    await expect(tile).to_contain_text("Last 7 days (UTC)")
    await expect(page.locator("[aria-busy=true]")).to_have_count(0)


async def test_what_could_not_be_read_is_not_shown_as_chosen(opened: Opened) -> None:
    """The controls go back, the notice says what is missing, and its button chooses it again."""
    page = opened.page
    await spent(opened.portal, days=9)
    await opened.sign_in("alice", "#/spending")
    await page.route(USAGE, lambda route: route.abort())
    await choose_grouping(page, "Day")
    notice = page.get_by_role("alert")
    await expect(notice).to_contain_text("The last 30 days by day could not be loaded.")
    await expect(page.get_by_label("Model")).to_be_checked()
    await expect(page.locator("spending-view th").first).to_have_text("Model")
    await page.get_by_label("Period").select_option("365")
    await expect(page.get_by_text("The last 365 days by model could not be loaded.")).to_be_visible()
    await expect(page.get_by_label("Period")).to_have_value("30")
    await page.unroute(USAGE)
    await notice.filter(has_text="by day").get_by_role("button", name="Try again").click()
    await expect(page.locator("spending-view th").first).to_have_text("Day (UTC)")
    await expect(page.get_by_role("radio", name="Day")).to_be_checked()


@pytest.mark.parametrize("zone", ["America/Los_Angeles", "Asia/Tokyo", "Pacific/Kiritimati"])
async def test_days_are_utc_everywhere(open_page: Open, portal: Portal, zone: str) -> None:
    """Axis, table and tooltips have the days of the API, whatever the browser's zone."""
    await spent(portal, days=3)
    opened = await open_page(timezone_id=zone)
    page = opened.page
    await opened.sign_in("alice", "#/spending")
    async with page.expect_response(USAGE) as answer:
        await choose_grouping(page, "Day")
    groups = (await (await answer.value).json())["groups"]
    await expect(page.locator("spending-view th").first).to_have_text("Day (UTC)")
    wanted = [int(row["group"].rpartition("-")[2]) for row in groups]
    cells = await page.locator("spending-view tbody tr td:first-child").all_inner_texts()
    assert [int(cell.split()[0]) for cell in cells] == wanted
    tips = await page.locator(".chart title").all_text_contents()
    assert {int(tip.split()[0]) for tip in tips} == set(wanted)


@pytest.mark.parametrize("duration", ["30d", "1mo", "7d", "1h", None])
async def test_what_was_spent_says_since_when(open_page: Open, portal: Portal, duration: str | None) -> None:
    """Since the budget began that renews next, with the keys and in Spending; without a period, so far."""
    async with portal.as_person(ALICE) as alice:
        await alice.get(user_path(ALICE))
    now = datetime.now(UTC)
    ends = {"30d": "2099-03-01", "1mo": "2099-03-01", "7d": "2099-03-08"}
    end = f"{ends[duration]}T00:00:00Z" if duration in ends else (now + timedelta(minutes=30)).isoformat()
    row = portal.litellm.rows.users[ALICE]
    row |= {"budget_duration": duration, "budget_reset_at": end if duration else None}
    opened = await open_page(timezone_id="UTC")
    starts = {"30d": "1 Feb", "1mo": "1 Feb", "7d": "1 Mar", None: "far"}
    wanted = starts.get(duration) or r"(\d+ \w+, )?\d\d:\d\d"
    sentence = re.compile(f"^Spent (since|so) {wanted}$")
    for view in ("keys", "spending"):
        await page_of(opened, view)
        await expect(opened.page.locator(".tile").first.locator("span").first).to_have_text(sentence)


async def page_of(opened: Opened, view: str) -> None:
    await opened.page.goto("about:blank")
    await opened.sign_in("alice", f"#/{view}")


async def test_small_money(opened: Opened) -> None:
    """Less than a hundredth of a cent is not nothing, nearly a cent is a cent, and the exact sum is a tooltip."""
    page = opened.page
    async with opened.portal.as_person(ALICE) as alice:
        for usd in (0.00004, 0.000049, 0.0012, 0.009999, 12.5, 0.0):
            key_id = (await alice.post(keys_path(ALICE), json={"alias": f"k{usd}"})).json()["keyId"]
            opened.portal.litellm.rows.keys[key_id]["spend"] = usd
    await opened.sign_in("alice")
    shown = page.locator("tbody tr td:nth-child(4)")
    await expect(shown).to_have_text(["$0.00", "$12.50", "$0.01", "$0.0012", "<$0.0001", "<$0.0001"])
    titles = [await cell.get_attribute("title") for cell in await shown.all()]
    assert titles == ["", "", "$0.009999", "$0.0012", "$0.000049", "$0.00004"]


async def test_the_lines_of_the_axis_have_the_digits_that_they_need(opened: Opened) -> None:
    """Half of five ten-thousandths is not rounded to three."""
    page = opened.page
    await opened.sign_in("alice")
    opened.portal.litellm.rows.usage.add(ALICE, (await page.evaluate("new Date().toISOString()"))[:10], "gpt-fake", "k")
    await page.get_by_role("link", name="Spending").click()
    labels = page.locator(".chart text[text-anchor=end]")
    await expect(labels).to_have_text(["$0.00000", "$0.00025", "$0.00050"])


async def test_a_key_over_its_budget_says_so(opened: Opened) -> None:
    """LiteLLM refuses its calls: it is not active; also with a budget of nothing."""
    page, rows = opened.page, opened.portal.litellm.rows
    async with opened.portal.as_person(ALICE) as alice:
        for alias, budget in (("fine", 40), ("spent", 40), ("nothing", 0)):
            key_id = (await alice.post(keys_path(ALICE), json={"alias": alias, "maxBudget": budget})).json()["keyId"]
            rows.keys[key_id]["spend"] = 40.9988 if alias == "spent" else 0.0
    await opened.sign_in("alice")
    pills = page.locator("tbody td:nth-child(2) .pill")
    await expect(pills).to_have_text(["Over budget", "Over budget", "Active"])
    await page.get_by_label("Status").select_option("overBudget")
    await expect(page.locator("tbody .name")).to_have_text(["nothing", "spent"])
    await expect(page.get_by_text("is used up")).to_have_count(0)


async def test_a_user_over_their_budget_is_told_everywhere(opened: Opened) -> None:
    """With the keys, which cannot call, and the spending; before another key is made; to an admin, too."""
    page, users = opened.page, opened.portal.litellm.rows.users
    async with opened.portal.as_person(ALICE) as alice:
        await alice.post(keys_path(ALICE), json={"alias": "laptop"})
    users[ALICE] |= {"spend": 10.4, "max_budget": 10.0}
    sentence = page.get_by_text(
        re.compile(r"^Your budget of \$10\.00 is used up\. Calls fail until \d+ \w+\. Ask #llm")
    )
    await opened.sign_in("alice")
    await expect(sentence).to_be_visible()
    await expect(page.locator("tbody .pill")).to_have_text("Over budget")
    await page.keyboard.press("c")
    await expect(page.locator("dialog[open]").get_by_text("is used up")).to_be_visible()
    await page.keyboard.press("Escape")
    await page.get_by_role("link", name="Spending").click()
    await expect(sentence).to_be_visible()
    await page.goto("about:blank")
    await opened.sign_in("bob", "#/users/user:default/alice")
    await expect(page.get_by_text(re.compile(r"^The budget of alice of \$10\.00 is used up\."))).to_have_count(1)
