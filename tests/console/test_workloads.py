"""Keys of minutes in the console: issuers and rules, what a token would get, and short keys among the others."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from playwright.async_api import Route, expect

from domain.workloads import KeyTerms, Match, Rule
from settings.model import Issuer, Settings, WorkloadSettings
from standalone import issuer as stand_in
from standalone.environment import CHECKOUT, PIPELINE
from tests.console.conftest import Configure, Open, Opened, Portal, choose, judge
from tests.support.requests import exchange

pytestmark = pytest.mark.console

DAVE = "user:default/dave"
PLACE = f"#/keys/{CHECKOUT}"
NUMBERED = Rule(
    "numbered",
    "standalone",
    CHECKOUT,
    Match(None, ((("repository_id",), "74"), (("kubernetes.io", "namespace"), "ci"))),
    KeyTerms(models=("gpt-fake",), rpm_limit=60),
)


@pytest.fixture
def configured(request: pytest.FixtureRequest) -> Configure:
    """With a second rule, and an issuer that cannot be reached; or with what a test wants."""

    def configure(settings: Settings) -> Settings:
        given = settings.workloads
        issuers = (*given.issuers, Issuer("empty", "https://empty.standalone", "litellm-orchestrator"))
        usual = WorkloadSettings(issuers=issuers, rules=(*given.rules, NUMBERED))
        return replace(settings, workloads=getattr(request, "param", usual))

    return configure


async def minted(portal: Portal, number: int) -> list[str]:
    """The secrets of keys of the pipeline, each for a token of its own."""
    async with portal.as_person(DAVE) as pipeline:
        tokens = [portal.issuer.token(jti=f"run-{run}", run_id=str(run)) for run in range(number)]
        return [(await exchange(pipeline, token)).json()["access_token"] for token in tokens]


async def test_an_admin_sees_issuers_and_rules(opened: Opened) -> None:
    """Whose keys they give, for what, how far, when last, and whether the keys of an issuer can be read."""
    page = opened.page
    await minted(opened.portal, 2)
    await opened.sign_in("bob", "#/workloads")
    await expect(page).to_have_title("Workloads · LiteLLM console")
    rule = page.get_by_role("region", name="Rules").locator("tbody tr")
    await expect(rule).to_have_count(2)
    await expect(rule.first.locator("td")).to_have_text(
        [
            re.compile(rf"{PIPELINE}\s+standalone"),
            CHECKOUT,
            re.compile(r"sub repo:acme/checkout:\*"),
            re.compile(r"at most 15 min\s*budget \$1.00\s+60 keys a minute"),
            "2 of 100",
            re.compile(r"ago|now"),
        ]
    )
    await expect(rule.last).to_contain_text('repository_id "74"')
    await expect(rule.last).to_contain_text('kubernetes.io / namespace "ci"')
    await expect(rule.last).to_contain_text("60 requests/min")
    await expect(rule.last.locator("td").last).to_have_text("never")
    issuers = page.get_by_role("region", name="Issuers").locator("tbody tr")
    await expect(issuers.first).to_contain_text(stand_in.URL)
    await expect(issuers.first.locator(".pill.good")).to_have_text("1 key")
    await expect(issuers.locator(".pill.bad")).to_have_text("Cannot be read")
    await expect(issuers.last).to_contain_text("has a discovery document of another issuer than its url")


async def test_keys_of_an_issuer_that_cannot_be_read_are_bad_news(opened: Opened) -> None:
    """With the reason; keys that are known are used on."""
    page = opened.page

    async def troubled(route: Route) -> None:
        answer = await route.fetch()
        body = await answer.json()
        body["issuers"][0] |= {"keys": 3, "readAt": "2026-11-26T12:44:49.983000Z", "problem": "It answered 500"}
        body["issuers"][1] |= {"keys": 0, "readAt": None, "problem": "It cannot be reached"}
        await route.fulfill(response=answer, json=body)

    await page.route("**/workloads", troubled)
    await opened.sign_in("bob", "#/workloads")
    await expect(page.locator(".pill.warn")).to_have_text("3 keys · cannot be read")
    await expect(page.locator(".pill.bad")).to_have_text("Cannot be read")
    await expect(page.get_by_text("It answered 500")).to_be_visible()
    await judge(page, "workloads that fail")


@pytest.mark.parametrize("configured", [WorkloadSettings()], indirect=True)
async def test_without_rules_the_page_says_which_setting_makes_them(opened: Opened) -> None:
    """And offers nothing to try."""
    await opened.sign_in("bob", "#/workloads")
    await expect(opened.page.get_by_text("litellmOrchestrator.workloads is not set")).to_be_visible()
    await expect(opened.page.locator("textarea")).to_have_count(0)


async def test_a_token_is_tried_and_not_kept(opened: Opened) -> None:
    """Each rule matches, or says what does not; the token leaves the page before the answer is there."""
    page = opened.page
    token = opened.portal.issuer.token()
    await opened.sign_in("bob", "#/workloads")
    box = page.get_by_label("A token, or its claims as JSON")
    await box.fill(token)
    await page.get_by_role("button", name="Try it").click()
    await expect(box).to_have_value("")
    await expect(page.get_by_text("The token is one of standalone.")).to_be_visible()
    rows = page.locator("workload-test tbody tr")
    await expect(rows.first).to_contain_text("Matches")
    await expect(rows.last).to_contain_text("Does not match")
    await expect(rows.last).to_contain_text('repository_id is missing, expected "74"')
    assert token not in await page.content()
    assert await page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])") == "[{},{}]"
    assert opened.portal.litellm.rows.keys == {}
    await judge(page, "a token that was tried")
    await box.fill(f"{token[:-8]}AAAAAAAA")
    await page.get_by_role("button", name="Try it").click()
    await expect(page.get_by_text("The token does not verify")).to_be_visible()
    await expect(rows).to_have_count(0)


async def test_claims_are_tried_as_if_they_were_verified(opened: Opened) -> None:
    """They are no secret, and stay to be changed; what is no JSON is not sent."""
    page = opened.page
    await opened.sign_in("bob", "#/workloads")
    box = page.get_by_label("A token, or its claims as JSON")
    claims = json.dumps({"iss": stand_in.URL, "sub": "repo:acme/checkout-evil:main"})
    await box.fill(claims)
    await page.get_by_role("button", name="Try it").click()
    await expect(page.get_by_text("Taken as if they were verified.")).to_be_visible()
    first = page.locator("workload-test tbody tr").first
    await expect(first).to_contain_text('sub is "repo:acme/checkout-evil:main"')
    await expect(box).to_have_value(claims)
    await box.fill('{"iss": ')
    await page.get_by_role("button", name="Try it").click()
    await expect(page.get_by_role("alert")).to_contain_text("This begins like claims, and is no JSON.")
    await box.fill('{"iss": "https://elsewhere.example.com"}')
    await page.get_by_role("button", name="Try it").click()
    await expect(page.locator("workload-test .said")).to_have_text(
        "Taken as if they were verified. Their iss is no issuer of the settings."
    )
    await expect(first).to_contain_text('the token is of ""')


async def test_who_may_not_read_workloads_has_no_page(opened: Opened) -> None:
    """A member finds neither a link nor anything at its address."""
    await opened.sign_in("dave", "#/workloads")
    await expect(opened.page.get_by_text("Only admins see this.")).to_be_visible()
    await expect(opened.page.get_by_role("link", name="Workloads")).to_have_count(0)


async def test_a_hundred_short_keys_are_one_row(open_page: Open, portal: Portal) -> None:
    """Below the others, folded, and outside the number of keys; unfolded, each says what it is."""
    async with portal.as_person(DAVE) as dave:
        await dave.post(f"/api/litellm-orchestrator/users/{CHECKOUT.replace('/', '%2F')}/keys", json={"alias": "ci"})
    rows = portal.litellm.rows
    await minted(portal, 12)
    [short, *others] = [row for row in rows.keys.values() if row["key_alias"] != "checkout.ci"]
    for number, row in enumerate([short, *others]):
        row |= {"spend": 0.25, "last_active": rows.stamp(-number)}
    opened = await open_page()
    page = opened.page
    await opened.sign_in("dave", PLACE)
    table = page.locator("keys-table tbody tr")
    await expect(table).to_have_count(2)
    await expect(table.first).to_contain_text("ci")
    await expect(table.last).to_contain_text("12 keys of minutes, 12 active")
    await expect(table.last).to_contain_text("$3.00")
    await expect(table.last.locator(".pill")).to_have_text("Short")
    await expect(page.locator(".tile").last).to_contain_text("1 of 5")
    await judge(page, "short keys, folded")
    fold = page.get_by_role("button", name=f"Workload {PIPELINE}")
    await expect(fold).to_have_attribute("aria-expanded", "false")
    await fold.click()
    await expect(fold).to_have_attribute("aria-expanded", "true")
    await expect(table).to_have_count(14)
    await expect(table.nth(2).locator(".pill")).to_have_text(re.compile(r"Ends in \d+ min"))
    await judge(page, "short keys, unfolded")
    await page.set_viewport_size({"width": 380, "height": 800})
    await judge(page, "short keys on a phone")
    await page.get_by_label("Filter by alias or model").fill(f"{PIPELINE} 7")
    await expect(table).to_have_count(2)
    await fold.click()
    await expect(table).to_have_count(1)


async def test_a_short_key_is_blocked_and_deleted_only(opened: Opened) -> None:
    """It is offered neither a change, nor a rotation, nor another owner; a link to it finds it."""
    page = opened.page
    await minted(opened.portal, 1)
    await opened.sign_in("dave", PLACE)
    await page.get_by_role("button", name=f"Workload {PIPELINE}").click()
    name = f"{PIPELINE} 0"
    await page.get_by_role("button", name=f"Actions for {name}").click()
    await expect(page.get_by_role("menuitem")).to_have_text(["Block", "Versions", "Delete"])
    await page.keyboard.press("Escape")
    await choose(page, name, "Block")
    await expect(page.locator("keys-table tbody tr").last.locator(".pill")).to_have_text("Blocked")
    [key_id] = opened.portal.litellm.rows.keys
    await page.get_by_role("button", name="Sign out").click()
    await opened.sign_in("bob", f"#/users/{CHECKOUT}/keys/{key_id}")
    await expect(page.locator("tr[aria-current]")).to_contain_text(name)
    await choose(page, name, "Delete")
    await page.get_by_label(f"Type {name} to confirm").fill(name)
    await page.get_by_role("button", name=f"Delete {name} for good").click()
    await expect(page.locator("keys-table")).to_have_count(0)


async def test_spending_has_a_workload_as_one_group(opened: Opened) -> None:
    """All keys of a rule, under its name, in the table and in the legend."""
    page, portal = opened.page, opened.portal
    await minted(portal, 3)
    for row in list(portal.litellm.rows.keys.values()):
        portal.litellm.rows.count_call(row, "gpt-fake", 0.25)
    await opened.sign_in("dave", f"#/spending/{CHECKOUT}")
    await page.get_by_text("Key", exact=True).click()
    names = page.locator("spending-view tbody .name")
    await expect(names).to_have_text([f"Workload {PIPELINE}"])
    await expect(page.locator("spending-view tbody tr")).to_contain_text("$0.75")
