"""The console in a real browser, on stand-ins; a page that loads or says what it must not fails its test."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import (
    Browser,
    ConsoleMessage,
    Dialog,
    Page,
    Request,
    Route,
    ViewportSize,
    expect,
)

from app import Ports, create_app
from domain.identity import Caller
from settings.model import Settings
from standalone.backstage import BackstageStandIn
from standalone.environment import standalone_ports, standalone_settings
from standalone.issuer import IssuerStandIn
from standalone.litellm import LiteLLMStandIn
from standalone.litellm_usage import calls_for
from tests.conftest import ALICE, BASE, keys_path
from tests.support.browser import running_browser
from tests.support.contract import checked_client
from tests.support.once import migrated_database
from tests.support.processes import ROOT, listening
from tests.support.raw_http import serving

WIDE: ViewportSize = {"width": 1280, "height": 800}
_PATIENCE_MILLISECONDS = 30_000
expect.set_options(timeout=_PATIENCE_MILLISECONDS)
# A failed request is what some tests are about; the page has to show it, and the browser logs it too.
_EXPECTED = ("Failed to load resource",)


@dataclass
class Portal:
    """The running service and what is behind it. While `is_expired`, mock tokens are refused."""

    origin: str
    litellm: LiteLLMStandIn
    backstage: BackstageStandIn
    issuer: IssuerStandIn = field(default_factory=IssuerStandIn)
    is_expired: bool = False

    def as_person(self, ref: str) -> Any:
        """A caller of the API beside the page."""
        return checked_client(self.origin, self.backstage.user_token(ref))

    def sign_in(self, token: str) -> Caller | None:
        return None if self.is_expired else self.backstage.sign_in(token)


@dataclass
class Opened:
    """A page of the console. `misdeeds` are errors, and requests to other origins, except for `allowed`."""

    page: Page
    portal: Portal
    allowed: str = "blob:"
    misdeeds: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(_PATIENCE_MILLISECONDS)
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.misdeeds.append(f"{error}"))
        self.page.on("request", self._asked)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not message.text.startswith(_EXPECTED):
            self.misdeeds.append(message.text)

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((self.portal.origin, "blob:", "data:", self.allowed)):
            self.misdeeds.append(f"request to {request.url}")

    async def go(self, route: str = "") -> None:
        await self.page.goto(f"{self.portal.origin}{BASE}/console{route}")

    async def sign_in(self, name: str = "alice", route: str = "") -> None:
        """Signs in as a person of standalone mode, and waits for the heading of the view."""
        await self.go(route)
        await self.page.get_by_role("button", name=name).click()
        await self.loaded()

    async def loaded(self) -> None:
        """Once there is a view, and it does not wait for the service any more."""
        await self.page.locator("main header h1").first.wait_for()
        await expect(self.page.locator("[aria-busy=true]")).to_have_count(0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The browser belongs to the loop that started it, so all tests of the console share one."""
    for item in items:
        if item.get_closest_marker("console") and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Started once for each process of the tests; each page has a window of its own."""
    async with running_browser() as browser:
        yield browser


Configure = Callable[[Settings], Settings]


@pytest.fixture
def configured() -> Configure:
    """Other settings than those of standalone mode."""
    return lambda settings: settings


@pytest_asyncio.fixture(loop_scope="session")
async def portal(tmp_path: Path, configured: Configure) -> AsyncIterator[Portal]:
    """The service on stand-ins, on a port."""
    litellm, backstage = LiteLLMStandIn(), BackstageStandIn()
    portal = Portal("", litellm, backstage)
    migrated_database(tmp_path)
    settings = replace(standalone_settings(str(tmp_path)), creates_per_minute=100_000, maintenance_interval=0)
    ports = replace(standalone_ports(litellm, backstage, Ports(), portal.issuer), sign_in=portal.sign_in)
    async with serving(create_app(configured(settings), ports)) as port:
        portal.origin = f"http://127.0.0.1:{port}"
        yield portal


Open = Callable[..., Awaitable[Opened]]


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(browser: Browser, portal: Portal) -> AsyncIterator[Open]:
    """Opens pages in windows of their own, and judges them at the end."""
    opened: list[Opened] = []

    async def open_one(**options: Any) -> Opened:
        context = await browser.new_context(viewport=options.pop("viewport", WIDE), **options)
        opened.append(Opened(await context.new_page(), portal))
        return opened[-1]

    yield open_one
    for each in opened:  # a page may still be loading what a test intercepts
        if not each.page.is_closed():
            await each.page.unroute_all(behavior="ignoreErrors")
    misdeeds = [misdeed for each in opened for misdeed in each.misdeeds]
    for each in opened:
        await each.page.context.close()
    assert misdeeds == []


@pytest_asyncio.fixture(loop_scope="session")
async def opened(open_page: Open) -> Opened:
    """One page, not signed in."""
    return await open_page()


@pytest_asyncio.fixture(loop_scope="session")
async def trial(browser: Browser) -> AsyncIterator[Opened]:
    """The console of a process of its own, with stand-ins of its own."""
    async with listening("--port", "0", program="standalone") as running:
        context = await browser.new_context(viewport=WIDE)
        opened = Opened(await context.new_page(), Portal(running.origin, LiteLLMStandIn(), BackstageStandIn()))
        yield opened
        await context.close()
    assert opened.misdeeds == []


@dataclass
class Held:
    """Requests of a page that have been sent, and go on once `released` is set."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    async def go_on(self, route: Route) -> None:
        self.asked.set()
        await self.released.wait()
        await route.continue_()


