"""Deleting is patient: a grace period, a limit for 24 hours, and nobody whom this service did not create."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

import httpx
import pytest

from domain.offboarding import Hold, Plan, PlanEntry, Step
from services.offboarding.cleanup_report import reason_of
from settings.model import CleanupSettings
from tests.services.offboarding.conftest import MakeOrganisation
from tests.support.organisation import AT_ONCE, BOSS, INTERVAL, Crash, Organisation
from tests.support.upstreams import respond

DAY = 86400.0
NO_GRACE = CleanupSettings(interval=INTERVAL, grace_period=0)


def actions(report: Any) -> dict[str, tuple[str, str]]:
    """The action for each user of a plan, with and without a confirmation."""
    return {row["userId"]: (row["action"], row["whenConfirmed"]) for row in report["plan"]["entries"]}


async def test_a_faulty_sync_deletes_nobody(make_organisation: MakeOrganisation) -> None:
    """It leaves out ten of twenty for two runs: they are blocked, and have exactly their keys back when it is right."""
    organisation = make_organisation(members=20)
    theirs = organisation.mint(organisation.ref("m3"))
    organisation.litellm.rows.update_key(theirs, {"blocked": True})
    assert (await organisation.run())["outcome"] == "done"
    before = {ref: organisation.keys(ref) for ref in organisation.litellm.rows.users}
    groups = {ref: set(of) for ref, of in organisation.org.users.items()}
    left_out = sorted(organisation.leave(f"m{number}") for number in range(10))
    assert (await organisation.run())["done"]["blocked"] == left_out
    assert (await organisation.run())["done"]["held"] == left_out
    assert set(organisation.litellm.rows.users) == set(before)
    organisation.org.users |= groups
    assert (await organisation.run())["done"]["restored"] == left_out
    assert {ref: organisation.keys(ref) for ref in organisation.litellm.rows.users} == before


async def test_a_leaver_is_deleted_a_week_later(organisation: Organisation) -> None:
    """Until then a plan says when; their keys do not work meanwhile."""
    gone = organisation.leave("m0")
    await organisation.run()
    since = organisation.clock()
    organisation.clock.advance(7 * DAY - INTERVAL * 2)
    held = await organisation.run()
    (entry,) = held["plan"]["entries"]
    assert (held["done"]["held"], entry["action"], entry["until"]) == ([gone], "hold", since + 7 * DAY)
    assert "within the grace period until 2027-01-22 08:06 UTC" in entry["reason"]
    assert list(organisation.keys(gone).values()) == [True]
    assert (await organisation.run())["done"]["deleted"] == [gone]


def test_the_end_of_a_grace_period_is_told_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the time zone of the machine."""
    entry = PlanEntry("user:default/m0", Step.HOLD, hold=Hold.GRACE, until=1_800_000_000.0)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert "until 2027-01-15 08:00 UTC" in reason_of(entry, Plan((entry,), "", None))
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("members", "most", "expected"), [(20, None, 3), (57, None, 5), (20, 1, 1), (20, 0, 0)], ids=str
)
async def test_deletions_in_24_hours(
    make_organisation: MakeOrganisation, members: int, most: int | None, expected: int
) -> None:
    """The larger of three and a tenth, over all runs; the others wait, blocked, and who left first goes first."""
    organisation = make_organisation(members, cleanup=replace(NO_GRACE, max_deletions=most))
    gone: list[str] = []
    for number in range(8):
        gone.append(organisation.leave(f"m{7 - number}"))
        await organisation.run()
    deleted: list[str] = []
    for _ in range(6):
        await organisation.restart()
        report = await organisation.run()
        deleted += report["done"]["deleted"]
        assert report["outcome"] == "done"
    left = [ref for ref in gone if ref in organisation.litellm.rows.users]
    assert (len(left), left) == (8 - expected, gone[expected:])
    assert all(all(organisation.keys(ref).values()) for ref in left)
    reasons = {row["userId"]: row["reason"] for row in report["plan"]["entries"]}
    assert (
        reasons[left[0]] == f"postponed: at most {expected} deletions in 24 hours, unless an admin confirms this plan"
    )
    organisation.clock.advance(DAY)
    assert (await organisation.run())["done"]["deleted"] == sorted(left[:expected])


async def test_the_limit_bounds_no_block_and_no_restore(make_organisation: MakeOrganisation) -> None:
    """A deletion does not count against `maxRemovals`, and `maxDeletions` postpones nothing but deletions."""
    organisation = make_organisation(20, cleanup=replace(NO_GRACE, max_removals=10, max_deletions=0))
    first = sorted(organisation.leave(f"m{number}") for number in range(8))
    assert (await organisation.run())["done"]["blocked"] == first
    second = sorted(organisation.leave(f"m{number}") for number in range(8, 12))
    back = organisation.join("m0")
    report = await organisation.run()
    assert (report["outcome"], report["done"]["blocked"], report["done"]["restored"]) == ("done", second, [back])
    assert report["done"]["deleted"] == []


