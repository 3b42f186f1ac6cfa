"""Who is signed in at Backstage is signed in to the console: its refresh endpoint gives the token, for its cookie."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio
from playwright.async_api import Route as BrowserRoute
from playwright.async_api import expect
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from settings.model import ConsoleSettings, Settings
from tests.conftest import ALICE
from tests.console.conftest import Configure, Opened, Portal
from tests.support.raw_http import free_port, serving

pytestmark = pytest.mark.console


@pytest.fixture
def refresh_port() -> int:
    return free_port()


@pytest.fixture
def configured(refresh_port: int) -> Configure:
    """Backstage is on another origin."""

    def with_refresh(settings: Settings) -> Settings:
        return replace(settings, console=ConsoleSettings(refresh_url=f"http://127.0.0.1:{refresh_port}/refresh"))

    return with_refresh


@pytest_asyncio.fixture(loop_scope="session")
async def refreshes(portal: Portal, refresh_port: int) -> AsyncIterator[list[Request]]:
    """The requests to Backstage's refresh endpoint, which knows alice by her cookie."""
    asked: list[Request] = []

    async def refresh(request: Request) -> JSONResponse:
        asked.append(request)
        return JSONResponse({"backstageIdentity": {"token": portal.backstage.user_token(ALICE)}})

    cors = Middleware(
        CORSMiddleware, allow_origins=[portal.origin], allow_credentials=True, allow_headers=["X-Requested-With"]
    )
    async with serving(Starlette(routes=[Route("/refresh", refresh)], middleware=[cors]), port=refresh_port):
        yield asked


async def test_backstages_session_is_taken_over(opened: Opened, refreshes: list[Request], refresh_port: int) -> None:
    """Nobody has to choose or paste anything; the policy of the page allows this one other origin."""
    opened.allowed = f"http://127.0.0.1:{refresh_port}/refresh"
    await opened.go()
    await expect(opened.page.locator("h1")).to_have_text("Keys")
    await expect(opened.page.locator(".who b")).to_have_text("alice")
    assert refreshes[0].headers["x-requested-with"] == "XMLHttpRequest"


async def test_an_expired_token_is_renewed_without_a_word(
    opened: Opened, refreshes: list[Request], refresh_port: int, portal: Portal
) -> None:
    """The request is sent again with the new one."""
    opened.allowed = f"http://127.0.0.1:{refresh_port}/refresh"
    await opened.go()
    await opened.loaded()

    async def refuse_once(route: BrowserRoute) -> None:
        expired = route.request.method == "POST" and len(refreshes) == 1
        await (route.fulfill(status=401, json={"error": {"message": "expired"}}) if expired else route.continue_())

    await opened.page.route("**/keys", refuse_once)
    await opened.page.keyboard.press("c")
    await opened.page.locator("[name=alias]").fill("renewed")
    await opened.page.locator("dialog .primary").click()
    await expect(opened.page.locator("[data-secret]")).to_be_visible()
    assert len(refreshes) == 2
    assert len(portal.litellm.rows.keys) == 1


async def test_a_renewed_token_of_somebody_unknown_sends_nothing(
    opened: Opened, refreshes: list[Request], refresh_port: int, portal: Portal
) -> None:
    """Backstage gives the token of whoever is there now; while `/me` fails, nobody knows whether that is alice."""
    opened.allowed = f"http://127.0.0.1:{refresh_port}/refresh"
    page, sent = opened.page, []
    await opened.go()
    await opened.loaded()

    async def refuse_first(route: BrowserRoute) -> None:
        sent.append(route.request.method)
        await (route.fulfill(status=401, json={"error": {}}) if len(sent) == 1 else route.continue_())

    await page.route("**/me", lambda route: route.fulfill(status=503, json={"error": {"message": "not now"}}))
    await page.route(
        "**/keys", lambda route: refuse_first(route) if route.request.method == "POST" else route.continue_()
    )
    await page.keyboard.press("c")
    await page.locator("[name=alias]").fill("whose")
    await page.locator("dialog .primary").click()
    await expect(page.locator("dialog.again").get_by_role("alert")).to_contain_text("not now")
    assert sent == ["POST"]
    await page.unroute("**/me")
    await page.locator("dialog.again").get_by_role("button", name="Try again").click()
    await expect(page.locator("[data-secret]")).to_be_visible()
    assert len(portal.litellm.rows.keys) == 1
