"""The page itself: signing in, waiting, failing, safety, accessibility, size."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from hashlib import sha256

import pytest
from playwright.async_api import Route, expect

from clients.litellm.rows import ANNOTATIONS
from tests.conftest import ALICE, keys_path
from tests.console.conftest import Open, Opened, Portal, judge, spent
from tests.support.processes import ROOT

pytestmark = pytest.mark.console

PAGE = ROOT / "console" / "page"
CANARY = '<img src=x onerror="window.hacked=1">"\'><script>window.hacked=1</script>'
SIZES = {"wide": (1440, 900), "laptop": (1180, 800), "tablet": (720, 900), "phone": (380, 800)}
VIEWS = {
    "alice": {"keys": "#/keys", "spending": "#/spending", "devices": "#/devices"},
    "bob": {
        "users": "#/users",
        "user": "#/users/user:default/alice",
        "workloads": "#/workloads",
        "cleanup": "#/cleanup",
        "audit": "#/audit",
        "health": "#/health",
    },
}


async def test_carol_is_told_whom_to_ask(opened: Opened) -> None:
    """She is in neither group."""
    await opened.go()
    await opened.page.get_by_role("button", name="carol").click()
    await expect(opened.page.get_by_text("You are not in a group that may use models.")).to_be_visible()
    await expect(opened.page.get_by_text("Ask #llm-platform for access.")).to_be_visible()
    await opened.page.get_by_role("button", name="Sign out").click()
    await expect(opened.page.get_by_role("button", name="alice")).to_be_visible()


async def create_with_an_expired_token(opened: Opened, alias: str) -> None:
    """Alice's session ends while she describes a key; the page asks who is there."""
    page, portal = opened.page, opened.portal
    await opened.sign_in("alice")
    await page.keyboard.press("c")
    await page.locator("[name=alias]").fill(alias)
    portal.is_expired = True
    await page.locator("dialog .primary").click()
    await expect(page.get_by_text("Your session has expired.")).to_be_visible()
    portal.is_expired = False


async def test_an_expired_token_loses_nothing_that_was_typed(opened: Opened) -> None:
    """The page asks for a new one over the dialog, and then goes on with what it was doing."""
    page = opened.page
    await create_with_an_expired_token(opened, "typed before")
    await page.get_by_role("button", name="alice").click()
    await expect(page.locator("[data-secret]")).to_be_visible()
    await expect(page.locator("tbody .name")).to_have_text("typed before")


async def test_another_person_after_an_expired_session(opened: Opened) -> None:
    """Nothing that alice began is done in the name of bob, an admin: the page begins again as his."""
    page = opened.page
    await create_with_an_expired_token(opened, "of alice")
    await page.get_by_role("button", name="bob").click()
    await expect(page.locator(".who b")).to_have_text("bob")
    await expect(page.locator("dialog[open]")).to_have_count(0)
    await expect(page.get_by_text("No keys yet.")).to_be_visible()
    assert opened.portal.litellm.rows.keys == {}


async def test_an_outsider_after_an_expired_session(opened: Opened) -> None:
    """Carol sees nothing of alice's page."""
    page, portal = opened.page, opened.portal
    await opened.sign_in("alice")
    portal.is_expired = True
    await page.get_by_role("link", name="Spending").click()
    await expect(page.get_by_text("Your session has expired.")).to_be_visible()
    portal.is_expired = False
    await page.get_by_role("button", name="carol").click()
    await expect(page.get_by_text("You are not in a group that may use models.")).to_be_visible()
    await expect(page.get_by_text("alice")).to_have_count(0)


@pytest.mark.parametrize("route", ["#/%", "#/users/%E0%A4%A", "#/nothing", "#//"])
async def test_a_link_to_nowhere(opened: Opened, route: str) -> None:
    """It leads to the keys."""
    await opened.sign_in("bob", route)
    await expect(opened.page.locator("h1")).to_have_text("Keys")


async def test_a_pasted_token(opened: Opened) -> None:
    """Where there are no people to choose; one that is refused is said so, and none is stored."""
    page, portal = opened.page, opened.portal
    await page.route(
        re.compile("/console/settings$"),
        lambda route: route.fulfill(json={"modelsUrl": None, "refreshUrl": None, "contact": None, "people": []}),
    )
    await opened.go()
    await page.locator("[name=token]").fill("not-a-token")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_text("This token was not accepted.")).to_be_visible()
    await expect(page.get_by_text("It is in the Authorization header")).to_be_visible()
    token = portal.backstage.user_token(ALICE)
    await page.locator("[name=token]").fill(token)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.locator("h1")).to_have_text("Keys")
    stored = await page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie])")
    assert token not in stored
    await page.reload()
    await expect(page.locator("[name=token]")).to_be_visible()


