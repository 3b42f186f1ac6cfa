"""The service as its own process, between the real LiteLLM and the real Backstage."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
import pytest
from playwright.async_api import Page, expect
from selenium.webdriver import Chrome, ChromeOptions, ChromeService

from tests.conftest import ALICE, BOB, ERIN, SERVICE_TOKEN
from tests.support.browser import running_browser
from tests.support.contract import check, checked_client
from tests.support.processes import Running, listening
from tests.support.real_products import RealProducts, real_products

# The live Backstage's proxy expects this service here.
PORT = os.environ.get("ORCHESTRATOR_PORT", "7007")
DAVE, CHECKOUT, ASSISTANT = "user:default/dave", "component:default/checkout", "component:default/assistant"
TEAM_A, EVERYBODY = "group:default/team-a", "group:default/litellm-users"
OWNERS = (DAVE, CHECKOUT, ASSISTANT, TEAM_A, EVERYBODY)
expect.set_options(timeout=30_000)
_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1200,1600",
]


@pytest.fixture(scope="session", autouse=True)
def versions(record_testsuite_property: Callable[[str, object], None]) -> None:
    """The report names what the suite ran on (`make matrix`)."""
    if "STATE_DATABASE_URL" in os.environ:
        with psycopg.connect(os.environ["STATE_DATABASE_URL"].rpartition("/")[0] + "/postgres") as connection:
            record_testsuite_property("PostgreSQL", connection.info.parameter_status("server_version"))
    if "BACKSTAGE_ORG" in os.environ:
        modules = Path(os.environ["BACKSTAGE_ORG"]).parent / "node_modules"
        package = json.loads((modules / "@backstage/backend-defaults/package.json").read_text())
        record_testsuite_property("Backstage", f"backend-defaults {package['version']}")


@pytest.fixture
def narrate(capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Prints lines of the story, beginning with the test's own sentence."""

    def write(line: str) -> None:
        with capsys.disabled():
            print(line)

    write(f"\n{request.function.__doc__}")
    return write


@pytest.fixture
async def products(narrate: Callable[[str], None]) -> AsyncIterator[RealProducts]:
    """The real LiteLLM and the real Backstage."""
    async with real_products(narrate) as both:
        yield both


@pytest.fixture
async def database() -> str:
    """An empty database on the real PostgreSQL."""
    url = os.environ["STATE_DATABASE_URL"]
    server, _, name = url.rpartition("/")
    async with await psycopg.AsyncConnection.connect(f"{server}/postgres", autocommit=True) as connection:
        await connection.execute(f'drop database if exists "{name}" with (force)'.encode())
        await connection.execute(f'create database "{name}"'.encode())
    return url


@dataclass
class Live:
    """The running service and the real products."""

    products: RealProducts
    running: Running

    def caller(self, token: str | None, origin: str | None = None) -> httpx.AsyncClient:
        """A caller of the service, or of `origin`. Responses of the service are checked against the contract."""

        def observe(response: httpx.Response) -> None:
            if origin is None:
                check(response)
            target = response.request.url.raw_path.decode()
            self.products.narrate(f"  {response.request.method} {target} -> {response.status_code}")

        return checked_client(origin or self.running.origin, token, observe=observe)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """An app-config.yaml for both products."""
    litellm_url, backstage_url = os.environ["LITELLM_URL"], os.environ["BACKSTAGE_URL"]
    config = tmp_path / "app-config.yaml"
    config.write_text(
        f"""
        liteLLM:
          baseUrl: {litellm_url}
          publicUrl: {litellm_url}
          masterKey: ${{LITELLM_MASTER_KEY}}
          adminGroup: group:default/admins
          allowedGroup: group:default/litellm-users
          auditorGroups: [team-a]
          userDefaults: {{maxBudget: 100, budgetDuration: 1y}}
          groupDefaults:
            - {{group: admins, maxBudget: 1000}}
            - {{group: litellm-users, maxKeys: 60, maxKeyDuration: 30d, rpmLimit: 1000}}
        backend: {{baseUrl: '{backstage_url}', listen: '127.0.0.1:{PORT}', cors: {{origin: 'http://localhost:3000'}}}}
        litellmOrchestrator:
          publicUrl: http://127.0.0.1:{PORT}
          backstage: {{issuer: '{backstage_url}/api/auth', catalogToken: '${{BACKSTAGE_CATALOG_TOKEN}}'}}
          cleanup: {{enabled: false}}
          maintenanceInterval: 1
          database: {{url: 'sqlite:///{tmp_path}/state.sqlite3'}}
          owners:
            - kind: component
              filter: {{spec.type: service, spec.lifecycle: [production, experimental]}}
              maxBudget: 20
            - {{kind: group, filter: {{spec.type: team}}, maxBudget: 10}}
          serviceTokens: [{{token: {SERVICE_TOKEN}, subject: 'service:ci', role: admin}}]
        """
    )
    return config


async def forget_users(products: RealProducts) -> None:
    """LiteLLM has none of those whom the tests sign in, and none of what they manage."""
    for user_id in (ALICE, BOB, ERIN, *OWNERS):
        await products.litellm.post("/user/delete", json={"user_ids": [user_id]})


@pytest.fixture
async def live(config: Path, products: RealProducts) -> AsyncIterator[Live]:
    """Everything running, and alice, bob and erin without LiteLLM users."""
    async with listening("serve", "--config", str(config)) as running:
        await forget_users(products)
        yield Live(products, running)
        await forget_users(products)  # a service without owners would off-board theirs


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chrome]:
    """Debian's Chromium, with a profile of its own."""
    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or "/usr/bin/chromium"
    for flag in [*_FLAGS, f"--user-data-dir={tmp_path}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = Chrome(options, ChromeService(shutil.which("chromedriver") or "/usr/bin/chromedriver"))
    yield chrome
    chrome.quit()


@asynccontextmanager
async def opened_tabs(address: str, count: int) -> AsyncIterator[list[Page]]:
    """The console. Anything that it complains about, other than refused requests, fails the test."""
    complaints: list[str] = []
    async with running_browser() as browser:
        context = await browser.new_context()
        tabs = [await context.new_page() for _ in range(count)]
        for tab in tabs:
            tab.on("pageerror", lambda error: complaints.append(f"{error}"))
            tab.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
            await tab.goto(address)
        yield tabs
    assert [text for text in complaints if not text.startswith("Failed to load resource")] == []


@asynccontextmanager
async def opened(address: str) -> AsyncIterator[Page]:
    """The console in one tab."""
    async with opened_tabs(address, 1) as (page,):
        yield page


async def sign_in(page: Page, live: Live, name: str) -> None:
    await page.locator("[name=token]").fill(await live.products.token(name))
    await page.get_by_role("button", name="Sign in").click()
