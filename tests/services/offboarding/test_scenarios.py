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
from state.tables import change, cleanup_run
from tests.services.offboarding.conftest import MakeOrganisation
from tests.support.organisation import INTERVAL, Organisation

BY_QUERY = "/api/catalog/entities/by-query"
GROUP = f"/api/catalog/entities/by-name/group/default/{MEMBERS.partition('/')[2]}"


def catalog_answers(response: httpx.Response | Exception, path: str = BY_QUERY) -> Callable[[Organisation], None]:
    def arrange(organisation: Organisation) -> None:
        organisation.leave("m0")

        def answer(_: httpx.Request) -> httpx.Response:
            if isinstance(response, Exception):
                raise response
            return httpx.Response(response.status_code, content=response.content)

        organisation.to_backstage.answers[path] = answer

    return arrange


def without_group(group: str) -> Callable[[Organisation], None]:
    def arrange(organisation: Organisation) -> None:
        organisation.leave("m0")
        del organisation.org.groups[group]

    return arrange


def second_page_fails(organisation: Organisation) -> None:
    organisation.leave("m0")
    first = {"items": [], "totalItems": 900, "pageInfo": {"nextCursor": "x"}}

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(500) if "cursor" in request.url.params else httpx.Response(200, json=first)

    organisation.to_backstage.answers[BY_QUERY] = answer


def truncated_page(organisation: Organisation) -> None:
    alice = {"kind": "User", "metadata": {"namespace": "default", "name": "m1"}}
    catalog_answers(httpx.Response(200, json={"items": [alice], "totalItems": 3, "pageInfo": {}}))(organisation)


def everybody_out(organisation: Organisation) -> None:
    for ref in organisation.org.users:
        organisation.org.users[ref].discard(MEMBERS)


def litellm_answers(response: httpx.Response, path: str = "/user/list") -> Callable[[Organisation], None]:
    def arrange(organisation: Organisation) -> None:
        organisation.leave("m0")
        organisation.to_litellm.answers[path] = lambda _: httpx.Response(response.status_code, content=response.content)

    return arrange


def strangers(organisation: Organisation) -> None:
    for user_id in (
        "svc-ci",
        "default_user_id",
        "dave@example.com",
        "group:default/admins",
        "user:default",
        "user:a/b c",
    ):
        organisation.litellm.rows.add_user({"user_id": user_id})
        organisation.mint(user_id)
    organisation.mint("user:default/an-orphan-key")
    organisation.litellm.rows.add_key({"user_id": None})


def only_in_the_admin_group(organisation: Organisation) -> None:
    organisation.join("chief", ADMINS)


def upper_case_in_the_catalog(organisation: Organisation) -> None:
    organisation.org.names["user:default/m0"] = "M0"


def upper_case_in_litellm(organisation: Organisation) -> None:
    organisation.litellm.rows.add_user({"user_id": "user:Default/M0"})
    organisation.mint("user:Default/M0")


def nested_in_a_cycle(organisation: Organisation) -> None:
    organisation.org.groups |= {TEAM_A: MEMBERS, "group:default/team-b": TEAM_A, MEMBERS: "group:default/team-b"}
    organisation.org.users["user:default/m0"] = {"group:default/team-b"}


def litellm_lists_nobody(organisation: Organisation) -> None:
    litellm_answers(httpx.Response(200, json={"users": [], "total_pages": 0}))(organisation)


def somebody_elses_group(organisation: Organisation) -> None:
    organisation.org.groups["group:other/litellm-users"] = None
    organisation.join("m0", "group:other/litellm-users")


