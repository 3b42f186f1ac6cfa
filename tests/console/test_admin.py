"""Spending, and what only admins see: users, off-boarding, the audit log, health."""

from __future__ import annotations

import asyncio
import csv
import json
import re
from dataclasses import replace
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

from tests.conftest import ALICE, CAROL, keys_path, user_path
from tests.console.conftest import Configure, Opened, spent
from tests.support.keys import chat

pytestmark = pytest.mark.console


@pytest.fixture
def configured() -> Configure:
    """Who leaves keeps their user for seven days, blocked."""
    return lambda settings: replace(settings, cleanup=replace(settings.cleanup, grace_period=7 * 86400))


async def cells(page: Page) -> list[list[str]]:
    """The rows of the first table."""
    rows = await page.locator("table").first.locator("tbody tr").all()
    return [[(await cell.inner_text()).strip() for cell in await row.locator("td").all()] for row in rows]


async def test_the_chart_and_the_table_have_the_same_numbers(opened: Opened) -> None:
    """By model, by key and by day; the file has them, too."""
    page = opened.page
    await spent(opened.portal, days=9)
    counted = [call.metrics for call in opened.portal.litellm.rows.usage.calls]
    calls, usd = sum(row["api_requests"] for row in counted), sum(row["spend"] for row in counted)
    assert usd == pytest.approx(opened.portal.litellm.rows.users[ALICE]["spend"])
    await opened.sign_in("alice", "#/spending")
    await page.locator(".chart").wait_for()
    drawn = [float(text.rpartition("$")[2]) for text in await page.locator(".chart title").all_text_contents()]
    assert sum(drawn) == pytest.approx(usd, abs=0.01 * len(drawn))
    rows = await cells(page)
    assert {row[0] for row in rows} == {"gpt-fake", "claude-fake"}
    assert sum(int(row[2].replace(",", "")) for row in rows) == calls
    await page.get_by_text("Key", exact=True).click()
    await expect(page.locator("figcaption")).to_contain_text("laptop")
    async with page.expect_download() as downloading:
        await page.get_by_role("button", name="Download CSV").click()
    path = await (await downloading.value).path()
    saved = list(csv.DictReader(path.read_text().splitlines()))
    assert {row["alias"] for row in saved} == {"laptop", "ci", "notebook", "a".ljust(64, "b")}
    assert sum(float(row["usd"]) for row in saved) == pytest.approx(usd)


async def test_the_time_that_the_chart_shows(opened: Opened) -> None:
    """The last week, or as much as a year; a slow answer for one does not replace the next one's."""
    page = opened.page
    await spent(opened.portal, days=20)
    await opened.sign_in("alice", "#/spending")
    released, held = asyncio.Event(), []

    async def hold_the_first(route: Route) -> None:
        held.append(route.request.url)
        if len(held) == 1:
            await released.wait()
        await route.continue_()

    await page.route(re.compile("/usage[?].*groupBy=day"), hold_the_first)
    await page.get_by_label("Period").select_option("365")
    await page.get_by_label("Period").select_option("7")
    tile = page.locator(".tile", has_text="(UTC)")
    await expect(tile).to_contain_text("Last 7 days")
    async with page.expect_response(held[0]):
        released.set()
    await expect(tile).to_contain_text("Last 7 days")
    usage = opened.portal.litellm.rows.usage
    week = sorted({call.day for call in usage.calls})[-7:]
    calls = sum(call.metrics["api_requests"] for call in usage.calls if call.day in week)
    assert sum(int(row[2].replace(",", "")) for row in await cells(page)) == calls


async def test_nothing_spent_yet(opened: Opened) -> None:
    """An empty page says what to do."""
    await opened.sign_in("alice", "#/spending")
    await expect(opened.page.get_by_text("Nothing spent in this time.")).to_be_visible()


