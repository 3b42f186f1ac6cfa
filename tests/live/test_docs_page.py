"""The page to read and try the API, in a real browser."""

from __future__ import annotations

import asyncio
import os

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.expected_conditions import visibility_of_element_located
from selenium.webdriver.support.ui import WebDriverWait

from tests.conftest import ALICE, BASE
from tests.support.processes import listening

pytestmark = pytest.mark.live

_PATIENCE = 30


def read_and_try(browser: Chrome, page: str) -> str:
    """Sign in on the page as alice, try GET /users/{userId} for herself, and answer what it shows."""

    def shown(selector: str, by: str = By.CSS_SELECTOR) -> object:
        return WebDriverWait(browser, _PATIENCE).until(visibility_of_element_located((by, selector)))

    def click(selector: str) -> None:
        shown(selector)
        browser.execute_script("arguments[0].click()", browser.find_element(By.CSS_SELECTOR, selector))

    browser.get(page)
    shown("#operations-keys-getUserKeys")
    click("button.authorize")
    shown(".auth-container input")
    browser.find_element(By.CSS_SELECTOR, ".auth-container input").send_keys(f'mock-user-token:{{"sub":"{ALICE}"}}')
    click(".auth-btn-wrapper button.authorize")
    click(".auth-btn-wrapper button.btn-done")
    click("#operations-users-getUser button.opblock-summary-control")
    click("#operations-users-getUser button.try-out__btn")
    click("#operations-users-getUser button.execute")
    shown("#operations-users-getUser .live-responses-table .response .microlight")
    return browser.find_element(By.CSS_SELECTOR, "#operations-users-getUser .live-responses-table").text


async def test_the_page_reads_and_tries_the_api(browser: Chrome) -> None:
    """On it alice signs in and reads her own user; nothing is blocked or missing."""
    async with listening("--port", "0", program="standalone") as running:
        table = await asyncio.to_thread(read_and_try, browser, f"{running.origin}{BASE}/docs")
    if "SCREENSHOT" in os.environ:
        browser.save_screenshot(os.environ["SCREENSHOT"])
    assert f'"userId": "{ALICE}"' in table
    assert "200" in table
    complaints = [row["message"] for row in browser.get_log("browser") if row["level"] == "SEVERE"]  # type: ignore[no-untyped-call]
    assert complaints == []
