"""Keys of groups and components: a switch between owners, the same views for each, and keys that change hands."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace

import pytest
from playwright.async_api import Page, Route, expect

from domain.owners import OwnerEntry
from domain.users import Tier
from standalone.catalog import MEMBERS, TEAM_A, Component
from tests.conftest import ALICE, BASE, BOB, keys_path, user_path
from tests.console.conftest import Configure, Open, Opened, Portal, choose, create, describe, hold, judge
from tests.support.keys import chat

pytestmark = pytest.mark.console

DAVE = "user:default/dave"
CHECKOUT, ASSISTANT = "component:default/checkout", "component:default/assistant"
LIST = re.compile(r"/users\?managedBy=me")


async def switch(page: Page, owner: str) -> None:
    """Chooses an owner by what the page calls it."""
    await page.get_by_label("Owner", exact=True).select_option(label=owner)


async def add_key(portal: Portal, owner: str, alias: str, by: str = DAVE) -> str:
    """A key that somebody made elsewhere; its id."""
    async with portal.as_person(by) as person:
        return str((await person.post(keys_path(owner), json={"alias": alias})).json()["keyId"])


async def test_the_switch_offers_what_one_manages(opened: Opened) -> None:
    """Oneself, then groups and components by their titles, also those that LiteLLM does not have yet."""
    page = opened.page
    await add_key(opened.portal, CHECKOUT, "ci")
    await opened.sign_in("dave")
    chosen = page.get_by_label("Owner", exact=True)
    options = ["Me", "litellm-users", "team-a", "Assistant", "Checkout"]
    await expect(chosen.locator("option")).to_have_text(options)
    assert await chosen.locator("optgroup").evaluate_all("all => all.map(one => one.label)") == ["Groups", "Components"]
    await expect(page.locator("owner-switch [role=status]")).to_have_text(re.compile(r"User\s+default/dave"))
    await page.get_by_role("link", name="Spending").click()
    await expect(chosen).to_be_visible()


async def test_two_owners_with_one_title_are_told_apart(opened: Opened) -> None:
    """By their names in the catalog."""
    components = opened.portal.backstage.org.components
    components["component:shop/checkout"] = Component(TEAM_A, "Checkout")
    await opened.sign_in("dave")
    options = opened.page.get_by_label("Owner", exact=True).locator("optgroup[label=Components] option")
    await expect(options).to_have_text(["Assistant", "Checkout (default/checkout)", "Checkout (shop/checkout)"])


async def test_many_owners_come_from_as_many_pages_as_it_takes(opened: Opened) -> None:
    """A team of 120 components."""
    components = opened.portal.backstage.org.components
    components |= {f"component:default/part-{number}": Component(TEAM_A) for number in range(118)}
    await opened.sign_in("dave")
    options = opened.page.get_by_label("Owner", exact=True).locator("optgroup[label=Components] option")
    await expect(options).to_have_count(120)


async def test_an_owner_without_a_user_gets_it_with_the_first_key(opened: Opened) -> None:
    """An empty list says which limits there will be; the address, a reload and a link keep the owner."""
    page = opened.page
    await opened.sign_in("dave")
    await switch(page, "Checkout")
    await expect(page.locator("keys-view")).to_contain_text(
        "Checkout has no keys yet. With the first one it gets its limits: $50.00, monthly"
    )
    await expect(page.locator(".tile").first).to_contain_text("of $50.00")
    await expect(page.locator(".tile").last).to_contain_text("0 of 5")
    assert page.url.endswith(f"#/keys/{CHECKOUT}")
    await page.get_by_role("link", name="Spending").click()
    await expect(page.get_by_text("Nothing spent in this time.")).to_be_visible()
    await page.get_by_role("link", name="Keys").click()
    secret = await create(page, "ci")
    await expect(page.locator("secret-card h2")).to_have_text("The new key “ci” of Checkout")
    await expect(page.locator("keys-table .name")).to_have_text(["ci"])
    await expect(page.locator(".tile").last).to_contain_text("1 of 5")
    assert await chat(opened.portal.litellm, secret) == 200
    await page.get_by_role("button", name="I saved the key").click()
    await page.reload()
    await page.get_by_role("button", name="dave").click()
    await opened.loaded()
    await expect(page.locator("keys-table .name")).to_have_text(["ci"])
    await expect(page.get_by_label("Owner", exact=True)).to_have_value(CHECKOUT)


async def test_the_form_has_the_limits_of_the_owner(opened: Opened) -> None:
    """They are of the component's tier, and not of the tier of the person who makes its keys."""
    page = opened.page
    await opened.sign_in("dave", f"#/keys/{CHECKOUT}")
    await describe(page, "one")
    await page.get_by_label("Budget in USD").fill("51")
    await expect(page.locator("dialog[open]")).to_contain_text("At most $50.00.")
    await expect(page.locator("dialog .primary")).to_be_disabled()
    await page.keyboard.press("Escape")
    for number in range(5):
        await add_key(opened.portal, CHECKOUT, f"key {number}")
    await switch(page, "Me")
    await switch(page, "Checkout")
    await expect(page.get_by_text("Checkout has 5 of 5 keys. Delete one first.")).to_be_visible()
    await expect(page.get_by_role("button", name="Create key")).to_be_disabled()


