"""For whom the page acts: for the person whom `/me` has confirmed, and for nobody else."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from urllib.parse import unquote

import pytest
from playwright.async_api import Request, Route, expect

from tests.conftest import ALICE, BOB, keys_path
from tests.console.conftest import Opened, hold

pytestmark = pytest.mark.console

ME = re.compile("/me$")


@dataclass
class Sent:
    """What the page sends, by whose token it carries."""

    requests: list[tuple[str, str, str]] = field(default_factory=list)

    def __call__(self, request: Request) -> None:
        whose = re.search("user:default/[a-z]+", request.headers.get("authorization", ""))
        if whose is not None:
            self.requests.append(
                (whose[0], request.method, unquote(request.url).rpartition("litellm-orchestrator/")[2])
            )

    def by(self, person: str) -> list[tuple[str, str]]:
        """Methods and paths, other than the question who they are."""
        return [(method, path) for whose, method, path in self.requests if whose == person and path != "me"]


@pytest.fixture
def sent(opened: Opened) -> Sent:
    found = Sent()
    opened.page.on("request", found)
    return found


async def expired_while_creating(opened: Opened) -> None:
    """Alice's session ends while she creates a key; the page asks who is there."""
    page, portal = opened.page, opened.portal
    await opened.sign_in("alice")
    await page.keyboard.press("c")
    await page.locator("[name=alias]").fill("of alice")
    portal.is_expired = True
    await page.locator("dialog .primary").click()
    await expect(page.get_by_text("Your session has expired.")).to_be_visible()
    portal.is_expired = False


@pytest.mark.parametrize("fault", ["aborted", "503"])
async def test_whoever_cannot_be_confirmed_is_nobody(opened: Opened, sent: Sent, fault: str) -> None:
    """Bob signs in over alice's page while `/me` fails: nothing is sent for him; another try makes it his page."""
    page = opened.page
    await expired_while_creating(opened)
    await page.route(ME, lambda route: route.abort() if fault == "aborted" else route.fulfill(status=503, json={}))
    again = page.locator("dialog.again")
    await again.get_by_role("button", name="bob").click()
    await expect(again.get_by_role("alert")).to_be_visible()
    assert sent.by(BOB) == []
    await page.unroute(ME)
    await again.get_by_role("button", name="Try again").click()
    await expect(page.locator(".who b")).to_have_text("bob")
    await expect(page.locator("dialog[open]")).to_have_count(0)
    assert [row for row in sent.by(BOB) if row[0] != "GET" or ALICE in row[1]] == []
    assert opened.portal.litellm.rows.keys == {}


async def test_alice_goes_on_once_she_is_confirmed(opened: Opened) -> None:
    """If `/me` fails just when she signs in again, another try continues what she was doing."""
    page = opened.page
    await expired_while_creating(opened)
    await page.route(ME, lambda route: route.abort())
    again = page.locator("dialog.again")
    await again.get_by_role("button", name="alice").click()
    await expect(again.get_by_role("alert")).to_contain_text("cannot be reached")
    await page.unroute(ME)
    await again.get_by_role("button", name="Try again").click()
    await expect(page.locator("[data-secret]")).to_be_visible()
    await expect(page.locator("tbody .name")).to_have_text("of alice")


async def test_nothing_is_sent_before_it_is_known_who_is_there(opened: Opened, sent: Sent) -> None:
    """Also what the page of alice asks by itself while `/me` is slow to say that bob is bob."""
    page = opened.page
    await expired_while_creating(opened)

    me = await hold(page, ME)
    await page.locator("dialog.again").get_by_role("button", name="bob").click()
    await me.asked.wait()
    async with page.expect_request(re.compile("/usage")) as asking:
        await page.evaluate("location.hash = '#/spending'")
    assert ALICE in (await asking.value).headers["authorization"]
    assert sent.by(BOB) == []
    me.released.set()
    await expect(page.locator(".who b")).to_have_text("bob")
    assert [path for _, path in sent.by(BOB) if ALICE in path] == []


async def test_a_late_refusal_is_not_repeated_for_somebody_else(opened: Opened, sent: Sent) -> None:
    """Alice blocks a key and signs out; bob is here when the answer comes that her token has expired."""
    page, answers, asked = opened.page, asyncio.Event(), asyncio.Event()
    async with opened.portal.as_person(ALICE) as alice:
        await alice.post(keys_path(ALICE), json={"alias": "laptop"})

    async def refuse_late(route: Route) -> None:
        asked.set()
        await answers.wait()
        await route.fulfill(status=401, json={"error": {"message": "expired"}})

    await page.route(re.compile("/keys/[0-9a-f]+$"), refuse_late)
    await opened.sign_in("alice")
    await page.get_by_role("button", name="Actions for laptop").click()
    await page.get_by_role("menuitem", name="Block", exact=True).click()
    await asked.wait()
    await page.get_by_role("button", name="Sign out").click()
    await page.get_by_role("button", name="bob").click()
    await opened.loaded()
    async with page.expect_response(re.compile("/keys/[0-9a-f]+$")):
        answers.set()
    await page.get_by_role("link", name="Users").click()
    await expect(page.get_by_role("link", name="Alice")).to_be_visible()
    await expect(page.locator("dialog[open], [role=alert]")).to_have_count(0)
    assert [method for method, _ in sent.by(BOB) if method != "GET"] == []


async def test_what_has_several_steps_ends_with_the_person(opened: Opened, sent: Sent) -> None:
    """Bob exports the audit log and signs out before its second page: alice, who is next, does not ask for the rest."""
    page = opened.page
    async with opened.portal.as_person(BOB) as bob:
        for budget in range(1, 121):
            await bob.patch(keys_path(BOB).removesuffix("/keys"), json={"maxBudget": budget})

    await opened.sign_in("bob", "#/audit")
    rows = await hold(page, re.compile("/audit[?]limit=100"))
    await page.get_by_role("button", name="Download CSV").click()
    await rows.asked.wait()
    await page.get_by_role("button", name="Sign out").click()
    await page.get_by_role("button", name="alice").click()
    await opened.loaded()
    async with page.expect_response(re.compile("/audit[?]limit=100")) as answer:
        rows.released.set()
    await (await answer.value).finished()
    await page.get_by_role("link", name="Spending").click()
    await opened.loaded()
    assert [path for _, path in sent.by(ALICE) if path.startswith("audit")] == []


async def test_two_tabs_have_two_people(opened: Opened, sent: Sent) -> None:
    """Bob signs in beside alice in the same browser: her tab stays hers."""
    await opened.sign_in("alice")
    beside = Opened(await opened.page.context.new_page(), opened.portal)
    await beside.sign_in("bob")
    await opened.page.get_by_role("link", name="Spending").click()
    await opened.loaded()
    await expect(opened.page.locator(".who b")).to_have_text("alice")
    assert sent.by(BOB) == []
    assert beside.misdeeds == []