async def test_a_deletion_that_litellm_does_not_confirm_counts(make_organisation: MakeOrganisation) -> None:
    """LiteLLM deletes and does not answer: the next ones are fewer, and the same user is counted once."""
    organisation = make_organisation(20, cleanup=replace(NO_GRACE, max_deletions=2))
    gone = sorted(organisation.leave(f"m{number}") for number in range(4))
    await organisation.run()

    def delete_and_fail(request: httpx.Request) -> httpx.Response:
        organisation.litellm.rows.delete_user(request.content.decode().split('"')[3])
        raise httpx.ReadTimeout("slow")

    organisation.to_litellm.answers["/user/delete"] = delete_and_fail
    assert [row["userId"] for row in (await organisation.run())["done"]["failed"]] == gone[:2]
    organisation.to_litellm.answers.clear()
    assert (await organisation.run())["done"]["deleted"] == gone[:2]
    assert (await organisation.run())["done"]["held"] == gone[2:]
    assert set(gone) & set(organisation.litellm.rows.users) == set(gone[2:])


async def test_a_404_of_an_ingress_deletes_nobody(make_organisation: MakeOrganisation) -> None:
    """It is not LiteLLM's word: the off-boarding goes on once LiteLLM answers itself."""
    organisation = make_organisation(4, cleanup=NO_GRACE)
    gone = organisation.leave("m0")
    await organisation.run()
    ingress = respond(404, text="default backend - 404")
    organisation.to_litellm.answers |= {"/user/delete": ingress, "/v2/user/info": ingress}
    assert [row["userId"] for row in (await organisation.run())["done"]["failed"]] == [gone]
    organisation.to_litellm.answers.clear()
    assert (await organisation.run())["done"]["deleted"] == [gone]


async def test_who_left_twice_in_a_day_counts_twice(make_organisation: MakeOrganisation) -> None:
    """A new off-boarding is a new deletion."""
    organisation = make_organisation(20, cleanup=replace(NO_GRACE, max_deletions=2))
    for _ in range(2):
        organisation.join("m0")
        organisation.leave("m0")
        await organisation.run()
        assert (await organisation.run())["done"]["deleted"] == [organisation.ref("m0")]
    other = organisation.leave("m1")
    await organisation.run()
    assert (await organisation.run())["done"]["held"] == [other]


async def test_who_is_gone_from_litellm_takes_no_place(make_organisation: MakeOrganisation) -> None:
    """Admins deleted five of them in LiteLLM itself: that ends their off-boarding, and the limit is for the others."""
    organisation = make_organisation(20, cleanup=replace(NO_GRACE, max_deletions=1))
    gone = [organisation.leave(f"m{number}") for number in range(6)]
    await organisation.run()
    for ref in gone[:5]:
        organisation.litellm.rows.delete_user(ref)
    for _ in range(6):
        assert (await organisation.run())["outcome"] == "done"
    assert await organisation.offboardings.all() == {}
    assert gone[5] not in organisation.litellm.rows.users


@pytest.mark.parametrize("settings", [NO_GRACE, CleanupSettings(interval=INTERVAL)], ids=["no grace", "a week"])
async def test_a_user_of_the_plugin_is_blocked_and_then_held(
    make_organisation: MakeOrganisation, settings: CleanupSettings
) -> None:
    """Within five minutes they are out; they stay in LiteLLM however long they are gone, and get their keys back."""
    organisation = make_organisation(cleanup=settings)
    foreign = organisation.join("of-the-plugin", foreign=True)
    organisation.leave("of-the-plugin")
    assert (await organisation.run())["done"]["blocked"] == [foreign]
    for _ in range(3):
        organisation.clock.advance(30 * DAY)
        report = await organisation.run()
        assert report["done"]["held"] == [foreign]
        assert actions(report)[foreign] == ("hold", "delete")
        assert "not created by this service" in report["plan"]["entries"][0]["reason"]
        assert list(organisation.keys(foreign).values()) == [True]
    organisation.join("of-the-plugin")
    assert (await organisation.run())["done"]["restored"] == [foreign]
    assert list(organisation.keys(foreign).values()) == [False]


async def test_delete_foreign(make_organisation: MakeOrganisation) -> None:
    """The setting for those who move from the plugin: its users are treated like ours."""
    organisation = make_organisation(cleanup=replace(NO_GRACE, delete_foreign=True))
    foreign = organisation.join("of-the-plugin", foreign=True)
    organisation.leave("of-the-plugin")
    await organisation.run()
    assert (await organisation.run())["done"]["deleted"] == [foreign]


