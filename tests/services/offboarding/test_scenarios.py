"""People who leave and return: blocked, deleted, restored; limits, confirmations and failures on the way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from clients.litellm.rows import ANNOTATIONS, annotated
from domain.actions import Action
from domain.identity import GroupRefs
from domain.keys import Block, Blocker, KeyAnnotations
from services.offboarding.cleanup_report import report_as_json
from settings.model import DirectorySettings
from standalone.catalog import ADMINS, MEMBERS, TEAM_A
from state.tables import change, cleanup_run
from tests.services.offboarding.conftest import MakeOrganisation
from tests.support.organisation import AT_ONCE, INTERVAL, Organisation
from tests.support.user_list import listing


async def test_a_user_who_leaves_is_blocked_then_deleted(impatient: Organisation) -> None:
    """Keys are blocked in the first accepted run, user and keys deleted in the second; nobody else is affected."""
    gone = impatient.leave("m0")
    others = {ref: impatient.keys(ref) for ref in impatient.litellm.rows.users if ref != gone}
    first = await impatient.run()
    assert (first["done"]["blocked"], first["done"]["keysBlocked"]) == ([gone], 1)
    assert list(impatient.keys(gone).values()) == [True]
    second = await impatient.run()
    assert (second["done"]["deleted"], second["done"]["keysDeleted"]) == ([gone], 1)
    assert (gone in impatient.litellm.rows.users, impatient.keys(gone)) == (False, {})
    assert await impatient.orchestrator.foundation.directory.among([gone]) == set(), "they are not listed any more"
    assert {ref: impatient.keys(ref) for ref in impatient.litellm.rows.users} == others
    third = await impatient.run()
    assert (third["outcome"], impatient.to_litellm.changes) == ("done", [])


async def test_a_leaver_without_keys(impatient: Organisation) -> None:
    """Is off-boarded like the others, with no key in the figures."""
    gone = impatient.leave("m0")
    impatient.litellm.rows.delete_key(next(iter(impatient.keys(gone))))
    done = (await impatient.run())["done"]
    assert (done["blocked"], done["keysBlocked"]) == ([gone], 0)
    impatient.join("m0")
    done = (await impatient.run())["done"]
    assert (done["restored"], done["keysRestored"]) == ([gone], 0)


async def test_people_of_any_name_are_off_boarded(impatient: Organisation) -> None:
    """Those who leave lose their keys, those who stay keep theirs; a comma never makes two of one."""
    organisation = impatient
    names = [
        "alice@example.com",
        "alice+lab@example.com",
        "\u00fcnal",
        "\u738b\u5c0f\u660e",
        "a:b",
        "100%",
        "\U0001f600",
    ]
    for name in names:
        organisation.join(name)
    assert (await organisation.run())["done"]["blocked"] == []
    gone = [organisation.leave(name) for name in names[::2]]
    assert sorted((await organisation.run())["done"]["blocked"]) == sorted(gone)
    assert sorted((await organisation.run())["done"]["deleted"]) == sorted(gone)
    assert {organisation.ref(name) for name in names} & set(organisation.litellm.rows.users) == {
        organisation.ref(name) for name in names[1::2]
    }


async def test_a_renamed_entity_has_left(organisation: Organisation) -> None:
    """The new name is another user; the old one is off-boarded."""
    organisation.org.users["user:default/renamed"] = organisation.org.users.pop("user:default/m0")
    assert (await organisation.run())["done"]["blocked"] == ["user:default/m0"]


async def test_the_grace_period(make_organisation: MakeOrganisation) -> None:
    """It lies between blocking and deleting; a key created meanwhile is blocked too."""
    organisation = make_organisation(cleanup=replace(AT_ONCE, grace_period=INTERVAL * 3))
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
    organisation.add_user("user:Default/Gone")
    await organisation.run()
    async with organisation.orchestrator.foundation.database.reading() as connection:
        is_block = change.c.action == Action.USER_BLOCK
        rows = (await connection.execute(sa.select(change.c.target, change.c.lock).where(is_block))).all()
    assert [tuple(row) for row in rows] == [("user:Default/Gone", "user:default/gone")]


async def test_ids_in_upper_case_are_found_and_off_boarded(impatient: Organisation) -> None:
    """LiteLLM's spelling is used to it. Who stays is a finding, with what to do, and nothing happens to them."""
    organisation = impatient
    rows, staying = organisation.litellm.rows, "user:default/M1"
    for user_id in ("user:default/Gone", "user:default/Zoe", "user:default/zoe", staying):
        organisation.add_user(user_id)
    keys = {user_id: next(iter(organisation.keys(user_id))) for user_id in ("user:default/Gone", staying)}
    report = await organisation.run()
    assert {"user:default/Gone", "user:default/Zoe", "user:default/zoe"} <= set(report["done"]["blocked"])
    assert (organisation.keys("user:default/Gone"), organisation.keys(staying)) == (
        {keys["user:default/Gone"]: True},
        {keys[staying]: False},
    )
    assert [(row["kind"], row["userId"]) for row in report["findings"]] == [
        ("spelling", "user:default/Gone"),
        ("twoSpellings", staying),
        ("twoSpellings", "user:default/Zoe"),
    ]
    assert "`litellm-orchestrator adopt` gives its keys to user:default/gone" in report["findings"][0]["message"]
    stored = await organisation.orchestrator.foundation.cleanup_runs.last_report()
    assert stored is not None
    assert report_as_json(stored)["findings"] == report["findings"]
    assert {"user:default/Gone", "user:default/Zoe"} <= set((await organisation.run())["done"]["deleted"])
    assert staying in rows.users


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
    assert await organisation.orchestrator.foundation.directory.among([gone]) == {gone}
    assert (await organisation.run())["done"]["restored"] == []


