"""The view of the off-boarding says what was, what is to come, and what somebody should look at."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

from tests.conftest import ALICE, CAROL
from tests.console.conftest import Opened

pytestmark = pytest.mark.console
NOW = "2026-11-27T12:00:00Z"
ENTRY = {"reason": "in neither group any more", "action": "block", "whenConfirmed": "block", "keys": 2}
WHEN = {"since": None, "until": None}


def report(run_id: int, **fields: Any) -> dict[str, Any]:
    """A report as the API has it."""
    empty = {"reason": None, "members": 304, "admins": 1, "users": 400, "sweptAt": None, "progress": None, "plan": None}
    times = {"startedAt": "2026-11-27T11:48:00Z", "finishedAt": "2026-11-27T11:48:05Z"}
    about = {"runId": run_id, "trigger": "schedule", "dryRun": False, "outcome": "done", "done": None}
    return empty | times | about | fields


def plan(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"hash": "0" * 64, "refusal": None, "entries": list(entries)}


class Service:
    """Answers for the off-boarding."""

    def __init__(self, *reports: dict[str, Any]) -> None:
        self.reports = {each["runId"]: each for each in reports}
        self.next_run = "2026-11-27T12:10:00Z"
        self.asked = 0

    async def status(self, route: Route) -> None:
        if route.request.method == "POST":
            self.reports[3] = report(3, dryRun=True, outcome="planned", plan=plan(ENTRY | WHEN | {"userId": ALICE}))
            await route.fulfill(json=self.reports[3])
            return
        self.asked += 1
        last = self.reports[max(self.reports)]
        status = {"enabled": True, "running": False, "nextRunAt": self.next_run, "gracePeriod": 3600.0}
        await route.fulfill(json=status | {"lastReport": last})

    async def run(self, route: Route) -> None:
        await route.fulfill(json=self.reports[int(route.request.url.rpartition("/")[2])])

    async def show(self, opened: Opened) -> Page:
        await opened.page.clock.install(time=NOW)
        await opened.page.route(re.compile("/cleanup$"), self.status)
        await opened.page.route(re.compile("/cleanup/runs/[0-9]+$"), self.run)
        await opened.sign_in("bob", "#/cleanup")
        return opened.page


async def test_the_next_run_is_asked_for_again(opened: Opened) -> None:
    """Once it was due, the tiles say what the service says then."""
    service = Service(report(1))
    page = await service.show(opened)
    tile = page.locator(".tile", has_text="Next run")
    await expect(tile).to_contain_text("in 10 minutes")
    asked, service.next_run = service.asked, "2026-11-27T12:20:00Z"
    await page.clock.fast_forward(60_000)
    assert service.asked == asked
    await page.clock.fast_forward(11 * 60_000)
    await expect(tile).to_contain_text("in 8 minutes")


async def test_a_preview_does_not_replace_the_last_run(opened: Opened) -> None:
    """Both are there, also if the preview was made elsewhere; it goes once a run has happened."""
    done = {"deleted": [CAROL], "blocked": [], "held": [], "restored": [], "failed": []}
    counts = {"keysBlocked": 0, "keysDeleted": 1, "keysRestored": 0}
    entry = ENTRY | WHEN | {"userId": CAROL, "action": "delete", "whenConfirmed": "delete"}
    service = Service(report(2, plan=plan(entry), done=done | counts))
    page = await service.show(opened)
    await expect(page.locator(".tile", has_text="Last run")).to_contain_text("Done")
    row = page.locator("tbody tr", has_text=CAROL)
    await expect(row.locator(".pill")).to_have_text("Deleted")
    await page.get_by_role("button", name="Preview").click()
    await expect(page.get_by_text("not carried out")).to_be_visible()
    await expect(page.locator(".tile", has_text="Last run")).to_contain_text("Done")
    await expect(page.locator("tbody tr", has_text=ALICE)).to_contain_text("Block the keys")
    await page.reload()
    await page.get_by_role("button", name="bob").click()
    await expect(page.locator(".tile", has_text="Last run")).to_contain_text("Done")
    await expect(row.locator(".pill")).to_have_text("Deleted")
    service.reports[4] = report(4)
    await page.clock.fast_forward(12 * 60_000)
    await expect(page.get_by_text("not carried out")).to_have_count(0)
    await expect(page.get_by_role("button", name="Carry out")).to_have_count(0)


async def test_what_somebody_should_look_at(opened: Opened) -> None:
    """Each finding in words, also of a kind that the page does not know, and how many are orphans of the catalog."""
    findings = [
        {"kind": "sameAddress", "userId": "sso-1", "message": "has the e-mail address of user:default/dave"},
        {"kind": "childGroups", "userId": "group:default/litellm-users", "message": "names groups that are not shown"},
        {"kind": "fromTheFuture", "userId": "user:default/erin", "message": "look here"},
    ]
    page = await Service(report(1, findings=findings, orphans=2)).show(opened)
    shown = page.locator(".findings li")
    await expect(shown).to_have_count(3)
    await expect(shown.nth(0)).to_contain_text("Same e-mail address as somebody who leaves")
    await expect(shown.nth(0)).to_contain_text("has the e-mail address of user:default/dave")
    await expect(shown.nth(1)).to_contain_text("group:default/litellm-users")
    await expect(shown.nth(2)).to_contain_text("look here")
    await expect(page.locator(".tile", has_text="In the groups")).to_contain_text("304 members, 1 admin")
    await expect(page.locator(".tile", has_text="In the groups")).to_contain_text("2 of them only as orphans")