async def test_an_admin_confirms_what_waits(make_organisation: MakeOrganisation) -> None:
    """Exactly the plan: whoever is on hold for another reason stays, and the limit does not apply."""
    organisation = make_organisation(20, cleanup=replace(NO_GRACE, max_deletions=1, grace_period=DAY))
    foreign = organisation.join("of-the-plugin", foreign=True)
    organisation.leave("of-the-plugin")
    postponed = [organisation.leave(f"m{number}") for number in range(3)]
    await organisation.run()
    organisation.clock.advance(DAY)
    await organisation.run()
    within_grace = organisation.leave("m7")
    await organisation.run()
    leaving = organisation.leave("m8")
    plan = (await organisation.dry_run()).plan
    assert plan is not None
    report = await organisation.run(plan.hash, BOSS)
    assert report["outcome"] == "done"
    assert report["done"]["deleted"] == sorted([foreign, *postponed[1:]])
    assert (report["done"]["held"], report["done"]["blocked"]) == ([within_grace], [leaving])
    # A confirmed deletion is none of those that are limited: the day of the first one is over, and there is one place.
    assert len(await organisation.orchestrator.foundation.deletions.recent()) == 1


async def test_a_stale_confirmation_deletes_nobody(make_organisation: MakeOrganisation) -> None:
    """Somebody else left since: nobody is deleted or blocked."""
    organisation = make_organisation(20, cleanup=replace(NO_GRACE, max_deletions=0))
    first = organisation.leave("m0")
    await organisation.run()
    stale = (await organisation.dry_run()).plan
    second = organisation.leave("m1")
    assert stale is not None
    report = await organisation.run(stale.hash, BOSS)
    assert (report["outcome"], organisation.to_litellm.changes) == ("refused", [])
    assert "have changed since the plan was confirmed" in report["reason"]
    assert {first, second} <= organisation.litellm.rows.users.keys()


async def test_a_confirmation_is_not_for_those_who_wait_since(make_organisation: MakeOrganisation) -> None:
    """The hash names those on hold whom a confirmation deletes: another one among them makes it stale."""
    organisation = make_organisation(20, cleanup=replace(NO_GRACE, max_deletions=0))
    first = organisation.leave("m0")
    await organisation.run()
    plan = (await organisation.dry_run()).plan
    assert plan is not None
    second = organisation.leave("m1")
    await organisation.run()
    assert (await organisation.run(plan.hash, BOSS))["outcome"] == "refused"
    assert {first, second} <= organisation.litellm.rows.users.keys()


async def test_runs_on_schedule_do_not_change_what_waits(make_organisation: MakeOrganisation) -> None:
    """So the hash of a plan is still valid after some of them."""
    organisation = make_organisation(20, cleanup=replace(NO_GRACE, max_deletions=0))
    gone = organisation.leave("m0")
    await organisation.run()
    plan = (await organisation.dry_run()).plan
    assert plan is not None
    for _ in range(3):
        await organisation.run()
    assert (await organisation.run(plan.hash, BOSS))["done"]["deleted"] == [gone]


async def test_who_confirmed_the_block_of_a_foreign_user_did_not_confirm_the_deletion(
    make_organisation: MakeOrganisation,
) -> None:
    """The plan that they read said that keys are blocked. For our own users, one confirmation is enough."""
    organisation = make_organisation(20, cleanup=replace(NO_GRACE, max_removals=0, max_deletions=0))
    foreign = organisation.join("of-the-plugin", foreign=True)
    organisation.leave("of-the-plugin")
    own = organisation.leave("m0")
    plan = (await organisation.dry_run()).plan
    assert plan is not None
    assert (await organisation.run(plan.hash, BOSS))["done"]["blocked"] == [own, foreign]
    report = await organisation.run()
    assert (report["done"]["deleted"], report["done"]["held"]) == ([own], [foreign])


async def test_a_crash_between_deletions_does_not_widen_the_limit(make_organisation: MakeOrganisation) -> None:
    """Wherever the process dies, no more than the limit are deleted in 24 hours."""
    organisation = make_organisation(20, cleanup=replace(AT_ONCE, max_deletions=2))
    gone = [organisation.leave(f"m{number}") for number in range(9)]
    await organisation.run()
    for number in range(1, 16):
        organisation.to_litellm.requests.clear()
        organisation.to_litellm.crash_after = number
        with suppress(Crash):
            await organisation.run()
        organisation.to_litellm.crash_after = None
        await organisation.restart()
        assert len(set(gone) - organisation.litellm.rows.users.keys()) <= 2
    assert len(set(gone) - organisation.litellm.rows.users.keys()) == 2