async def test_a_failed_sign_in_is_named(opened: Opened) -> None:
    """What did not happen, and why; its button tries that again."""
    page = opened.page
    await opened.go()
    await page.route(re.compile("/me$"), lambda route: route.abort())
    await page.get_by_role("button", name="alice").click()
    notice = page.get_by_role("alert")
    await expect(notice).to_contain_text("You could not be signed in. The service cannot be reached.")
    await page.unroute(re.compile("/me$"))
    await notice.get_by_role("button", name="Try again").click()
    await expect(page.locator("h1")).to_have_text("Keys")


async def test_waiting_failing_and_trying_again(opened: Opened) -> None:
    """A skeleton while it waits; then what was wrong, the request id to copy, and a way on."""
    page = opened.page
    answers, ready = asyncio.Event(), asyncio.Event()

    async def hold(route: Route) -> None:
        ready.set()
        await answers.wait()
        body = {"error": {"name": "ServiceUnavailableError", "message": "LiteLLM cannot be reached"}}
        await route.fulfill(status=503, json=body, headers={"X-Request-Id": "request-17"})

    await page.route(re.compile(r"/keys$"), hold)
    await opened.go()
    await page.get_by_role("button", name="alice").click()
    await ready.wait()
    await expect(page.locator(".skeleton")).to_be_visible()
    answers.set()
    await expect(page.get_by_role("alert")).to_contain_text("LiteLLM cannot be reached")
    await expect(page.get_by_role("alert")).to_contain_text("request-17")
    await page.unroute(re.compile(r"/keys$"))
    await page.get_by_role("button", name="Try again").click()
    await expect(page.get_by_text("No keys yet.")).to_be_visible()


async def test_offline(opened: Opened) -> None:
    """A line says so, and goes away."""
    await opened.sign_in("alice")
    await opened.page.context.set_offline(True)
    await expect(opened.page.get_by_text("You are offline.")).to_be_visible()
    await opened.page.context.set_offline(False)
    await expect(opened.page.get_by_text("You are offline.")).to_have_count(0)


async def test_text_of_others_is_text(opened: Opened) -> None:
    """Aliases, models, names and error messages that look like HTML are shown as they are, and do nothing."""
    page, portal = opened.page, opened.portal
    async with portal.as_person(ALICE) as alice:
        await alice.post(keys_path(ALICE), json={"alias": "harmless"})
    row = next(iter(portal.litellm.rows.keys.values()))
    row["models"] = [CANARY]
    row["metadata"]["orchestrator"] = row["metadata"].get("orchestrator", {})
    portal.backstage.org.profiles[ALICE]["displayName"] = CANARY

    async def canaries(route: Route) -> None:
        response = await route.fetch()
        body = json.dumps(await response.json()).replace("harmless", json.dumps(CANARY)[1:-1])
        await route.fulfill(response=response, body=body)

    await page.route(re.compile(r"/keys$|/users\?"), canaries)
    await opened.sign_in("alice")
    await expect(page.locator("tbody .name")).to_have_text(CANARY)
    body = {"error": {"name": "InputError", "message": CANARY}}
    await page.route(re.compile("/keys$"), lambda route: route.fulfill(status=400, json=body))
    await page.goto("about:blank")
    await opened.sign_in("alice")
    await expect(page.get_by_role("alert")).to_contain_text("<img src=x")
    await page.goto("about:blank")
    await opened.sign_in("bob", "#/users")
    assert await page.evaluate("window.hacked") is None


RECORD_FRAMES = """
globalThis.recorded = [];
let before = performance.now();
requestAnimationFrame(function frame(now) {
    globalThis.recorded.push(now - before);
    before = now;
    requestAnimationFrame(frame);
});
"""


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
async def test_every_view_is_accessible(open_page: Open, portal: Portal, size: str, theme: str) -> None:
    """Axe finds nothing, nothing is wider than the window, and with SCREENSHOTS= a picture of each is kept."""
    await spent(portal)
    width, height = SIZES[size]
    for who, views in VIEWS.items():
        opened = await open_page(viewport={"width": width, "height": height}, color_scheme=theme)
        page = opened.page
        await opened.sign_in(who)
        for view, route in views.items():
            await opened.go(route)
            await page.locator(f"{view}-view header h1").first.wait_for()
            await opened.loaded()
            await page.locator(".chart, .tile strong, table, .empty").first.wait_for()
            await judge(page, f"{view}-{size}-{theme}")
            if view == "keys":
                await page.keyboard.press("c")
                await judge(page, f"create-{size}-{theme}")
                await page.keyboard.press("Escape")
                await expect(page.locator("dialog[open]")).to_have_count(0)


