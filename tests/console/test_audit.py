"""The audit log is searched as people think of people, and says which key."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from playwright.async_api import expect

from state.tables import change
from tests.conftest import ALICE, keys_path
from tests.console.conftest import Opened, judge

pytestmark = pytest.mark.console
AUDIT = "/audit?"


async def history(opened: Opened) -> str:
    """Alice has a key that is changed, rotated and reported, and one that is deleted. Returns the id of the first."""
    async with opened.portal.as_person("user:default/bob") as bob:
        await bob.post(keys_path("user:default/bob"), json={"alias": "bobs"})
    async with opened.portal.as_person(ALICE) as alice:
        keys = keys_path(ALICE)
        kept = (await alice.post(keys, json={"alias": "laptop"})).json()["keyId"]
        await alice.patch(f"{keys}/{kept}", json={"maxBudget": 5})
        lost = (await alice.post(keys, json={"alias": "old phone", "maxBudget": 7})).json()["keyId"]
        await alice.delete(f"{keys}/{lost}")
        await alice.post(f"{keys}/{kept}/regenerate", json={"overlap": 3600})
    return str(kept)


async def test_people_are_found_by_name(opened: Opened) -> None:
    """By what the columns show, by a part of it that is one person's; what several have has to be chosen."""
    page = opened.page
    await history(opened)
    opened.portal.litellm.rows.users[ALICE]["user_alias"] = "Alice Müller"
    await opened.sign_in("bob", "#/audit")
    rows = page.locator("tbody tr")
    await expect(rows).not_to_have_count(0)
    whose = page.get_by_label("Affected user")
    await whose.fill("alice")
    await expect(page.locator("tbody td:nth-child(4)", has_text="bob")).to_have_count(0)
    await expect(page.locator("tbody td:nth-child(4)", has_text="alice")).not_to_have_count(0)
    await whose.fill("Müll")
    await expect(page.locator("person-field", has_text="Affected user")).to_contain_text(ALICE)
    await whose.fill("")
    await page.get_by_label("Actor").fill("bob")
    await expect(page.locator("tbody td:nth-child(2)", has_text="alice")).to_have_count(0)
    await expect(page.locator("tbody td:nth-child(2)", has_text="bob")).not_to_have_count(0)
    await expect(page.get_by_role("alert")).to_have_count(0)


async def test_who_is_nobody_is_marked_at_the_field(opened: Opened) -> None:
    """Nothing is asked for that the API refuses, and the rows stay; who has left is found by a bare name."""
    page = opened.page
    await history(opened)
    await opened.sign_in("bob", "#/audit")
    count = await page.locator("tbody tr").count()
    whose = page.get_by_label("Affected user")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if AUDIT in request.url else None)
    await whose.fill("Jörg")
    await expect(whose).to_have_attribute("aria-invalid", "true")
    await expect(page.get_by_text("Nobody is called “Jörg”.")).to_be_visible()
    await whose.fill("ser:def")
    await expect(page.get_by_text("people match. Choose one.")).to_be_visible()
    assert asked == []
    await expect(page.locator("tbody tr")).to_have_count(count)
    await whose.fill("erin")
    await expect(page.get_by_text("Nothing matches.")).to_be_visible()
    await expect(whose).to_have_attribute("aria-invalid", "false")
    assert "target=user%3Adefault%2Ferin" in asked[-1]


async def test_which_key_it_was(opened: Opened) -> None:
    """By its alias, also where the event has only the id; a deletion lists what was there, and no id is spelled out."""
    page = opened.page
    kept = await history(opened)
    await opened.sign_in("bob", "#/audit")
    update = page.locator("tbody tr", has_text="key.update")
    await expect(update.locator("td").nth(4)).to_have_text("laptop")
    deletion = page.locator("tbody tr", has_text="key.delete")
    await expect(deletion.locator("td").nth(4)).to_have_text("old phone")
    await expect(deletion.locator("td").nth(6)).to_contain_text("max_budget 7")
    await expect(page.locator("tbody", has_text=kept)).to_have_count(0)


