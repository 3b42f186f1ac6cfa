"""Implausible snapshots change nothing: asserted on LiteLLM's requests and its whole content."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from services.offboarding.report import report_as_json
from settings.model import CleanupSettings
from standalone.catalog import ADMINS, MEMBERS, TEAM_A
from state.tables import cleanup_run
from tests.services.offboarding.conftest import MakeOrganization
from tests.support.organization import INTERVAL, Organization

BY_QUERY = "/api/catalog/entities/by-query"
GROUP = f"/api/catalog/entities/by-name/group/default/{MEMBERS.partition('/')[2]}"


def catalog_answers(response: httpx.Response | Exception, path: str = BY_QUERY) -> Callable[[Organization], None]:
    def arrange(organization: Organization) -> None:
        organization.leave("m0")

        def answer(_: httpx.Request) -> httpx.Response:
            if isinstance(response, Exception):
                raise response
            return httpx.Response(response.status_code, content=response.content)

        organization.to_backstage.answers[path] = answer

    return arrange


def without_group(group: str) -> Callable[[Organization], None]:
    def arrange(organization: Organization) -> None:
        organization.leave("m0")
        del organization.org.groups[group]

    return arrange


def second_page_fails(organization: Organization) -> None:
    organization.leave("m0")
    first = {"items": [], "totalItems": 900, "pageInfo": {"nextCursor": "x"}}

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(500) if "cursor" in request.url.params else httpx.Response(200, json=first)

    organization.to_backstage.answers[BY_QUERY] = answer


def truncated_page(organization: Organization) -> None:
    alice = {"kind": "User", "metadata": {"namespace": "default", "name": "m1"}}
    catalog_answers(httpx.Response(200, json={"items": [alice], "totalItems": 3, "pageInfo": {}}))(organization)


def everybody_out(organization: Organization) -> None:
    for ref in organization.org.users:
        organization.org.users[ref].discard(MEMBERS)


def litellm_answers(response: httpx.Response, path: str = "/user/list") -> Callable[[Organization], None]:
    def arrange(organization: Organization) -> None:
        organization.leave("m0")
        organization.to_litellm.answers[path] = lambda _: httpx.Response(response.status_code, content=response.content)

    return arrange


def strangers(organization: Organization) -> None:
    for user_id in (
        "svc-ci",
        "default_user_id",
        "dave@example.com",
        "group:default/admins",
        "user:default",
        "user:a/b c",
    ):
        organization.litellm.rows.add_user({"user_id": user_id})
        organization.mint(user_id)
    organization.mint("user:default/an-orphan-key")
    organization.litellm.rows.add_key({"user_id": None})


def only_in_the_admin_group(organization: Organization) -> None:
    organization.join("chief", ADMINS)


def upper_case_in_the_catalog(organization: Organization) -> None:
    organization.org.names["user:default/m0"] = "M0"


def upper_case_in_litellm(organization: Organization) -> None:
    organization.litellm.rows.add_user({"user_id": "user:Default/M0"})
    organization.mint("user:Default/M0")


def nested_in_a_cycle(organization: Organization) -> None:
    organization.org.groups |= {TEAM_A: MEMBERS, "group:default/team-b": TEAM_A, MEMBERS: "group:default/team-b"}
    organization.org.users["user:default/m0"] = {"group:default/team-b"}


def litellm_lists_nobody(organization: Organization) -> None:
    litellm_answers(httpx.Response(200, json={"users": [], "total_pages": 0}))(organization)


def somebody_elses_group(organization: Organization) -> None:
    organization.org.groups["group:other/litellm-users"] = None
    organization.join("m0", "group:other/litellm-users")


REFUSED = "refused"
DONE = "done"
NOTHING_CHANGES: dict[str, tuple[Callable[[Organization], None], str, str]] = {
    "catalog 401": (catalog_answers(httpx.Response(401)), REFUSED, "refused this service's token"),
    "catalog 403": (catalog_answers(httpx.Response(403)), REFUSED, "refused this service's token"),
    "catalog 500": (catalog_answers(httpx.Response(500)), REFUSED, "failed with status 500"),
    "catalog 503": (catalog_answers(httpx.Response(503)), REFUSED, "failed with status 503"),
    "catalog times out": (catalog_answers(httpx.ReadTimeout("slow")), REFUSED, "did not answer in time"),
    "catalog out of reach": (catalog_answers(httpx.ConnectError("refused")), REFUSED, "cannot be reached"),
    "catalog answers HTML": (catalog_answers(httpx.Response(200, html="<p>")), REFUSED, "expected: a JSON object"),
    "catalog answers a list": (catalog_answers(httpx.Response(200, json=[])), REFUSED, "expected: a JSON object"),
    "catalog answers nonsense": (
        catalog_answers(httpx.Response(200, json={"items": 5})),
        REFUSED,
        "unexpected response",
    ),
    "catalog lists nonsense": (
        catalog_answers(httpx.Response(200, json={"items": [5], "totalItems": 1, "pageInfo": {}})),
        REFUSED,
        "expected: an entity",
    ),
    "empty 200": (
        catalog_answers(httpx.Response(200, json={"items": [], "totalItems": 0, "pageInfo": {}})),
        REFUSED,
        "has no members",
    ),
    "group missing": (without_group(MEMBERS), REFUSED, "has no group:default/litellm-users"),
    "admin group missing": (without_group(ADMINS), REFUSED, "has no group:default/admins"),
    "group cannot be read": (catalog_answers(httpx.Response(500), GROUP), REFUSED, "failed with status 500"),
    "second page fails": (second_page_fails, REFUSED, "failed with status 500"),
    "truncated page": (truncated_page, REFUSED, "returned 1 of 3 members"),
    "everybody leaves at once": (everybody_out, REFUSED, "has no members"),
    "LiteLLM cannot list": (litellm_answers(httpx.Response(500)), REFUSED, "failed with status 500"),
    "LiteLLM lists HTML": (litellm_answers(httpx.Response(200, html="<p>")), REFUSED, "not JSON"),
    "LiteLLM lists nonsense": (
        litellm_answers(httpx.Response(200, json={"users": [5], "total_pages": 1})),
        REFUSED,
        "unexpected response (expected: user)",
    ),
    "LiteLLM refuses the master key": (litellm_answers(httpx.Response(401)), REFUSED, "master key"),
    "LiteLLM lists nobody": (litellm_lists_nobody, DONE, ""),
    "nobody leaves": (lambda _: None, DONE, ""),
    "ids that are no Backstage users": (strangers, DONE, ""),
    "an admin outside the allowed group": (only_in_the_admin_group, DONE, ""),
    "upper case in the catalog": (upper_case_in_the_catalog, DONE, ""),
    "upper case in LiteLLM": (upper_case_in_litellm, DONE, ""),
    "nested groups in a cycle": (nested_in_a_cycle, DONE, ""),
    "a member of another namespace's group too": (somebody_elses_group, DONE, ""),
}


@pytest.mark.parametrize("name", NOTHING_CHANGES)
async def test_nothing_changes(organization: Organization, name: str) -> None:
    """Neither in the first run nor in the second, and the report says why."""
    arrange, outcome, reason = NOTHING_CHANGES[name]
    arrange(organization)
    before = organization.everything()
    for _ in range(2):
        report = await organization.run()
        assert (report["outcome"], reason in (report["reason"] or "")) == (outcome, True), report
        assert organization.to_litellm.changes == []
        assert organization.everything() == before


async def test_a_drop_of_more_than_half_changes_nothing(make_organization: MakeOrganization) -> None:
    """Sixty of a hundred members are gone since the last accepted run: nothing happens until an admin confirms."""
    organization = make_organization(members=10)
    await organization.run()
    for number in range(6):
        organization.leave(f"m{number}")
    before = organization.everything()
    report = await organization.run()
    assert (report["outcome"], "less than half of the 10" in report["reason"]) == ("refused", True)
    assert (organization.to_litellm.changes, organization.everything()) == ([], before)
    confirmed = await organization.run(plan_hash=report["plan"]["hash"])
    assert (confirmed["outcome"], len(confirmed["done"]["blocked"])) == ("done", 6)
    assert (await organization.run())["done"]["deleted"] == confirmed["done"]["blocked"]


async def test_a_suddenly_empty_admin_group_is_implausible(organization: Organization) -> None:
    """The admin group follows the same rule as the allowed group."""
    await organization.run()
    organization.leave("boss")
    report = await organization.run()
    assert (report["outcome"], organization.to_litellm.changes) == ("refused", [])


async def test_a_user_who_leaves_is_blocked_then_deleted(organization: Organization) -> None:
    """Keys are blocked in the first accepted run, user and keys deleted in the second; nobody else is affected."""
    gone = organization.leave("m0")
    others = {ref: organization.keys(ref) for ref in organization.litellm.rows.users if ref != gone}
    first = await organization.run()
    assert (first["done"]["blocked"], first["done"]["keysBlocked"]) == ([gone], 1)
    assert list(organization.keys(gone).values()) == [True]
    second = await organization.run()
    assert (second["done"]["deleted"], second["done"]["keysDeleted"]) == ([gone], 1)
    assert (gone in organization.litellm.rows.users, organization.keys(gone)) == (False, {})
    assert {ref: organization.keys(ref) for ref in organization.litellm.rows.users} == others
    third = await organization.run()
    assert (third["outcome"], organization.to_litellm.changes) == ("done", [])


async def test_a_renamed_entity_has_left(organization: Organization) -> None:
    """The new name is another user; the old one is removed."""
    organization.org.users["user:default/renamed"] = organization.org.users.pop("user:default/m0")
    assert (await organization.run())["done"]["blocked"] == ["user:default/m0"]


async def test_the_grace_period(make_organization: MakeOrganization) -> None:
    """It lies between blocking and deleting; a key created meanwhile is blocked too."""
    organization = make_organization(cleanup=CleanupSettings(interval=INTERVAL, grace_period=INTERVAL * 3))
    gone = organization.leave("m0")
    await organization.run()
    organization.mint(gone)
    held = await organization.run()
    assert (held["done"]["held"], held["done"]["keysBlocked"]) == ([gone], 1)
    assert list(organization.keys(gone).values()) == [True, True]
    await organization.run()
    assert (await organization.run())["done"]["deleted"] == [gone]


async def test_a_user_who_returns_gets_exactly_the_blocked_keys_back(organization: Organization) -> None:
    """Keys that somebody else blocked stay blocked."""
    gone = organization.leave("m0")
    theirs = organization.mint(gone)
    organization.litellm.rows.update_key(theirs, {"blocked": True})
    await organization.run()
    assert list(organization.keys(gone).values()) == [True, True]
    organization.join("m0")
    back = await organization.run()
    assert (back["done"]["restored"], back["done"]["keysRestored"]) == ([gone], 1)
    assert organization.keys(gone) == {key: key == theirs for key in organization.keys(gone)}
    assert (await organization.run())["done"]["restored"] == []


async def test_a_user_deleted_by_somebody_else(organization: Organization) -> None:
    """Between blocking and deleting: the result is the same."""
    gone = organization.leave("m0")
    await organization.run()
    organization.litellm.rows.delete_user(gone)
    report = await organization.run()
    assert (report["outcome"], report["done"]["deleted"]) == ("done", [gone])


async def test_a_key_deleted_by_somebody_else(organization: Organization) -> None:
    """While its owner was away: there is nothing to restore."""
    gone = organization.leave("m0")
    await organization.run()
    organization.litellm.rows.delete_key(next(iter(organization.keys(gone))))
    organization.join("m0")
    assert (await organization.run())["outcome"] == "done"


async def test_litellm_that_repeats_and_forgets_users(organization: Organization) -> None:
    """A user listed twice is removed once; one who is not listed is found in our own records."""
    gone = organization.leave("m0")
    rows = [row for row in organization.litellm.rows.users.values() for _ in range(2)]
    organization.to_litellm.answers["/user/list"] = lambda _: httpx.Response(
        200, json={"users": rows, "total_pages": 1}
    )
    assert (await organization.run())["done"]["blocked"] == [gone]
    organization.to_litellm.answers["/user/list"] = lambda _: httpx.Response(200, json={"users": [], "total_pages": 0})
    assert (await organization.run())["done"]["deleted"] == [gone]


@pytest.mark.parametrize(
    ("members", "most", "leaving", "acts"),
    [
        (30, None, 10, True),
        (30, None, 11, False),
        (200, None, 20, True),
        (200, None, 21, False),
        (9, 2, 2, True),
        (9, 2, 3, False),
        (9, 0, 1, False),
    ],
)
async def test_more_than_max_removals(
    make_organization: MakeOrganization, members: int, most: int | None, leaving: int, acts: bool
) -> None:
    """The default is the larger of ten and a tenth. Above it nobody is removed until an admin confirms the plan."""
    organization = make_organization(members, cleanup=CleanupSettings(interval=INTERVAL, max_removals=most))
    gone = [organization.leave(f"m{number}") for number in range(leaving)]
    report = await organization.run()
    if acts:
        assert (report["outcome"], sorted(report["done"]["blocked"])) == ("done", sorted(gone))
        return
    assert (report["outcome"], "maxRemovals" in report["reason"], organization.to_litellm.changes) == (
        "refused",
        True,
        [],
    )
    confirmed = await organization.run(plan_hash=report["plan"]["hash"])
    assert (confirmed["outcome"], sorted(confirmed["done"]["blocked"])) == ("done", sorted(gone))
    # What was confirmed once is carried through.
    assert sorted((await organization.run())["done"]["deleted"]) == sorted(gone)


async def test_restoring_continues_while_removals_are_refused(make_organization: MakeOrganization) -> None:
    """A refusal protects people; it must not lock anybody out."""
    organization = make_organization(members=40)
    back = organization.leave("m0")
    await organization.run()
    organization.join("m0")
    for number in range(1, 15):
        organization.leave(f"m{number}")
    report = await organization.run()
    assert (report["outcome"], report["done"]["restored"], report["done"]["blocked"]) == ("refused", [back], [])


async def test_a_confirmation_is_for_one_plan_and_one_hour(make_organization: MakeOrganization) -> None:
    """If other users left since, or after an hour, a new dry run is necessary."""
    organization = make_organization(members=40)
    for number in range(12):
        organization.leave(f"m{number}")
    report = await organization.run()
    organization.leave("m12")
    changed = await organization.run(plan_hash=report["plan"]["hash"])
    assert (changed["outcome"], organization.to_litellm.changes) == ("refused", [])
    organization.clock.advance(3600)
    with pytest.raises(Exception, match="last hour"):
        await organization.run(plan_hash=changed["plan"]["hash"])


async def test_the_failure_of_one_user_does_not_stop_the_others(make_organization: MakeOrganization) -> None:
    """The report lists the failure, and the next run retries it."""
    organization = make_organization(members=8)
    gone = sorted(organization.leave(f"m{number}") for number in range(3))
    await organization.run()
    deleted: list[Any] = []

    def refuse_the_second(request: httpx.Request) -> httpx.Response:
        user_id = request.content.decode().split('"')[3]
        deleted.append(user_id)
        if user_id == gone[1]:
            return httpx.Response(500, json={})
        organization.litellm.rows.delete_user(user_id)
        return httpx.Response(200, json=1)

    organization.to_litellm.answers["/user/delete"] = refuse_the_second
    report = await organization.run()
    assert (report["outcome"], report["done"]["deleted"]) == ("failed", [gone[0], gone[2]])
    assert [row["userId"] for row in report["done"]["failed"]] == [gone[1]]
    organization.to_litellm.answers.clear()
    assert (await organization.run())["done"]["deleted"] == [gone[1]]
    assert deleted == gone


@pytest.mark.parametrize(("path", "answer"), [("/user/delete", 1), ("/key/block", {"blocked": True})])
async def test_each_step_is_verified_in_litellm(organization: Organization, path: str, answer: Any) -> None:
    """If LiteLLM confirms a step but does not do it, the step is not reported as done."""
    organization.leave("m0")
    if path == "/user/delete":
        await organization.run()
    organization.to_litellm.answers[path] = lambda _: httpx.Response(200, json=answer)
    report = await organization.run()
    assert (report["outcome"], report["done"]["blocked"], report["done"]["deleted"]) == ("failed", [], [])


async def test_a_dry_run_changes_nothing_and_counts(organization: Organization) -> None:
    """Who, why, how many keys, since when."""
    gone = organization.leave("m0")
    organization.mint(gone)
    before = organization.everything()
    report = report_as_json(await organization.cleanup.plan("user:default/boss"))
    entry = report["plan"]["entries"][0]
    assert (report["outcome"], report["dryRun"], entry["userId"], entry["action"], entry["keys"], entry["since"]) == (
        "planned",
        True,
        gone,
        "block",
        2,
        None,
    )
    assert organization.everything() == before
    assert organization.to_litellm.changes == []
    last = await organization.cleanup.last_report()
    assert last is not None
    assert report_as_json(last) == report


async def test_nested_groups_can_be_turned_off(make_organization: MakeOrganization) -> None:
    """Without `includeNestedGroups` a member of only a child group has left."""
    organization = make_organization(include_nested_groups=False)
    organization.org.groups[TEAM_A] = MEMBERS
    organization.org.users["user:default/m0"] = {TEAM_A}
    assert (await organization.run())["done"]["blocked"] == ["user:default/m0"]


async def test_old_runs_are_deleted_except_the_last_accepted_one(make_organization: MakeOrganization) -> None:
    """A month of refusals does not make the next drop plausible."""
    organization = make_organization(members=10)
    report = (await organization.run())["runId"]
    for number in range(6):
        organization.leave(f"m{number}")
    for _ in range(3):
        organization.clock.advance(31 * 86400)
        assert (await organization.run())["outcome"] == "refused"
    organization.join("m0")
    organization.join("m1")
    assert (await organization.run())["outcome"] == "done"
    organization.clock.advance(31 * 86400)
    latest = (await organization.run())["runId"]
    async with organization.orchestrator.foundation.database.transaction() as connection:
        kept = (await connection.execute(sa.select(cleanup_run.c.id))).scalars().all()
    assert (report in kept, latest in kept, len(kept)) == (False, True, 2)