async def test_the_theme_is_switched_and_kept(opened: Opened) -> None:
    """By a button, before the first paint of the next visit."""
    await opened.sign_in("alice")
    await opened.page.get_by_role("button", name="Switch between light and dark").click()
    await opened.page.reload()
    assert await opened.page.evaluate("document.documentElement.dataset.theme") == "dark"


async def test_a_thousand_keys(opened: Opened) -> None:
    """All are there, and are scrolled to the last; prints how long frames and a keystroke of the filter take."""
    page, portal = opened.page, opened.portal
    async with portal.as_person(ALICE) as alice:
        await alice.post(keys_path(ALICE), json={"alias": "one"})
    token, row = next(iter(portal.litellm.rows.keys.items()))
    annotations = row["metadata"][ANNOTATIONS]
    for number in range(999):
        key_id, metadata = f"{number:064x}", {ANNOTATIONS: annotations | {"alias": f"k{number}"}}
        portal.litellm.rows.keys[key_id] = row | {"token": key_id, "metadata": metadata}
    await opened.sign_in("alice")
    await expect(page.locator("tbody tr")).to_have_count(1000)
    milliseconds = await page.evaluate(
        """async () => {
            const input = document.querySelector('[data-filter]');
            const began = performance.now();
            input.value = 'k77';
            input.dispatchEvent(new Event('input', {bubbles: true}));
            await document.querySelector('keys-view').updateComplete;
            return performance.now() - began;
        }"""
    )
    print(f"filter of 1000 keys: {milliseconds:.0f} ms, token {token[:8]}")
    await expect(page.locator("tbody tr")).to_have_count(11)  # k77, and k770 to k779
    await page.locator("[data-filter]").fill("")
    await expect(page.locator("tbody tr")).to_have_count(1000)
    await page.evaluate(RECORD_FRAMES)
    await page.mouse.move(640, 400)
    while not await page.evaluate("scrollY + innerHeight >= document.documentElement.scrollHeight - 1"):
        await page.mouse.wheel(0, 600)
    await expect(page.locator("tbody tr").last).to_be_in_viewport()
    frames = sorted(await page.evaluate("recorded"))
    half, most = frames[len(frames) // 2], frames[-len(frames) // 20]
    print(f"{len(frames)} frames: half within {half:.0f} ms, 95 % within {most:.0f} ms")


async def test_the_first_view(opened: Opened) -> None:
    """Prints how long it takes from the start to the heading and to the table, after one visit."""
    await opened.sign_in("alice")
    await opened.page.reload()
    await opened.page.get_by_role("button", name="alice").wait_for()
    first = await opened.page.evaluate(
        """new Promise(resolve => new PerformanceObserver((list, observer) => {
            const [paint] = list.getEntriesByName('first-contentful-paint');
            if (paint) resolve(paint.startTime), observer.disconnect();
        }).observe({type: 'paint', buffered: true}))"""
    )
    print(f"first view: {first:.0f} ms")


def test_its_size() -> None:
    """At most 150 KB, compressed, in all."""
    served = [path for path in PAGE.iterdir() if path.suffix in {".js", ".css", ".svg", ".html"}]
    size = sum(len(gzip.compress(path.read_bytes())) for path in served)
    print(f"console: {len(served)} files, {size / 1000:.1f} KB compressed")
    assert size <= 150_000


def test_each_file_fits_into_a_head() -> None:
    """At most three hundred lines, except for what is vendored."""
    vendored = json.loads((ROOT / "console/vendor.json").read_text())
    lines = {path.name: len(path.read_text().splitlines()) for path in PAGE.iterdir() if path.name not in vendored}
    assert {name: number for name, number in lines.items() if number > 300} == {}


def test_what_is_vendored_is_what_was_recorded() -> None:
    """Version, licence, npm's checksum of the package, and ours of the file."""
    for name, record in json.loads((ROOT / "console/vendor.json").read_text()).items():
        assert sha256((PAGE / name).read_bytes()).hexdigest() == record["sha256"]
        locked = json.loads((ROOT / "console/package-lock.json").read_text())["packages"][
            f"node_modules/{record['package']}"
        ]
        assert (record["version"], record["integrity"]) == (locked["version"], locked["integrity"])
        assert record["license"] == "BSD-3-Clause"