async def with_alice(opened: Opened) -> str:
    """Alice has a key; its secret."""
    async with opened.portal.as_person(ALICE) as alice:
        return str((await alice.post(keys_path(ALICE), json={"alias": "laptop"})).json()["keySecret"])


async def test_bob_finds_alice_and_changes_her_limits(opened: Opened) -> None:
    """By search; each row is a link that can be sent."""
    page = opened.page
    await with_alice(opened)
    await opened.sign_in("bob", "#/users")
    await page.get_by_label("Search by id, name or e-mail address").fill("alice@example")
    await page.get_by_role("link", name="Alice").click()
    assert page.url.endswith("#/users/user:default/alice")
    await page.get_by_role("button", name="Change limits").click()
    await page.get_by_label("Budget in USD").fill("7.5")
    await page.locator("dialog .primary").click()
    await expect(page.locator("dialog[open]")).to_have_count(0)
    await expect(page.locator("keys-view .tile").first).to_contain_text("of $7.50")
    assert opened.portal.litellm.rows.users[ALICE]["max_budget"] == 7.5


async def test_bob_resets_what_alice_spent(opened: Opened) -> None:
    """The dialog says what that means."""
    page, users = opened.page, opened.portal.litellm.rows.users
    await with_alice(opened)
    users[ALICE]["spend"] = 12.5
    await opened.sign_in("bob", "#/users/user:default/alice")
    await page.get_by_role("button", name="Reset spend").click()
    await expect(page.locator("dialog[open]")).to_contain_text("The $12.50 of this period become $0.00")
    await page.locator("dialog .danger").click()
    await expect(page.locator("keys-view .tile").first).to_contain_text("$0.00")
    assert users[ALICE]["spend"] == 0


async def test_two_admins_change_the_same_limits(opened: Opened) -> None:
    """The second sees both versions, and decides."""
    page, users = opened.page, opened.portal.litellm.rows.users
    await with_alice(opened)
    await opened.sign_in("bob", "#/users/user:default/alice")
    await page.get_by_role("button", name="Change limits").click()
    await page.get_by_label("Budget in USD").fill("7")
    async with opened.portal.as_person("user:default/bob") as bob:
        assert (await bob.patch(user_path(ALICE), json={"maxBudget": 9, "rpmLimit": 60})).status_code == 200
    await page.locator("dialog .primary").click()
    await expect(page.locator(".compare tbody tr")).to_have_text([re.compile("Budget in USD.*9.*7", re.DOTALL)])
    assert users[ALICE]["max_budget"] == 9
    await page.get_by_role("button", name="Use mine").click()
    await expect(page.locator("dialog[open]")).to_have_count(0)
    assert (users[ALICE]["max_budget"], users[ALICE]["rpm_limit"]) == (7, 60)


async def test_bob_off_boards_alice(opened: Opened) -> None:
    """The consequences are spelled out, her name is typed, and her key is dead."""
    page = opened.page
    secret = await with_alice(opened)
    await opened.sign_in("bob", "#/users/user:default/alice")
    await page.get_by_role("button", name="Off-board", exact=True).click()
    await expect(page.locator("dialog[open]")).to_contain_text("1 key stops working within 60 s")
    await page.get_by_label("Type alice to confirm").fill("alice")
    await page.get_by_role("button", name="Off-board alice for good").click()
    await page.wait_for_url(re.compile("#/users$"))
    await expect(page.locator("main")).not_to_contain_text("user:default/alice")
    assert ALICE not in opened.portal.litellm.rows.users
    assert await chat(opened.portal.litellm, secret) == 401