@pytest.fixture
def configured(request: pytest.FixtureRequest) -> Configure:
    """As in standalone mode, unless a test has other settings."""
    return lambda settings: replace(settings, **getattr(request, "param", {}))


SHORT = OwnerEntry("component", ("spec.type=service",), None, Tier(max_budget=5, max_key_life=7 * 86400))


@pytest.mark.parametrize("configured", [{"owners": (SHORT,)}], indirect=True)
async def test_a_key_lives_as_long_as_the_owners_tier_lets_it(opened: Opened) -> None:
    """Nothing longer can be chosen, and "never" is not offered."""
    await opened.sign_in("dave", f"#/keys/{CHECKOUT}")
    await describe(opened.page, "one")
    assert await opened.page.get_by_label("Expires").locator("option").all_inner_texts() == ["7 days"]


@pytest.mark.parametrize("configured", [{"owners": ()}], indirect=True)
async def test_without_owners_there_is_no_switch(opened: Opened) -> None:
    """Nor a transfer: there is nobody else to choose."""
    page = opened.page
    await opened.sign_in("alice")
    await create(page, "laptop")
    await expect(page.get_by_label("Owner", exact=True)).to_have_count(0)
    await page.get_by_role("button", name="Actions for laptop").click()
    await expect(page.get_by_role("menuitem", name="Transfer")).to_have_count(0)


async def test_the_same_views_and_actions_for_each_owner(opened: Opened) -> None:
    """Edit, block, rotate and delete a component's key; its spending; the way back is the browser's."""
    page, rows = opened.page, opened.portal.litellm.rows
    key_id = await add_key(opened.portal, CHECKOUT, "ci")
    await opened.sign_in("dave", f"#/keys/{CHECKOUT}")
    await choose(page, "ci", "Edit")
    await page.get_by_label("Budget in USD").fill("7")
    await page.locator("dialog .primary").click()
    await expect(page.locator("keys-table")).to_contain_text("of $7.00")
    await choose(page, "ci", "Block")
    await expect(page.locator("keys-table .pill")).to_have_text("Blocked")
    await choose(page, "ci", "Unblock")
    await expect(page.locator("keys-table .pill")).to_have_text("Active")
    assert (rows.keys[key_id]["user_id"], rows.keys[key_id]["max_budget"]) == (CHECKOUT, 7)
    await page.keyboard.press("g")
    await page.keyboard.press("s")
    await expect(page.locator("main h1")).to_have_text("Spending")
    assert page.url.endswith(f"#/spending/{CHECKOUT}")
    await expect(page.locator("header.page p")).to_contain_text("What the keys of Checkout spent.")
    await page.go_back()
    await expect(page.locator("keys-table .name")).to_have_text(["ci"])
    await choose(page, "ci", "Delete")
    await page.get_by_label("Type ci to confirm").fill("ci")
    await page.get_by_role("button", name="Delete ci for good").click()
    await expect(page.get_by_text("No keys yet.")).to_be_visible()
    await switch(page, "Me")
    await expect(page.locator("header.page p")).to_contain_text("your budget")
    assert page.url.endswith("#/keys")