async def test_an_event_leads_to_its_key(opened: Opened) -> None:
    """Among many others of its owner, it is marked, in sight and has the focus; where it is gone, the page says so."""
    page = opened.page
    kept = await history(opened)
    async with opened.portal.as_person(ALICE) as alice:
        for number in range(40):
            await alice.post(keys_path(ALICE), json={"alias": f"k{number}"})
    await opened.sign_in("bob", "#/audit")
    await page.get_by_label("Action").select_option("key.update")
    await page.locator("tbody tr", has_text="key.update").get_by_role("link", name="laptop").click()
    row = page.locator("keys-view tr[aria-current=true]")
    await expect(row.locator(".name")).to_have_text("laptop")
    await expect(row).to_be_in_viewport(ratio=1)
    await expect(row.get_by_role("button", name="Actions for laptop")).to_be_focused()
    assert page.url.endswith(f"#/users/{ALICE}/keys/{kept}")
    await judge(page, "a key that is looked for")
    await expect(page.get_by_text("is not here any more")).to_have_count(0)
    await page.go_back()
    await page.get_by_label("Action").select_option("key.delete")
    await page.locator("tbody tr", has_text="key.delete").get_by_role("link", name="old phone").click()
    await expect(page.get_by_text("is not here any more: it was deleted")).to_be_visible()
    await expect(row).to_have_count(0)


@pytest.mark.parametrize(("actor", "typed"), [("command line", "command line"), ("command line", "Comm")])
async def test_an_actor_who_is_no_user_is_found_as_shown(
    opened: Opened, tmp_path: Path, actor: str, typed: str
) -> None:
    """By the word that the column has for it, or by a part of it."""
    page = opened.page
    await history(opened)
    acted(tmp_path, actor)
    await opened.sign_in("bob", "#/audit")
    await page.get_by_label("Actor").fill(typed)
    await expect(page.locator("tbody tr")).to_have_count(1)
    await expect(page.locator("tbody td:nth-child(2)")).to_have_text(actor)
    await expect(page.get_by_label("Actor")).to_have_attribute("aria-invalid", "false")


@pytest.mark.parametrize("actor", ["terraform", "plugin:scaffolder"])
async def test_a_service_is_found_as_shown(opened: Opened, tmp_path: Path, actor: str) -> None:
    """Its subject is no user, and the page learns it from what it shows."""
    page = opened.page
    await history(opened)
    acted(tmp_path, actor)
    await opened.sign_in("bob", "#/audit")
    await page.get_by_label("Actor").fill(actor)
    await expect(page.locator("tbody tr")).to_have_count(1)
    await expect(page.locator("tbody td:nth-child(2)")).to_have_text(actor)


def acted(folder: Path, actor: str) -> None:
    """Somebody who does not sign in here has deleted a key, too."""
    with sa.create_engine(f"sqlite:///{folder / 'state.sqlite3'}").begin() as database:
        deletion = sa.select(change).where(change.c.action == "key.delete")
        (row,) = database.execute(deletion).mappings()
        new = {name: value for name, value in row.items() if name != "id"}
        database.execute(change.insert().values(new | {"operation": "another", "actor": actor}))


async def test_days_end_with_their_last_second(opened: Opened) -> None:
    """`until` is exclusive, so it is the next midnight; an end before the beginning is marked and not asked for."""
    page = opened.page
    await history(opened)
    await opened.sign_in("bob", "#/audit")
    async with page.expect_request(lambda request: "until=" in request.url) as asking:
        await page.get_by_label("Until").fill("2026-11-30")
    assert "T23%3A59" not in (await asking.value).url
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if AUDIT in request.url else None)
    await page.get_by_label("Since").fill("2026-12-24")
    await expect(page.get_by_text("Before “Since”.")).to_be_visible()
    await expect(page.get_by_label("Until")).to_have_attribute("aria-invalid", "true")
    await page.wait_for_timeout(400)
    assert asked == []