async def test_a_plan_is_shown_with_reasons_and_carried_out_by_its_hash(opened: Opened) -> None:
    """Nothing happens before bob has seen it and typed the number of users."""
    page = opened.page
    await with_alice(opened)
    opened.portal.backstage.org.users[ALICE] = set()
    await opened.sign_in("bob", "#/cleanup")
    await expect(page.get_by_text("A run is in progress.")).to_have_count(0)
    await expect(page.locator(".tile", has_text="Grace before deletion")).to_contain_text("7 days")
    await page.get_by_role("button", name="Preview").click()
    row = page.locator("tbody tr", has_text=ALICE)
    await expect(row).to_contain_text("Block the keys")
    await expect(row).to_contain_text("in neither group any more")
    await expect(row).to_contain_text("after 7 days")
    await page.get_by_role("button", name="Carry out this plan for 1 user").click()
    await page.get_by_label("Type 1 to confirm").fill("1")
    await page.locator("dialog .danger").click()
    await expect(page.locator("dialog[open]")).to_have_count(0)
    await expect(page.locator("section.card h2")).to_have_text(re.compile("Run of .* Done"))
    await expect(row).to_contain_text("Keys blocked")
    async with opened.portal.as_person("user:default/bob") as bob:
        assert [row["blocked"] for row in (await bob.get(keys_path(ALICE))).json()["keys"]] == [True]
    await page.get_by_role("button", name="Preview").click()
    await expect(row.first).to_contain_text("On hold")
    await expect(row.first.get_by_text("in 7 days")).to_have_attribute("title", re.compile("20[0-9]{2} at"))


async def test_a_plan_counts_who_waits_for_a_confirmation(opened: Opened) -> None:
    """A confirmation deletes those on hold whom this service did not create, so they are part of the typed number."""
    page = opened.page
    entry = {"reason": "not created by this service", "since": "2026-11-01T00:00:00Z", "until": "2026-11-08T00:00:00Z"}
    entries = [
        entry | {"userId": ALICE, "action": "hold", "whenConfirmed": "delete", "keys": 1},
        entry | {"userId": CAROL, "action": "hold", "whenConfirmed": "hold", "keys": 0},
    ]
    sent: list[Any] = []

    async def planned(route: Route) -> None:
        if route.request.method != "POST":
            await route.fallback()
            return
        sent.append(route.request.post_data_json)
        plan = {"hash": "0" * 64, "refusal": None, "entries": entries}
        about = {"runId": 9, "dryRun": True, "startedAt": "2026-11-01T00:00:00Z", "finishedAt": None, "progress": None}
        await route.fulfill(json=about | {"outcome": "planned", "reason": None, "plan": plan})

    await page.route(re.compile("/cleanup$"), planned)
    await opened.sign_in("bob", "#/cleanup")
    await page.get_by_role("button", name="Preview").click()
    await expect(page.locator("tbody tr", has_text=ALICE)).to_contain_text("once an admin confirms")
    await page.get_by_role("button", name="Carry out this plan for 1 user").click()
    await expect(page.locator("dialog[open]")).to_contain_text(f"{ALICE}: Delete")
    await expect(page.locator("dialog[open]")).not_to_contain_text(CAROL)
    await page.get_by_label("Type 1 to confirm").fill("1")
    await page.locator("dialog .danger").click()
    await expect(page.locator("dialog[open]")).to_have_count(0)
    assert sent[1:] == [{"dryRun": False, "planHash": "0" * 64}]


async def test_the_audit_log_shows_what_changed(opened: Opened) -> None:
    """Before and after; filters narrow it; it can be saved."""
    page = opened.page
    await with_alice(opened)
    async with opened.portal.as_person("user:default/bob") as bob:
        assert (await bob.patch(user_path(ALICE), json={"maxBudget": 5})).status_code == 200
    await opened.sign_in("bob", "#/audit")
    await page.get_by_label("Action").select_option("user.update")
    await expect(page.locator("tbody tr")).to_have_count(1)
    assert (await cells(page))[0][1:4] == ["bob", "user.update", "alice"]
    await expect(page.locator("tbody del")).to_have_text("100")
    await expect(page.locator("tbody ins")).to_have_text("5")
    await page.get_by_label("Actor").fill("user:default/carol")
    await expect(page.get_by_text("Nothing matches.")).to_be_visible()