async def test_the_switch_by_keyboard_and_for_those_who_hear_it(opened: Opened) -> None:
    """The focus stays on it, the new owner is announced, and the title of the window follows."""
    page = opened.page
    await opened.sign_in("dave")
    chosen = page.get_by_label("Owner", exact=True)
    await chosen.focus()
    for pressed, title, said in (
        ("C", "Keys: Checkout", r"Component\s+default/checkout"),
        ("ArrowUp", "Keys: Assistant", r"Component\s+default/assistant"),
        ("ArrowUp", "Keys: team-a", r"Group\s+default/team-a"),
    ):
        await chosen.press(pressed)
        await expect(page).to_have_title(f"{title} · LiteLLM console")
        await expect(page.locator("owner-switch [role=status]")).to_have_text(re.compile(said))
        await opened.loaded()
        await expect(chosen).to_be_focused()
    await page.get_by_role("link", name="Spending").click()
    await expect(page.locator("main h1")).to_be_focused()


async def test_what_comes_late_is_never_shown_for_another_owner(opened: Opened) -> None:
    """Keys, budget and spending of one owner that arrive once another is chosen; nor does a form of theirs open."""
    page = opened.page
    await add_key(opened.portal, CHECKOUT, "of-checkout")
    await add_key(opened.portal, TEAM_A, "of-team-a")
    await opened.sign_in("dave")
    await page.evaluate(
        """globalThis.seen = [];
        new MutationObserver(() => {
            const owner = document.querySelector('owner-switch select')?.value;
            const text = document.querySelector('[data-view]')?.textContent ?? '';
            const found = {'component:default/checkout': 'of-checkout', 'group:default/team-a': 'of-team-a'};
            for (const [ref, alias] of Object.entries(found)) {
                if (text.includes(alias) && owner !== ref) seen.push(`${alias} under ${owner}`);
            }
        }).observe(document.body, {subtree: true, childList: true, characterData: true});"""
    )
    late = await hold(page, re.compile("component%3Adefault%2Fcheckout"))
    await switch(page, "Checkout")
    async with asyncio.timeout(30):
        await late.asked.wait()
    await switch(page, "team-a")
    await expect(page.locator("keys-table .name")).to_have_text(["of-team-a"])
    async with page.expect_response(re.compile("checkout")):
        late.released.set()
    await expect(page.locator("keys-table .name")).to_have_text(["of-team-a"])
    await page.unroute_all(behavior="wait")
    await switch(page, "Checkout")
    await expect(page.locator("keys-table .name")).to_have_text(["of-checkout"])
    edited = await hold(page, re.compile("checkout/keys/[0-9a-f]{64}$"))
    await choose(page, "of-checkout", "Edit")
    async with asyncio.timeout(30):
        await edited.asked.wait()
    await switch(page, "team-a")
    await expect(page.locator("keys-table .name")).to_have_text(["of-team-a"])
    async with page.expect_response(re.compile("checkout/keys/[0-9a-f]{64}$")):
        edited.released.set()
    await page.evaluate("new Promise(requestAnimationFrame)")
    await expect(page.locator("dialog[open]")).to_have_count(0)
    assert await page.evaluate("seen") == []


async def test_a_secret_outlives_a_switch(opened: Opened) -> None:
    """Also one that comes once another owner is chosen: its card says whose key it is."""
    page = opened.page
    await opened.sign_in("dave", f"#/keys/{CHECKOUT}")
    await describe(page, "ci")
    held = await hold(page, re.compile("checkout/keys$"))
    await page.locator("dialog .primary").click()
    await held.asked.wait()
    await page.evaluate("location.hash = '#/keys'")
    await expect(page.locator("dialog[open]")).to_have_count(0)
    held.released.set()
    await expect(page.locator("secret-card h2")).to_have_text("The new key “ci” of Checkout")
    secret = await page.locator("[data-secret]").inner_text()
    await switch(page, "team-a")
    await opened.loaded()
    await expect(page.locator("[data-secret]")).to_have_text(secret)
    assert await chat(opened.portal.litellm, secret) == 200