async def hold(page: Page, url: str | re.Pattern[str]) -> Held:
    """Holds what the page asks for."""
    held = Held()
    await page.route(url, held.go_on)
    return held


def stay(page: Page) -> list[str]:
    """Answers "stay" to each question whether to leave the page. Collects the questions."""
    asked = list[str]()

    async def dismiss(dialog: Dialog) -> None:
        asked.append(dialog.type)
        await dialog.dismiss()

    page.on("dialog", dismiss)
    return asked


async def describe(page: Page, alias: str) -> None:
    """Opens the dialog, and types the name of a key."""
    await page.get_by_role("button", name="Create key").first.click()
    await page.locator("[name=alias]").fill(alias)


async def create(page: Page, alias: str) -> str:
    """The secret that the API answered."""
    await describe(page, alias)
    async with page.expect_response(lambda response: response.request.method == "POST") as answer:
        await page.locator("dialog .primary").click()
    return str((await (await answer.value).json())["keySecret"])


async def choose(page: Page, alias: str, action: str) -> None:
    """An action from the menu of a key."""
    await page.get_by_role("button", name=f"Actions for {alias}").click()
    await page.get_by_role("menuitem", name=re.compile(rf"^{action}\b")).click()


_USED = (2, 3, 2, 3, 1, 4)
"""Which of the keys that `spent` makes is used for each of six calls."""


async def spent(portal: Portal, days: int = 20) -> None:
    """Alice has keys of every kind, and has called two models with four of them; dave is over his budget."""
    rows = portal.litellm.rows
    wanted: list[tuple[dict[str, Any], float]] = [
        ({"alias": "tablet"}, 0.0),
        ({"alias": "a".ljust(64, "b"), "maxBudget": 1}, 1.0),
        ({"alias": "laptop", "models": ["gpt-fake", "claude-fake"], "maxBudget": 20}, 12.04),
        ({"alias": "ci", "maxBudget": 30, "expiresIn": 9 * 86400}, 28.9),
        ({"alias": "notebook", "models": ["gpt-fake"], "rpmLimit": 60}, 0.26),
    ]
    keys: list[str] = []
    async with portal.as_person(ALICE) as alice:
        for body, spend in wanted:
            key_id = (await alice.post(keys_path(ALICE), json=body)).json()["keyId"]
            rows.keys[key_id] |= {"spend": spend, "last_active": rows.stamp(-3600 * len(keys)) if spend else None}
            keys.append(key_id)
        await alice.patch(keys_path(ALICE, keys[4]), json={"blocked": True})
        await alice.post(f"{keys_path(ALICE, keys[0])}/regenerate", json={"overlap": 3600})
    rows.users[ALICE]["spend"] = sum(spend for _, spend in wanted)
    dave = {"user_id": "user:default/dave", "user_alias": "דוד כהן (Dave)", "max_budget": 10, "budget_duration": "30d"}
    rows.add_user(dave)
    rows.users["user:default/dave"]["spend"] = 10.4
    calls = [(day, number) for day in range(days) for number in range(3 + 11 * (day % 7) + day)]
    used = Counter(_USED[number % 6] for _, number in calls)
    for day, number in calls:
        when = time.strftime("%Y-%m-%d", time.gmtime(time.time() - day * 86400))
        key = _USED[number % 6]
        metrics = calls_for(wanted[key][1] / used[key])
        rows.usage.add(ALICE, when, "gpt-fake" if number % 3 else "claude-fake", keys[key], metrics)


AXE = ROOT / "console" / "node_modules" / "axe-core" / "axe.min.js"


async def judge(page: Page, name: str) -> None:
    """Axe, the width, a picture."""
    await page.evaluate("document.fonts.ready")
    if "SCREENSHOTS" in os.environ:
        await page.screenshot(path=f"{os.environ['SCREENSHOTS']}/{name}.png", full_page=True)
    if not await page.evaluate("'axe' in globalThis"):
        await page.evaluate(AXE.read_text())
    found = await page.evaluate("axe.run().then(result => result.violations)")
    assert [(row["id"], [node["html"][:200] for node in row["nodes"]]) for row in found] == [], name
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} is too wide"