async def test_the_audit_log_is_saved_as_a_whole(opened: Opened) -> None:
    """With what the page does not show yet, and without what the filters leave out; days are whole ones."""
    page = opened.page
    await with_alice(opened)
    async with opened.portal.as_person("user:default/bob") as bob:
        for budget in range(1, 121):
            assert (await bob.patch(user_path(ALICE), json={"maxBudget": budget})).status_code == 200
    await opened.sign_in("bob", "#/audit")
    await expect(page.locator("tbody tr")).to_have_count(50)
    await page.get_by_role("button", name="Show more").click()
    await expect(page.locator("tbody tr")).to_have_count(100)
    await page.get_by_label("Action").select_option("user.update")
    await expect(page.locator("tbody tr")).to_have_count(50)
    async with page.expect_download() as downloading:
        await page.get_by_role("button", name="Download CSV").click()
    saved = list(csv.DictReader((await (await downloading.value).path()).read_text().splitlines()))
    assert [json.loads(row["after"])["max_budget"] for row in saved] == list(range(120, 0, -1))
    today = await page.evaluate("new Date().toLocaleDateString('sv')")
    await page.get_by_label("Since").fill(today)
    await page.get_by_label("Until").fill(today)
    await page.get_by_label("Action").select_option("key.create")
    await expect(page.locator("tbody tr")).to_have_count(1)
    await page.get_by_label("Since").fill("2019-12-31")
    await page.get_by_label("Until").fill("2020-01-01")
    await expect(page.get_by_text("Nothing matches.")).to_be_visible()


async def test_health_says_what_does_not_work(opened: Opened) -> None:
    """And what that means for those who use it."""
    page = opened.page
    await page.route(
        re.compile("/readiness$"),
        lambda route: route.fulfill(
            status=503,
            json={
                "status": "error",
                "dependencies": {"litellm": "down", "backstage": "up", "database": "up"},
                "circuits": {"litellm": "open", "backstage": "closed"},
            },
        ),
    )
    await opened.sign_in("bob", "#/health")
    tile = page.locator(".tile", has_text="LiteLLM")
    await expect(tile).to_contain_text("Down")
    await expect(tile).to_contain_text(
        "No user or key can be read or changed. The audit log and off-boarding still answer. Calls are paused"
    )


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ({"status": 404}, "The health probes cannot be reached at this address"),
        ({"status": 200, "json": {"status": "ok"}}, "The health probes cannot be reached at this address"),
        ({"status": 200, "content_type": "text/html", "body": "<html>"}, "The health probes cannot be reached at this"),
        ({"status": 502, "body": "Bad gateway"}, "The service answered with status 502."),
    ],
    ids=["nobody", "another-probe", "a-page", "a-gateway"],
)
async def test_health_where_others_answer(opened: Opened, answer: dict[str, Any], sentence: str) -> None:
    """As behind Backstage's proxy plugin: a sentence says why there is nothing to see."""
    await opened.page.route(re.compile("/readiness$"), lambda route: route.fulfill(**answer))
    await opened.sign_in("bob", "#/health")
    await expect(opened.page.get_by_role("alert")).to_contain_text(sentence)


async def test_health_of_a_service_that_is_gone(opened: Opened) -> None:
    """The sentence is ours, not the browser's."""
    await opened.page.route(re.compile("/readiness$"), lambda route: route.abort())
    await opened.sign_in("bob", "#/health")
    await expect(opened.page.get_by_role("alert")).to_contain_text("The service cannot be reached.")


async def test_a_member_sees_nothing_of_it(opened: Opened) -> None:
    """No link, and no view behind its address."""
    page = opened.page
    await opened.sign_in("alice", "#/audit")
    assert await page.locator("nav a").all_inner_texts() == ["Keys", "Spending", "Devices"]
    await expect(page.get_by_text("Only admins see this.")).to_be_visible()
    await expect(page.locator("table")).to_have_count(0)