async def test_nothing_moves_when_the_list_comes(opened: Opened) -> None:
    """The view waits for it, here as long as it takes; the heading is where it stays."""
    page = opened.page
    await page.add_init_script(
        "const later = setTimeout; globalThis.setTimeout = (act, ms) => (ms === 1000 ? 0 : later(act, ms));"
    )
    await opened.go()
    await page.evaluate(
        """globalThis.tops = new Set();
        const look = () => {
            const heading = document.querySelector('main.alone') ? null : document.querySelector('main h1');
            if (heading) tops.add(heading.getBoundingClientRect().top);
            requestAnimationFrame(look);
        };
        look();"""
    )
    held = await hold(page, LIST)
    await page.get_by_role("button", name="dave").click()
    await held.asked.wait()
    held.released.set()
    await opened.loaded()
    await expect(page.get_by_label("Owner", exact=True)).to_be_visible()
    await switch(page, "Checkout")
    await expect(page.get_by_text("Checkout has no keys yet.")).to_be_visible()
    assert await page.evaluate("tops.size") == 1


async def test_a_list_that_takes_long_keeps_nobody_from_their_keys(opened: Opened) -> None:
    """They are there after a second, and the switch once the list is."""
    page = opened.page
    await add_key(opened.portal, DAVE, "laptop")
    held = await hold(page, LIST)
    await opened.sign_in("dave")
    await expect(page.locator("keys-table .name")).to_have_text(["laptop"])
    await expect(page.get_by_label("Owner", exact=True)).to_have_count(0)
    held.released.set()
    await expect(page.get_by_label("Owner", exact=True)).to_be_visible()


async def test_a_list_that_fails_says_so(opened: Opened) -> None:
    """One's own keys are shown; another try gets it. A service that has none of it is no failure."""
    page = opened.page
    await page.route(LIST, lambda route: route.fulfill(status=503, json={"error": {"message": "The catalog is away"}}))
    await add_key(opened.portal, DAVE, "laptop")
    await opened.sign_in("dave")
    await expect(page.locator("keys-table .name")).to_have_text(["laptop"])
    notice = page.get_by_role("alert")
    await expect(notice).to_contain_text("Your groups and components could not be loaded. The catalog is away")
    await page.unroute(LIST)
    await notice.get_by_role("button", name="Try again").click()
    await expect(page.get_by_label("Owner", exact=True)).to_be_visible()
    await page.route(LIST, lambda route: route.fulfill(status=400, json={"error": {"message": "managedBy"}}))
    await page.get_by_role("button", name="Sign out").click()
    await page.get_by_role("button", name="alice").click()
    await opened.loaded()
    await expect(page.get_by_role("alert")).to_have_count(0)
    await expect(page.get_by_label("Owner", exact=True)).to_have_count(0)


@pytest.mark.parametrize("view", ["keys", "spending"])
async def test_a_link_to_what_others_manage(opened: Opened, view: str) -> None:
    """The service's reason, no other try, and the way back."""
    page = opened.page
    await add_key(opened.portal, CHECKOUT, "ci")
    await opened.sign_in("alice", f"#/{view}/{CHECKOUT}")
    await expect(page.get_by_role("alert")).to_contain_text(f"{CHECKOUT} is managed by {TEAM_A}, admins")
    await expect(page.get_by_role("button", name="Try again")).to_have_count(0)
    await expect(page.locator("main")).not_to_contain_text("ci\n")
    await page.get_by_role("link", name="To your keys").click()
    await expect(page.get_by_text("No keys yet. A key lets your code call models.")).to_be_visible()


async def test_what_one_manages_is_not_the_next_ones(opened: Opened) -> None:
    """The next person who signs in in this window has a list of their own."""
    page = opened.page
    await opened.sign_in("dave", f"#/keys/{CHECKOUT}")
    await expect(page.get_by_role("button", name="Create key").first).to_be_visible()
    await page.get_by_role("button", name="Sign out").click()
    await page.get_by_role("button", name="alice").click()
    await expect(page.get_by_role("alert")).to_contain_text("is managed by")
    await expect(page.get_by_role("button", name="Create key")).to_have_count(0)
    await switch(page, "Me")
    await opened.loaded()
    options = page.get_by_label("Owner", exact=True).locator("option")
    await expect(options).to_have_text(["Me", "litellm-users", "Assistant"])


