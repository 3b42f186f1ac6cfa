"""The life of a key in the console: created once, used, rotated, edited, blocked, deleted, reported."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from playwright.async_api import Route, expect

from domain.users import Tier
from settings.model import Settings
from tests.conftest import ALICE, BASE, keys_path
from tests.console.conftest import Configure, Opened, choose, create
from tests.support.keys import chat

pytestmark = pytest.mark.console

STATUS = "tbody td:nth-child(2) .pill"


async def test_alice_gets_a_key_and_the_code_to_use_it(opened: Opened) -> None:
    """The secret is shown once, in ready-to-paste snippets with the address of LiteLLM; it works."""
    page = opened.page
    await opened.sign_in("alice")
    await expect(page.get_by_text("No keys yet.")).to_be_visible()
    secret = await create(page, "laptop")
    assert await chat(opened.portal.litellm, secret) == 200
    for tool, mentions in {
        "curl": "Bearer",
        "Python": "OpenAI(",
        "JavaScript": "baseURL",
        "LangChain": "ChatOpenAI",
        "Claude Code": "ANTHROPIC_BASE_URL",
    }.items():
        await page.get_by_role("tab", name=tool).click()
        code = await page.get_by_role("tabpanel").inner_text()
        assert secret in code
        assert "https://llm.example.com" in code
        assert mentions in code
    await page.get_by_role("button", name="I saved the key").click()
    assert secret not in await page.content()
    await page.reload()
    await page.get_by_role("button", name="alice").click()
    await expect(page.locator("tbody tr")).to_have_count(1)
    assert secret not in await page.content()


async def test_the_code_calls_a_model_that_the_key_may_call(opened: Opened) -> None:
    """Also after a rotation."""
    page = opened.page
    async with page.expect_response("**/models"):
        await opened.sign_in("alice")
    await page.keyboard.press("c")
    await page.locator("[name=alias]").fill("one model")
    await page.get_by_label("claude-fake").check()
    await page.locator("dialog .primary").click()
    await expect(page.get_by_role("tabpanel")).to_contain_text('"model": "claude-fake"')
    await page.get_by_role("button", name="I saved the key").click()
    await choose(page, "one model", "Rotate")
    await page.locator("dialog .primary").click()
    await expect(page.locator("tbody tr")).to_have_count(2)
    await expect(page.get_by_role("tabpanel")).to_contain_text('"model": "claude-fake"')


async def test_a_key_that_ends_soon_says_so(opened: Opened) -> None:
    """In its status, which is there on a phone, too; from 14 days before, and as a countdown on the last day."""
    page = opened.page
    async with opened.portal.as_person(ALICE) as alice:
        for alias, days in (("far", 15), ("near", 13), ("today", 0.5)):
            await alice.post(keys_path(ALICE), json={"alias": alias, "expiresIn": int(days * 86400)})
    await opened.sign_in("alice")
    row = page.locator("tbody tr")
    await expect(row.filter(has_text="far").locator(".pill")).to_have_text("Active")
    await expect(row.filter(has_text="near").locator(".pill")).to_have_text(re.compile(r"^Ends \d+ \w+$"))
    await expect(row.filter(has_text="today").locator(".pill")).to_have_text("Ends in 12 h")


async def test_an_edit_keeps_models_that_are_not_served(opened: Opened) -> None:
    """They are shown, and stay unless they are taken away."""
    page, rows = opened.page, opened.portal.litellm.rows
    await opened.sign_in("alice")
    await create(page, "old")
    key_id = next(iter(rows.keys))
    rows.keys[key_id]["models"] = ["retired", "gpt-fake"]
    await choose(page, "old", "Edit")
    await expect(page.get_by_label("retired")).to_be_checked()
    await page.get_by_label("Budget in USD").fill("7")
    await page.locator("dialog .primary").click()
    await expect(page.locator("dialog[open]")).to_have_count(0)
    assert rows.keys[key_id]["models"] == ["retired", "gpt-fake"]
    assert rows.keys[key_id]["max_budget"] == 7


async def test_a_double_click_makes_one_key(opened: Opened) -> None:
    """The button is busy after the first."""
    page = opened.page
    await opened.sign_in("alice")
    await page.keyboard.press("c")
    await page.locator("[name=alias]").fill("twice")
    await page.locator("dialog .primary").dblclick()
    await page.locator("[data-secret]").wait_for()
    assert len(opened.portal.litellm.rows.keys) == 1


async def test_a_lost_answer_makes_one_key(opened: Opened) -> None:
    """What was typed is kept, and the second try gets the key of the first: both have the same Idempotency-Key."""
    page, sent = opened.page, []
    await opened.sign_in("alice")

    async def lose(route: Route) -> None:
        sent.append(route.request.headers["idempotency-key"])
        response = await route.fetch()
        await (route.abort() if len(sent) == 1 else route.fulfill(response=response))

    await page.route(
        re.compile(r"/keys$"), lambda route: lose(route) if route.request.method == "POST" else route.continue_()
    )
    await page.keyboard.press("c")
    await page.locator("[name=alias]").fill("lost")
    await page.locator("dialog .primary").click()
    await expect(page.locator("dialog [role=alert]")).to_contain_text("cannot be reached")
    await expect(page.locator("[name=alias]")).to_have_value("lost")
    await page.locator("dialog .primary").click()
    secret = await page.locator("[data-secret]").inner_text()
    assert len(opened.portal.litellm.rows.keys) == 1
    assert sent[0] == sent[1]
    assert await chat(opened.portal.litellm, secret) == 200


@pytest.fixture
def configured() -> Configure:
    """At most three keys of 30 days."""

    def strict(settings: Settings) -> Settings:
        tier = Tier(max_budget=100.0, budget_duration="30d", max_keys=3, max_key_life=30 * 86400, rpm_limit=60)
        return replace(settings, litellm=replace(settings.litellm, user_defaults=tier))

    return strict


async def test_what_the_tier_refuses_is_refused_early(opened: Opened) -> None:
    """More than the budget cannot be sent, a longer life cannot be chosen, and a fourth key not be asked for."""
    page = opened.page
    await opened.sign_in("alice")
    await page.keyboard.press("c")
    await page.get_by_label("Budget in USD").fill("101")
    await expect(page.locator("dialog .primary")).to_be_disabled()
    await expect(page.locator("dialog[open]")).to_contain_text("That is more than the tier allows. At most $100.00.")
    await page.get_by_label("Budget in USD").fill("100")
    await expect(page.locator("dialog .primary")).to_be_enabled()
    assert await page.get_by_label("Expires").locator("option").all_inner_texts() == ["7 days", "30 days"]
    await page.keyboard.press("Escape")
    for alias in ("one", "two", "three"):
        await create(page, alias)
    await expect(page.get_by_role("button", name="Create key")).to_be_disabled()
    await expect(page.get_by_text("You have 3 of 3 keys. Delete one first.")).to_be_visible()


async def test_keys_that_the_tier_does_not_count(opened: Opened) -> None:
    """Expired and replaced ones take no room: the page offers what the API allows."""
    page = opened.page
    await opened.sign_in("alice")
    for alias in ("one", "two", "three"):
        await create(page, alias)
    await expect(page.get_by_role("button", name="Create key")).to_be_disabled()
    next(iter(opened.portal.litellm.rows.keys.values()))["expires"] = "2020-01-01T00:00:00Z"
    async with opened.portal.as_person(ALICE) as alice:
        keys = (await alice.get(keys_path(ALICE))).json()["keys"]
        rotated = next(row["token"] for row in keys if row["key_alias"] == "three")
        rotate = f"{keys_path(ALICE, rotated)}/regenerate"
        assert (await alice.post(rotate, json={"overlap": 3600})).status_code == 201
    await page.get_by_role("link", name="Spending").click()
    await page.get_by_role("link", name="Keys").click()
    await expect(page.locator("tbody tr")).to_have_count(4)
    await expect(page.locator(".tile", has_text="Keys")).to_contain_text("2 of 3")
    await create(page, "four")
    await expect(page.get_by_text("You have 3 of 3 keys.")).to_be_visible()


async def test_rotation_says_when_the_old_key_ends(opened: Opened) -> None:
    """In the button before, and as a countdown in the table after; both keys work meanwhile."""
    page = opened.page
    await opened.sign_in("alice")
    old = await create(page, "laptop")
    await choose(page, "laptop", "Rotate")
    await expect(page.locator("dialog .primary")).to_have_text(re.compile(r"Rotate: the old key works until \d\d:\d\d"))
    await page.get_by_label("Overlap").fill("0")
    await expect(page.locator("dialog .primary")).to_have_text("Rotate: the old key stops now")
    await page.get_by_label("Overlap").fill("3")
    await page.get_by_role("button", name="Rotate: the old key works until").click()
    await expect(page.locator(STATUS).filter(has_text="Ends")).to_have_text(re.compile("Ends in (1 h|60 min)"))
    new = await page.locator("[data-secret]").first.inner_text()
    assert [await chat(opened.portal.litellm, secret) for secret in (old, new)] == [200, 200]


async def test_a_conflict_shows_both_versions(opened: Opened) -> None:
    """Somebody else changed the budget meanwhile: nothing is lost, and alice decides."""
    page = opened.page
    await opened.sign_in("alice")
    await create(page, "laptop")
    key_id = next(iter(opened.portal.litellm.rows.keys))
    await choose(page, "laptop", "Edit")
    await page.get_by_label("Budget in USD").fill("7")
    async with opened.portal.as_person(ALICE) as alice:
        assert (await alice.patch(keys_path(ALICE, key_id), json={"maxBudget": 9})).status_code == 200
    await page.locator("dialog .primary").click()
    await expect(page.locator(".compare tbody tr")).to_have_text(re.compile("Budget in USD.*9.*7", re.DOTALL))
    await page.get_by_role("button", name="Use mine").click()
    await expect(page.locator("dialog[open]")).to_have_count(0)
    assert opened.portal.litellm.rows.keys[key_id]["max_budget"] == 7


async def test_blocking_is_shown_at_once_and_taken_back_if_it_fails(opened: Opened) -> None:
    """The table never says for long what is not so."""
    page = opened.page
    await opened.sign_in("alice")
    secret = await create(page, "laptop")
    await choose(page, "laptop", "Block")
    await expect(page.locator(STATUS)).to_have_text("Blocked")
    await expect(page.get_by_text("“laptop” stops working within 60 s.")).to_be_visible()
    await choose(page, "laptop", "Unblock")
    await expect(page.locator(STATUS)).to_have_text("Active")
    await page.route(re.compile("/keys/"), lambda route: route.abort())
    await choose(page, "laptop", "Block")
    await expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
    await expect(page.locator(STATUS)).to_have_text("Active")
    assert await chat(opened.portal.litellm, secret) == 200


async def test_deletion_wants_the_alias(opened: Opened) -> None:
    """Typed once; then the key is gone, and the focus is not lost."""
    page = opened.page
    await opened.sign_in("alice")
    secret = await create(page, "laptop")
    await choose(page, "laptop", "Delete")
    await expect(page.locator("dialog .danger")).to_have_text("Delete laptop for good")
    await expect(page.locator("dialog .danger")).to_be_disabled()
    await page.get_by_label("Type laptop to confirm").fill("laptop")
    await page.locator("dialog .danger").click()
    await expect(page.get_by_text("No keys yet.")).to_be_visible()
    assert await chat(opened.portal.litellm, secret) == 401


async def test_a_leaked_key_is_reported(opened: Opened) -> None:
    """It is blocked for good, also if it is not the caller's."""
    page = opened.page
    await opened.sign_in("alice")
    secret = await create(page, "laptop")
    await page.get_by_role("button", name="Report a leaked key").click()
    await page.locator("[name=key]").fill(secret)
    await page.get_by_role("button", name="Block this key for good").click()
    await expect(page.get_by_text("Blocked, if it is one of ours.")).to_be_visible()
    await expect(page.locator(STATUS)).to_have_text("Blocked")
    assert await chat(opened.portal.litellm, secret) == 401