async def test_a_key_that_had_to_be_blocked_twice_is_given_back_once(organisation: Organisation) -> None:
    """Somebody unblocked it meanwhile: it counts as one key all the same."""
    gone = organisation.leave("m0")
    (key,) = organisation.keys(gone)
    await organisation.run()
    organisation.litellm.rows.update_key(key, {"blocked": False})
    organisation.mint(gone)
    assert (await organisation.run())["done"]["keysBlocked"] == 2
    organisation.join("m0")
    assert (await organisation.run())["done"]["keysRestored"] == 2


async def test_whose_block_it_is_stands_in_litellm(organisation: Organisation) -> None:
    """The annotation comes and goes with the block; what an admin or a report blocked meanwhile stays blocked."""
    gone = organisation.leave("m0")
    rows, reported = organisation.litellm.rows, organisation.orchestrator.foundation.reported
    ours, admins, leaked = (
        str(rows.add_key({"user_id": gone, "metadata": annotated(KeyAnnotations(alias), {})})[0]["token"])
        for alias in ("ours", "admins", "leaked")
    )
    before = dict(rows.keys[ours]["metadata"])
    await organisation.run()
    note = rows.keys[ours]["metadata"][ANNOTATIONS]
    assert (note["blocked_as"], note["blocked_at"] > 0, note["alias"]) == ("offboarding", True, "ours")
    bobs = Block("user:default/boss", Blocker.ADMIN, 1.0)
    rows.update_key(admins, {"metadata": annotated(KeyAnnotations("admins", block=bobs), {})})
    await reported.keep(leaked)
    organisation.join("m0")
    assert (await organisation.run())["done"]["keysRestored"] == 2
    assert organisation.keys(gone) | {ours: False, admins: True, leaked: True} == organisation.keys(gone)
    assert rows.keys[ours]["metadata"] == before