@pytest.mark.parametrize(("width", "theme"), [(1280, "dark"), (1280, "light"), (380, "light"), (320, "dark")])
async def test_the_switch_fits_every_window(open_page: Open, portal: Portal, width: int, theme: str) -> None:
    """Also with a long title from right to left; axe finds nothing."""
    name = "component:default/" + "long-name-" * 6
    portal.backstage.org.components[name] = Component(TEAM_A, "קופה " * 12)
    opened = await open_page(viewport={"width": width, "height": 800}, color_scheme=theme)
    await opened.sign_in("dave", f"#/keys/{name}")
    await judge(opened.page, f"owners-{width}-{theme}")


async def test_the_focus_on_the_switch_is_seen_with_forced_colours(open_page: Open) -> None:
    """There is an outline around it."""
    opened = await open_page(forced_colors="active")
    await opened.sign_in("dave")
    await opened.page.get_by_role("link", name="Devices").focus()
    for _ in range(3):
        await opened.page.keyboard.press("Tab")
        focused = await opened.page.evaluate(
            "(({outlineStyle}) => [document.activeElement.tagName, outlineStyle])"
            "(getComputedStyle(document.activeElement))"
        )
    assert focused == ["SELECT", "solid"]


async def test_a_key_moves_to_a_component(opened: Opened) -> None:
    """The dialog says what stays; the secret works, the row goes, and the focus is on the key after it."""
    page, litellm = opened.page, opened.portal.litellm
    await opened.sign_in("dave")
    secret = await create(page, "ci")
    await page.get_by_role("button", name="I saved the key").click()
    await add_key(opened.portal, DAVE, "laptop")
    await page.get_by_role("link", name="Spending").click()
    await page.get_by_role("link", name="Keys").click()
    await expect(page.locator("keys-table tbody tr")).to_have_count(2)
    await choose(page, "ci", "Transfer")
    dialog = page.locator("dialog[open]")
    await expect(dialog).to_contain_text("The secret goes on working")
    await expect(dialog).to_contain_text("Those who received the secret still know it.")
    receiver = dialog.get_by_label("New owner")
    await expect(receiver).to_be_focused()
    await expect(receiver.locator("option")).to_have_text(["litellm-users", "team-a", "Assistant", "Checkout"])
    await receiver.select_option(label="Checkout")
    await dialog.get_by_role("button", name="Transfer to Checkout").click()
    await expect(page.get_by_text("“ci” belongs to Checkout now.")).to_be_visible()
    await expect(page.locator("keys-table .name")).to_have_text(["laptop"])
    await expect(page.get_by_role("button", name="Actions for laptop")).to_be_focused()
    assert await chat(litellm, secret) == 200
    await switch(page, "Checkout")
    await expect(page.locator("keys-table .name")).to_have_text(["ci"])


async def test_a_transfer_that_is_refused_stays_in_its_dialog(opened: Opened) -> None:
    """With the service's reason; another owner may be chosen then."""
    page = opened.page
    await add_key(opened.portal, DAVE, "ci")
    await add_key(opened.portal, CHECKOUT, "ci")
    await opened.sign_in("dave", f"#/keys/{CHECKOUT}")
    await choose(page, "ci", "Transfer")
    dialog = page.locator("dialog[open]")
    await dialog.get_by_label("New owner").select_option(label="Me")
    await dialog.get_by_role("button", name="Transfer to me").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("“ci” was not transferred. Another key has the alias ci")
    await expect(dialog.get_by_label("New owner")).to_have_value(DAVE)
    await dialog.get_by_label("New owner").select_option(label="team-a")
    await dialog.get_by_role("button", name="Transfer to team-a").click()
    await expect(page.get_by_text("“ci” belongs to team-a now.")).to_be_visible()


async def test_a_transfer_whose_answer_was_lost_is_done(opened: Opened) -> None:
    """Another try finds the key at its new owner."""
    page = opened.page
    await add_key(opened.portal, DAVE, "ci")
    await opened.sign_in("dave")

    async def lose(route: Route) -> None:
        await route.fetch()
        await route.abort()

    await page.route(re.compile("/transfer$"), lose)
    await choose(page, "ci", "Transfer")
    await page.get_by_label("New owner").select_option(label="Checkout")
    send = page.get_by_role("button", name="Transfer to Checkout")
    await send.click()
    await expect(page.locator("dialog [role=alert]")).to_contain_text("The service cannot be reached.")
    await page.unroute(re.compile("/transfer$"))
    await send.click()
    await expect(page.get_by_text("“ci” belongs to Checkout now.")).to_be_visible()


