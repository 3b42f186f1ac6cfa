"""The trial of `make run`, as somebody sees it who opens the console for the first time."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, expect

from standalone.backstage import BackstageStandIn
from standalone.litellm import LiteLLMStandIn
from tests.console.conftest import WIDE, Opened, Portal, create
from tests.standalone.pasting import pasted
from tests.support.processes import listening

pytestmark = pytest.mark.console


@pytest.fixture
async def trial(browser: Browser) -> AsyncIterator[Opened]:
    """The console of a process of its own, with stand-ins of its own."""
    async with listening("--port", "0", program="standalone") as running:
        context = await browser.new_context(viewport=WIDE)
        opened = Opened(await context.new_page(), Portal(running.origin, LiteLLMStandIn(), BackstageStandIn()))
        yield opened
        await context.close()
    assert opened.misdeeds == []


async def test_the_snippet_that_is_shown_answers(trial: Opened) -> None:
    """Copied from the page and pasted into a shell; then the key has been used, and Spending knows it by its name."""
    page = trial.page
    await trial.sign_in("alice")
    await create(page, "pasted")
    snippet = await page.get_by_role("tabpanel").inner_text()
    assert json.loads(await pasted(snippet))["choices"][0]["message"]["content"] == "hi"
    await page.get_by_role("button", name="I saved the key").click()
    await page.get_by_role("link", name="Spending").click()
    await page.get_by_text("Key", exact=True).click()
    row = page.locator("tbody tr", has_text="pasted")
    await expect(row.locator("td.num").nth(0)).to_have_attribute("title", "$0.000225")
    await expect(row.locator("td.num").nth(1)).to_have_text("1")


async def test_no_view_is_empty_at_first_sight(trial: Opened) -> None:
    """Alice has keys, and has spent something; bob has users, an audit log, a run of the cleanup, and health."""
    page = trial.page
    await trial.sign_in("alice")
    for alias in ("laptop", "ci", "notebook", "agent"):
        await expect(page.locator("tbody tr", has_text=alias)).to_have_count(1)
    await page.get_by_role("link", name="Spending").click()
    await expect(page.locator("svg rect").first).to_be_visible()
    await page.reload()
    await page.get_by_role("button", name="bob").click()
    await trial.loaded()
    for view, shows in {
        "Users": "dave",
        "Audit log": "frank",
        "Off-boarding": "frank",
        "Health": "Up",
    }.items():
        await page.get_by_role("link", name=view).click()
        await expect(page.locator("main").get_by_text(shows).first).to_be_visible()
