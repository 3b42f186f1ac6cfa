"""The browser of the tests: Debian's Chromium without its own windows, which takes a third less than the whole one."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, async_playwright


@asynccontextmanager
async def running_browser() -> AsyncIterator[Browser]:
    """Running until the end of the block. Playwright's own downloads are not everywhere to be had."""
    path = shutil.which("chromium-headless-shell")
    assert path is not None, "install chromium-headless-shell"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        await browser.close()