async def test_a_key_that_is_gone_is_not_transferred(opened: Opened) -> None:
    """The page says that it was deleted meanwhile, and its row goes."""
    page = opened.page
    key_id = await add_key(opened.portal, DAVE, "ci")
    await opened.sign_in("dave")
    await choose(page, "ci", "Transfer")
    async with opened.portal.as_person(DAVE) as dave:
        await dave.delete(keys_path(DAVE, key_id))
    await page.locator("dialog .primary").click()
    await expect(page.get_by_text("“ci” was deleted meanwhile.")).to_be_visible()
    await expect(page.locator("dialog[open]")).to_have_count(0)


async def test_no_transfer_in_the_overlap_of_a_rotation(opened: Opened) -> None:
    """The service refuses it, so that it is not offered for either of the two keys."""
    page = opened.page
    key_id = await add_key(opened.portal, DAVE, "ci")
    async with opened.portal.as_person(DAVE) as dave:
        await dave.post(f"{keys_path(DAVE, key_id)}/regenerate", json={"overlap": 3600})
    await opened.sign_in("dave")
    buttons = page.get_by_role("button", name="Actions for")
    await expect(buttons).to_have_count(2)
    for number in range(2):
        await buttons.nth(number).click()
        await expect(page.get_by_role("menuitem", name="Delete")).to_be_visible()
        await expect(page.get_by_role("menuitem", name="Transfer")).to_have_count(0)
        await page.keyboard.press("Escape")


async def test_an_admin_names_the_new_owner(opened: Opened) -> None:
    """Any user may get it; one whom LiteLLM does not have is an error in the dialog, and the key stays."""
    page, rows = opened.page, opened.portal.litellm.rows
    key_id = await add_key(opened.portal, DAVE, "ci")
    await opened.sign_in("bob", f"#/users/{DAVE}")
    await choose(page, "ci", "Transfer")
    send = page.locator("dialog .primary")
    await expect(send).to_be_disabled()
    await page.get_by_label("New owner").fill(ALICE)
    await send.click()
    await expect(page.locator("dialog [role=alert]")).to_contain_text("“ci” was not transferred")
    await page.get_by_label("New owner").fill(CHECKOUT)
    await page.get_by_role("button", name="Transfer to checkout").click()
    await expect(page.get_by_text("“ci” belongs to checkout now.")).to_be_visible()
    assert rows.keys[key_id]["user_id"] == CHECKOUT


async def test_admins_filter_users_by_kind(opened: Opened) -> None:
    """Each row says of which kind it is."""
    page = opened.page
    await add_key(opened.portal, DAVE, "laptop")
    await add_key(opened.portal, CHECKOUT, "ci")
    await add_key(opened.portal, TEAM_A, "shared")
    await opened.sign_in("bob", "#/users")
    users = page.locator("users-view > section tbody")
    kinds = users.locator("td:nth-child(3)")
    await expect(kinds).to_have_text(["Component", "Group", "User"])
    for kind, name in (("Component", "Checkout"), ("Group", "team-a"), ("User", "Dave")):
        await page.get_by_label("Kind", exact=True).select_option(label=kind)
        await expect(users.locator(".name")).to_have_text([name])
        await expect(kinds).to_have_text([kind])