async def test_filter_sort_and_shortcuts(opened: Opened) -> None:
    """`/` filters, a click on a heading sorts, Escape closes and gives the focus back, `?` lists the keys."""
    page = opened.page
    async with opened.portal.as_person(ALICE) as alice:
        for alias in ("zebra", "apple"):
            await alice.post(f"{BASE}/users/user%3Adefault%2Falice/keys", json={"alias": alias})
    await opened.sign_in("alice")
    await page.get_by_role("button", name="Key", exact=True).click()
    assert await page.locator("tbody .name").all_inner_texts() == ["apple", "zebra"]
    await page.keyboard.press("Escape")
    await page.locator("h1").click()
    await page.keyboard.press("/")
    await page.keyboard.type("zeb")
    assert await page.locator("tbody .name").all_inner_texts() == ["zebra"]
    await page.get_by_role("button", name="Create key").click()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("button", name="Create key")).to_be_focused()
    await page.keyboard.press("?")
    await expect(page.get_by_role("dialog", name="Shortcuts")).to_be_visible()


async def test_a_key_whose_row_makes_no_sense(opened: Opened) -> None:
    """Nothing of it is shown as unlimited, and the page goes on with the others."""
    page, rows = opened.page, opened.portal.litellm.rows
    rows.add_user({"user_id": ALICE})
    rows.add_key({"user_id": ALICE, "key_alias": "plain"})
    rows.add_key({"user_id": ALICE, "key_alias": "laptop"})[0].update(expires=5, max_budget="much", rpm_limit="many")
    await opened.sign_in("alice")
    odd = page.locator("tbody tr", has_text="laptop").locator("td")
    for column, shown in {1: "Unclear", 4: "?", 5: "?", 7: "?"}.items():
        await expect(odd.nth(column)).to_have_text(shown)
    await expect(page.locator("tbody tr", has_text="plain").locator("td").nth(1)).to_have_text("Active")