async def test_a_key_that_is_reported_while_it_is_given_back(organisation: Organisation) -> None:
    """A report waits for nobody: the key stays blocked, as a leaked one, and does not count as given back."""
    gone = organisation.leave("m0")
    rows, reported = organisation.litellm.rows, organisation.orchestrator.foundation.reported
    leaked = str(rows.add_key({"user_id": gone, "metadata": annotated(KeyAnnotations("leaked"), {})})[0]["token"])
    await organisation.run()
    inner = organisation.to_litellm._inner

    async def meanwhile(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/key/update" and leaked in (await request.aread()).decode():
            await reported.keep(leaked)
        return await inner.handle_async_request(request)

    organisation.to_litellm._inner = httpx.MockTransport(meanwhile)
    organisation.join("m0")
    assert (await organisation.run())["done"]["keysRestored"] == 1
    note = rows.keys[leaked]["metadata"][ANNOTATIONS]
    assert (rows.keys[leaked]["blocked"], note["blocked_as"], note["blocked_by"]) == (True, "report", "cleanup")


async def test_a_user_deleted_by_somebody_else(impatient: Organisation) -> None:
    """Between blocking and deleting: the result is the same."""
    gone = impatient.leave("m0")
    await impatient.run()
    impatient.litellm.rows.delete_user(gone)
    report = await impatient.run()
    assert (report["outcome"], report["done"]["deleted"], report["done"]["keysDeleted"]) == ("done", [gone], 0)


async def test_a_key_deleted_by_somebody_else(organisation: Organisation) -> None:
    """While its owner was away: there is nothing to restore."""
    gone = organisation.leave("m0")
    await organisation.run()
    organisation.litellm.rows.delete_key(next(iter(organisation.keys(gone))))
    organisation.join("m0")
    assert (await organisation.run())["outcome"] == "done"


async def test_litellm_that_repeats_and_forgets_users(impatient: Organisation) -> None:
    """A user listed twice leaves once; one who is not listed is not deleted: their row says who created them."""
    gone = impatient.leave("m0")
    rows = [row for row in impatient.litellm.rows.users.values() for _ in range(2)]
    impatient.to_litellm.answers["/user/list"] = listing(lambda: rows)
    assert (await impatient.run())["done"]["blocked"] == [gone]
    impatient.to_litellm.answers["/user/list"] = listing(list)
    assert [row["userId"] for row in (await impatient.run())["done"]["failed"]] == [gone]
    impatient.to_litellm.answers.clear()
    assert (await impatient.run())["done"]["deleted"] == [gone]


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
    """The default is the larger of ten and a tenth. Above it nobody is off-boarded until an admin confirms the plan."""
    organisation = make_organisation(members, cleanup=replace(AT_ONCE, max_removals=most, max_deletions=0))
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


async def test_restoring_continues_while_a_plan_is_refused(make_organisation: MakeOrganisation) -> None:
    """A refusal protects people; it must not lock anybody out."""
    organisation = make_organisation(members=40)
    back = organisation.leave("m0")
    await organisation.run()
    organisation.join("m0")
    for number in range(1, 15):
        organisation.leave(f"m{number}")
    report = await organisation.run()
    assert (report["outcome"], report["done"]["restored"], report["done"]["blocked"]) == ("refused", [back], [])


async def test_people_on_hold_stay_out_while_a_plan_is_refused(make_organisation: MakeOrganisation) -> None:
    """A key that is made for one of them meanwhile is blocked: a refusal lets nobody in again."""
    organisation = make_organisation(members=20)
    held = organisation.leave("m0")
    await organisation.run()
    for number in range(1, 13):
        organisation.leave(f"m{number}")
    organisation.mint(held)
    assert list(organisation.keys(held).values()) == [True, False]
    report = await organisation.run()
    assert (report["outcome"], report["done"]["blocked"]) == ("refused", [])
    assert list(organisation.keys(held).values()) == [True, True]
    assert list(organisation.keys(organisation.ref("m1")).values()) == [False]


async def test_a_plan_that_would_do_something_else_to_the_same_people_is_not_confirmed(
    make_organisation: MakeOrganisation,
) -> None:
    """Who read that somebody is blocked did not agree that they are deleted."""
    organisation = make_organisation(cleanup=AT_ONCE)
    gone = organisation.leave("m0")
    plan = (await organisation.dry_run()).plan
    assert plan is not None
    await organisation.run()
    report = await organisation.run(plan_hash=plan.hash)
    assert (report["outcome"], report["done"]["deleted"]) == ("refused", [])
    assert gone in organisation.litellm.rows.users


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
    organisation = make_organisation(members=8, cleanup=AT_ONCE)
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
async def test_each_step_is_verified_in_litellm(impatient: Organisation, path: str, answer: Any) -> None:
    """If LiteLLM confirms a step but does not do it, the step is not reported as done."""
    impatient.leave("m0")
    if path == "/user/delete":
        await impatient.run()
    impatient.to_litellm.answers[path] = lambda _: httpx.Response(200, json=answer)
    report = await impatient.run()
    assert (report["outcome"], report["done"]["blocked"], report["done"]["deleted"]) == ("failed", [], [])


async def test_a_dry_run_changes_nothing_and_counts(organisation: Organisation) -> None:
    """Who, why, how many keys, since when."""
    gone = organisation.leave("m0")
    organisation.mint(gone)
    before = organisation.everything()
    report = report_as_json(await organisation.dry_run())
    entry = report["plan"]["entries"][0]
    assert (report["outcome"], report["dryRun"], entry["userId"], entry["action"], entry["keys"], entry["since"]) == (
        "planned",
        True,
        gone,
        "block",
        2,
        None,
    )
    sizes = (report["members"], report["admins"], report["users"], report["sweptAt"])
    assert sizes == (2, 1, 4, organisation.clock())
    assert organisation.everything() == before
    assert organisation.to_litellm.changes == []
    last = await organisation.cleanup.last_report()
    assert last is not None
    assert report_as_json(last) == report


async def test_members_of_any_allowed_group_stay(make_organisation: MakeOrganisation) -> None:
    """Whoever moves from one of them to another keeps access; whoever is in none has left."""
    groups = GroupRefs(allowed=(MEMBERS, "group:default/research"), admin=(ADMINS,))
    organisation = make_organisation(groups=groups)
    organisation.org.groups["group:default/research"] = None
    organisation.org.users["user:default/m0"] = {"group:default/research"}
    organisation.leave("m1")
    assert (await organisation.run())["done"]["blocked"] == ["user:default/m1"]


async def test_nobody_is_off_boarded_while_one_of_the_groups_is_missing(make_organisation: MakeOrganisation) -> None:
    """A typing error in one of several names must not off-board its members."""
    organisation = make_organisation(groups=GroupRefs(allowed=(MEMBERS, "group:default/gone"), admin=(ADMINS,)))
    organisation.leave("m1")
    report = await organisation.run()
    assert (report["outcome"], report["done"]) == ("refused", None)
    assert "group:default/gone" in report["reason"]


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


async def test_a_large_organisation_is_not_read_in_every_run(make_organisation: MakeOrganisation) -> None:
    """A run compares the catalog with the directory, looks up the leavers only, and reads a part of the users."""
    limits = DirectorySettings(full_sweep_users=100, max_pages=1)
    organisation = make_organisation(members=300, directory=limits, cleanup=AT_ONCE)
    gone = [organisation.leave("m7"), organisation.leave("m250")]
    blocked: list[str] = []
    for _ in range(5):
        report = await organisation.run()
        blocked += report["done"]["blocked"]
        assert organisation.to_litellm.requests.count("/user/list") <= 2
    assert blocked == sorted(gone)
    assert report["users"] == 299
    assert report["sweptAt"] is not None


async def test_a_dry_run_does_not_read_a_large_organisation(make_organisation: MakeOrganisation) -> None:
    """Somebody waits for it: the next run on schedule goes on with reading the users."""
    organisation = make_organisation(directory=DirectorySettings(full_sweep_users=1))
    await organisation.run()
    organisation.to_litellm.requests.clear()
    assert (await organisation.dry_run()).outcome == "planned"
    assert "/user/list" not in organisation.to_litellm.requests
    await organisation.run()
    assert "/user/list" in organisation.to_litellm.requests


async def test_an_odd_row_of_a_leaver_does_not_protect_them(impatient: Organisation) -> None:
    """Another tool may have written it; the id is all that the cleanup needs."""
    gone = impatient.leave("m0")
    impatient.litellm.rows.users[gone] |= {"created_at": None, "spend": None, "models": "all"}
    assert (await impatient.run())["done"]["blocked"] == [gone]
    assert (await impatient.run())["done"]["deleted"] == [gone]