async def test_admins_see_what_software_may_spend_in_sum(opened: Opened) -> None:
    """Of each entry, and of each group how many of `maxOwners` it has; whatever the list of users is filtered by."""
    page, rows = opened.page, opened.portal.litellm.rows
    for owner in (CHECKOUT, TEAM_A):
        await add_key(opened.portal, owner, "ci")
    await add_key(opened.portal, ASSISTANT, "ci", by=ALICE)
    rows.users[CHECKOUT]["spend"] = 12.5
    await opened.sign_in("bob", "#/users")
    entries = page.locator("owner-sums section > .scroll tbody tr")
    await expect(entries).to_have_count(2)
    await expect(entries.first).to_contain_text(
        re.compile(r"component spec\.type=service\s*2\s*\$12\.50\s*of \$100\.00")
    )
    await page.locator("owner-sums summary").first.click()
    groups = page.locator("owner-sums details").first.locator("tbody tr")
    await expect(groups.first).to_contain_text(re.compile(r"group:default/litellm-users\s*1 of 10\s*\$0\.00"))
    await expect(groups.last).to_contain_text(re.compile(r"group:default/team-a\s*1 of 10\s*\$12\.50\s*of \$50\.00"))
    await page.get_by_label("Kind", exact=True).select_option(label="User")
    await expect(page.get_by_text("Nobody was found.")).to_be_visible()
    await expect(entries).to_have_count(2)
    del opened.portal.backstage.org.components[CHECKOUT]
    await page.reload()
    await page.get_by_role("button", name="bob").click()
    await expect(entries.last).to_contain_text(re.compile(r"No entry matches\s*1\s*\$12\.50"))
    await judge(page, "owners-in-sum")


@pytest.mark.parametrize("configured", [{"owners": ()}], indirect=True)
async def test_without_owners_there_is_no_sum(opened: Opened) -> None:
    """Where only people have keys the page of users is what it was."""
    await opened.sign_in("bob", "#/users")
    await expect(opened.page.locator("owner-sums h1")).to_have_count(0)


async def test_what_somebody_knows(opened: Opened) -> None:
    """The keys of software whose secret they received, each with its owner's page, and those that nobody knows of."""
    page, rows = opened.page, opened.portal.litellm.rows
    key_id = await add_key(opened.portal, CHECKOUT, "ci")
    await add_key(opened.portal, MEMBERS, "of-alice", by=ALICE)
    await add_key(opened.portal, DAVE, "laptop")
    rows.add_key({"user_id": CHECKOUT, "key_alias": "elsewhere"})
    await opened.sign_in("bob", f"#/users/{DAVE}")
    known = page.locator("known-secrets")
    await expect(known.locator("section > .scroll tbody .name")).to_have_text(["ci"])
    await known.get_by_text("1 other key of groups and components").click()
    await expect(known.locator("details .name")).to_have_text(["elsewhere"])
    await known.get_by_role("link", name=CHECKOUT).first.click()
    await expect(page.locator("main h1").first).to_have_text("checkout")
    await expect(page.locator("keys-table .name")).to_have_text(["elsewhere", "ci"])
    await expect(page.locator("known-secrets")).to_have_count(0)
    await page.go_back()
    await known.get_by_role("link", name="ci", exact=True).click()
    assert page.url.endswith(f"#/users/{CHECKOUT}/keys/{key_id}")


@pytest.mark.parametrize("configured", [{"membership_seconds": 0.0}], indirect=True)
async def test_an_admin_accepts_what_was_registered_anew(opened: Opened) -> None:
    """The plan's reason is on its page; its uid is typed, and a wrong one is refused by the service."""
    page, org = opened.page, opened.portal.backstage.org
    await add_key(opened.portal, CHECKOUT, "ci")
    org.uids[CHECKOUT] = "registered-anew"
    async with opened.portal.as_person(BOB) as bob:
        await bob.post(f"{BASE}/cleanup", json={"dryRun": True})
    await opened.sign_in("bob", f"#/users/{CHECKOUT}")
    await expect(page.get_by_text("Off-boarding: registered again: an admin may accept its uid")).to_be_visible()
    await page.get_by_role("button", name="Accept another uid").click()
    send = page.get_by_role("button", name="Accept this uid of checkout")
    await expect(page.get_by_label("Its uid now")).to_be_focused()
    await page.get_by_label("Its uid now").fill("another")
    await expect(send).to_be_disabled()
    await page.get_by_label("Type checkout to confirm").fill("checkout")
    await send.click()
    await expect(page.locator("dialog [role=alert]")).to_contain_text("with the uid registered-anew")
    await page.get_by_label("Its uid now").fill("registered-anew")
    await send.click()
    await expect(page.locator("dialog[open]")).to_have_count(0)
    await expect(page.locator(".summary code")).to_have_text("registered-anew")
    async with opened.portal.as_person(BOB) as bob:
        assert (await bob.get(user_path(CHECKOUT))).json()["entityUid"] == "registered-anew"