REFUSED = "refused"
DONE = "done"
NOTHING_CHANGES: dict[str, tuple[Callable[[Organisation], None], str, str]] = {
    "catalog 401": (catalog_answers(httpx.Response(401)), REFUSED, "refused this service's token"),
    "catalog 403": (catalog_answers(httpx.Response(403)), REFUSED, "refused this service's token"),
    "catalog 500": (catalog_answers(httpx.Response(500)), REFUSED, "failed with status 500"),
    "catalog 503": (catalog_answers(httpx.Response(503)), REFUSED, "failed with status 503"),
    "catalog times out": (catalog_answers(httpx.ReadTimeout("slow")), REFUSED, "did not answer in time"),
    "catalog out of reach": (catalog_answers(httpx.ConnectError("refused")), REFUSED, "cannot be reached"),
    "catalog answers HTML": (catalog_answers(httpx.Response(200, html="<p>")), REFUSED, "expected: a JSON object"),
    "catalog answers a list": (catalog_answers(httpx.Response(200, json=[])), REFUSED, "expected: a JSON object"),
    "catalog answers something else": (
        catalog_answers(httpx.Response(200, json={"items": 5})),
        REFUSED,
        "unexpected response",
    ),
    "catalog lists something else": (
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
    "LiteLLM lists something else": (
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
async def test_nothing_changes(organisation: Organisation, name: str) -> None:
    """Neither in the first run nor in the second, and the report says why."""
    arrange, outcome, reason = NOTHING_CHANGES[name]
    arrange(organisation)
    before = organisation.everything()
    for _ in range(2):
        report = await organisation.run()
        assert (report["outcome"], reason in (report["reason"] or "")) == (outcome, True), report
        assert organisation.to_litellm.changes == []
        assert organisation.everything() == before


async def test_a_drop_of_more_than_half_changes_nothing(make_organisation: MakeOrganisation) -> None:
    """Sixty of a hundred members are gone since the last accepted run: nothing happens until an admin confirms."""
    organisation = make_organisation(members=10)
    await organisation.run()
    for number in range(6):
        organisation.leave(f"m{number}")
    before = organisation.everything()
    report = await organisation.run()
    assert (report["outcome"], "less than half of the 10" in report["reason"]) == ("refused", True)
    assert (organisation.to_litellm.changes, organisation.everything()) == ([], before)
    confirmed = await organisation.run(plan_hash=report["plan"]["hash"])
    assert (confirmed["outcome"], len(confirmed["done"]["blocked"])) == ("done", 6)
    assert (await organisation.run())["done"]["deleted"] == confirmed["done"]["blocked"]


async def test_a_suddenly_empty_admin_group_is_implausible(organisation: Organisation) -> None:
    """The admin group follows the same rule as the allowed group."""
    await organisation.run()
    organisation.leave("boss")
    report = await organisation.run()
    assert (report["outcome"], organisation.to_litellm.changes) == ("refused", [])


async def test_a_user_who_leaves_is_blocked_then_deleted(organisation: Organisation) -> None:
    """Keys are blocked in the first accepted run, user and keys deleted in the second; nobody else is affected."""
    gone = organisation.leave("m0")
    others = {ref: organisation.keys(ref) for ref in organisation.litellm.rows.users if ref != gone}
    first = await organisation.run()
    assert (first["done"]["blocked"], first["done"]["keysBlocked"]) == ([gone], 1)
    assert list(organisation.keys(gone).values()) == [True]
    second = await organisation.run()
    assert (second["done"]["deleted"], second["done"]["keysDeleted"]) == ([gone], 1)
    assert (gone in organisation.litellm.rows.users, organisation.keys(gone)) == (False, {})
    assert {ref: organisation.keys(ref) for ref in organisation.litellm.rows.users} == others
    third = await organisation.run()
    assert (third["outcome"], organisation.to_litellm.changes) == ("done", [])


async def test_a_renamed_entity_has_left(organisation: Organisation) -> None:
    """The new name is another user; the old one is removed."""
    organisation.org.users["user:default/renamed"] = organisation.org.users.pop("user:default/m0")
    assert (await organisation.run())["done"]["blocked"] == ["user:default/m0"]


async def test_the_grace_period(make_organisation: MakeOrganisation) -> None:
    """It lies between blocking and deleting; a key created meanwhile is blocked too."""
    organisation = make_organisation(cleanup=CleanupSettings(interval=INTERVAL, grace_period=INTERVAL * 3))
    gone = organisation.leave("m0")
    await organisation.run()
    organisation.mint(gone)
    held = await organisation.run()
    assert (held["done"]["held"], held["done"]["keysBlocked"]) == ([gone], 1)
    assert list(organisation.keys(gone).values()) == [True, True]
    recorded = await organisation.recorded_changes()
    assert (await organisation.run())["done"]["held"] == [gone]
    assert await organisation.recorded_changes() == recorded, "holding without a new key changes nothing"
    assert (await organisation.run())["done"]["deleted"] == [gone]


async def test_refs_in_upper_case_have_the_same_lock(organisation: Organisation) -> None:
    """LiteLLM's ids are case-sensitive, Backstage's refs are not."""
    organisation.litellm.rows.add_user({"user_id": "user:Default/Gone"})
    await organisation.run()
    async with organisation.orchestrator.foundation.database.reading() as connection:
        rows = (await connection.execute(sa.select(change.c.target, change.c.lock))).all()
    assert [tuple(row) for row in rows] == [("user:Default/Gone", "user:default/gone")]


async def test_a_user_who_returns_gets_exactly_the_blocked_keys_back(organisation: Organisation) -> None:
    """Keys that somebody else blocked stay blocked."""
    gone = organisation.leave("m0")
    theirs = organisation.mint(gone)
    organisation.litellm.rows.update_key(theirs, {"blocked": True})
    await organisation.run()
    assert list(organisation.keys(gone).values()) == [True, True]
    organisation.join("m0")
    back = await organisation.run()
    assert (back["done"]["restored"], back["done"]["keysRestored"]) == ([gone], 1)
    assert organisation.keys(gone) == {key: key == theirs for key in organisation.keys(gone)}
    assert (await organisation.run())["done"]["restored"] == []


async def test_a_user_deleted_by_somebody_else(organisation: Organisation) -> None:
    """Between blocking and deleting: the result is the same."""
    gone = organisation.leave("m0")
    await organisation.run()
    organisation.litellm.rows.delete_user(gone)
    report = await organisation.run()
    assert (report["outcome"], report["done"]["deleted"]) == ("done", [gone])


async def test_a_key_deleted_by_somebody_else(organisation: Organisation) -> None:
    """While its owner was away: there is nothing to restore."""
    gone = organisation.leave("m0")
    await organisation.run()
    organisation.litellm.rows.delete_key(next(iter(organisation.keys(gone))))
    organisation.join("m0")
    assert (await organisation.run())["outcome"] == "done"


async def test_litellm_that_repeats_and_forgets_users(organisation: Organisation) -> None:
    """A user listed twice is removed once; one who is not listed is found in our own records."""
    gone = organisation.leave("m0")
    rows = [row for row in organisation.litellm.rows.users.values() for _ in range(2)]
    organisation.to_litellm.answers["/user/list"] = lambda _: httpx.Response(
        200, json={"users": rows, "total_pages": 1}
    )
    assert (await organisation.run())["done"]["blocked"] == [gone]
    organisation.to_litellm.answers["/user/list"] = lambda _: httpx.Response(200, json={"users": [], "total_pages": 0})
    assert (await organisation.run())["done"]["deleted"] == [gone]


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
    make_organisation: MakeOrganisation, members: int, most: int | None, leaving: int, acts: bool
) -> None:
    """The default is the larger of ten and a tenth. Above it nobody is removed until an admin confirms the plan."""
    organisation = make_organisation(members, cleanup=CleanupSettings(interval=INTERVAL, max_removals=most))
    gone = [organisation.leave(f"m{number}") for number in range(leaving)]
    report = await organisation.run()
    if acts:
        assert (report["outcome"], sorted(report["done"]["blocked"])) == ("done", sorted(gone))
        return
    assert (report["outcome"], "maxRemovals" in report["reason"], organisation.to_litellm.changes) == (
        "refused",
        True,
        [],
    )
    confirmed = await organisation.run(plan_hash=report["plan"]["hash"])
    assert (confirmed["outcome"], sorted(confirmed["done"]["blocked"])) == ("done", sorted(gone))
    # What was confirmed once is carried through.
    assert sorted((await organisation.run())["done"]["deleted"]) == sorted(gone)


async def test_restoring_continues_while_removals_are_refused(make_organisation: MakeOrganisation) -> None:
    """A refusal protects people; it must not lock anybody out."""
    organisation = make_organisation(members=40)
    back = organisation.leave("m0")
    await organisation.run()
    organisation.join("m0")
    for number in range(1, 15):
        organisation.leave(f"m{number}")
    report = await organisation.run()
    assert (report["outcome"], report["done"]["restored"], report["done"]["blocked"]) == ("refused", [back], [])


async def test_a_confirmation_is_for_one_plan_and_one_hour(make_organisation: MakeOrganisation) -> None:
    """If other users left since, or after an hour, a new dry run is necessary."""
    organisation = make_organisation(members=40)
    for number in range(12):
        organisation.leave(f"m{number}")
    report = await organisation.run()
    organisation.leave("m12")
    changed = await organisation.run(plan_hash=report["plan"]["hash"])
    assert (changed["outcome"], organisation.to_litellm.changes) == ("refused", [])
    organisation.clock.advance(3600)
    with pytest.raises(Exception, match="last hour"):
        await organisation.run(plan_hash=changed["plan"]["hash"])


async def test_the_failure_of_one_user_does_not_stop_the_others(make_organisation: MakeOrganisation) -> None:
    """The report lists the failure, and the next run retries it."""
    organisation = make_organisation(members=8)
    gone = sorted(organisation.leave(f"m{number}") for number in range(3))
    await organisation.run()
    deleted: list[Any] = []

    def refuse_the_second(request: httpx.Request) -> httpx.Response:
        user_id = request.content.decode().split('"')[3]
        deleted.append(user_id)
        if user_id == gone[1]:
            return httpx.Response(500, json={})
        organisation.litellm.rows.delete_user(user_id)
        return httpx.Response(200, json=1)

    organisation.to_litellm.answers["/user/delete"] = refuse_the_second
    report = await organisation.run()
    assert (report["outcome"], report["done"]["deleted"]) == ("failed", [gone[0], gone[2]])
    assert [row["userId"] for row in report["done"]["failed"]] == [gone[1]]
    organisation.to_litellm.answers.clear()
    assert (await organisation.run())["done"]["deleted"] == [gone[1]]
    assert deleted == gone


@pytest.mark.parametrize(("path", "answer"), [("/user/delete", 1), ("/key/block", {"blocked": True})])
async def test_each_step_is_verified_in_litellm(organisation: Organisation, path: str, answer: Any) -> None:
    """If LiteLLM confirms a step but does not do it, the step is not reported as done."""
    organisation.leave("m0")
    if path == "/user/delete":
        await organisation.run()
    organisation.to_litellm.answers[path] = lambda _: httpx.Response(200, json=answer)
    report = await organisation.run()
    assert (report["outcome"], report["done"]["blocked"], report["done"]["deleted"]) == ("failed", [], [])


async def test_a_dry_run_changes_nothing_and_counts(organisation: Organisation) -> None:
    """Who, why, how many keys, since when."""
    gone = organisation.leave("m0")
    organisation.mint(gone)
    before = organisation.everything()
    report = report_as_json(await organisation.cleanup.plan("user:default/boss"))
    entry = report["plan"]["entries"][0]
    assert (report["outcome"], report["dryRun"], entry["userId"], entry["action"], entry["keys"], entry["since"]) == (
        "planned",
        True,
        gone,
        "block",
        2,
        None,
    )
    assert organisation.everything() == before
    assert organisation.to_litellm.changes == []
    last = await organisation.cleanup.last_report()
    assert last is not None
    assert report_as_json(last) == report


async def test_nested_groups_can_be_turned_off(make_organisation: MakeOrganisation) -> None:
    """Without `includeNestedGroups` a member of only a child group has left."""
    organisation = make_organisation(include_nested_groups=False)
    organisation.org.groups[TEAM_A] = MEMBERS
    organisation.org.users["user:default/m0"] = {TEAM_A}
    assert (await organisation.run())["done"]["blocked"] == ["user:default/m0"]


async def test_old_runs_are_deleted_except_the_last_accepted_one(make_organisation: MakeOrganisation) -> None:
    """A month of refusals does not make the next drop plausible."""
    organisation = make_organisation(members=10)
    report = (await organisation.run())["runId"]
    for number in range(6):
        organisation.leave(f"m{number}")
    for _ in range(3):
        organisation.clock.advance(31 * 86400)
        assert (await organisation.run())["outcome"] == "refused"
    organisation.join("m0")
    organisation.join("m1")
    assert (await organisation.run())["outcome"] == "done"
    organisation.clock.advance(31 * 86400)
    latest = (await organisation.run())["runId"]
    async with organisation.orchestrator.foundation.database.transaction() as connection:
        kept = (await connection.execute(sa.select(cleanup_run.c.id))).scalars().all()
    assert (report in kept, latest in kept, len(kept)) == (False, True, 2)
