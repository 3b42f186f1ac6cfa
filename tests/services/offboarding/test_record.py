"""The audit log says who had whom off-boarded."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from domain.actions import Action, AuditEvent, AuditFilters
from services.offboarding.account import Order
from settings.model import CleanupSettings
from standalone.backstage import BackstageStandIn
from standalone.litellm import LiteLLMStandIn
from state.tables import offboarding
from tests.conftest import ALICE, BASE, BOB, MakeService
from tests.services.offboarding.conftest import MakeOrganisation
from tests.support.organisation import AT_ONCE, BOSS, INTERVAL, Crash, Organisation
from tests.support.requests import ended
from tests.support.upstreams import respond

CLEANUP = f"{BASE}/cleanup"


async def events(organisation: Organisation, action: Action | None = None) -> list[AuditEvent]:
    """The events of the audit log, the oldest first."""
    filters = AuditFilters(action=action)
    return (await organisation.orchestrator.foundation.events.page(filters, 1000))[::-1]


async def test_a_run_that_off_boards_somebody_is_one_event(impatient: Organisation) -> None:
    """With its counts; on schedule it is the cleanup's own."""
    impatient.leave("m0")
    blocked, deleted = await impatient.run(), await impatient.run()
    runs = await events(impatient, Action.CLEANUP_RUN)
    assert [(row.actor, row.outcome, row.target) for row in runs] == [("cleanup", "done", None)] * 2
    for row, report in zip(runs, (blocked, deleted), strict=True):
        plan_hash = report["plan"]["hash"]
        assert row.requested == {"runId": report["runId"], "planHash": plan_hash, "confirmed": False}
    assert [((row.after or {})["blocked"], (row.after or {})["deleted"]) for row in runs] == [(1, 0), (0, 1)]


async def test_a_run_that_does_nothing_is_none(organisation: Organisation) -> None:
    """Every five minutes for ever; neither is one that only holds."""
    await organisation.run()
    organisation.leave("m0")
    await organisation.run()
    for _ in range(3):
        await organisation.run()
    assert len(await events(organisation, Action.CLEANUP_RUN)) == 1


async def test_who_confirmed_a_mass_off_boarding(make_organisation: MakeOrganisation) -> None:
    """The run is theirs; each step says on whose confirmation, also the deletion a week later."""
    organisation = make_organisation(20, cleanup=CleanupSettings(interval=INTERVAL, max_deletions=0))
    gone = sorted(organisation.leave(f"m{number}") for number in range(12))
    refused = await organisation.run()
    assert await events(organisation) == []
    await organisation.run(refused["plan"]["hash"], BOSS)
    organisation.clock.advance(7 * 86400)
    await organisation.run()
    rows = await events(organisation)
    runs = [row for row in rows if row.action is Action.CLEANUP_RUN]
    assert [row.actor for row in runs] == [BOSS.subject, "cleanup"]
    assert (runs[0].requested or {})["confirmed"] is True
    assert (runs[0].requested or {})["planHash"] == refused["plan"]["hash"]
    assert (runs[0].after or {})["blocked"] == 12
    for action in (Action.USER_BLOCK, Action.USER_DELETE):
        steps = [row for row in rows if row.action is action]
        assert [row.target for row in steps] == gone
        assert [(row.actor, row.requested, row.after) for row in steps] == [
            ("cleanup", {"confirmedBy": BOSS.subject}, {"keys": 1})
        ] * 12


async def test_a_confirmation_of_before_the_upgrade(make_organisation: MakeOrganisation) -> None:
    """It holds, although nobody knows whose it was."""
    organisation = make_organisation(cleanup=replace(AT_ONCE, max_deletions=0))
    gone = organisation.leave("m0")
    await organisation.run()
    async with organisation.orchestrator.foundation.database.transaction() as connection:
        await connection.execute(sa.update(offboarding).values(confirmed=True))
    assert (await organisation.run())["done"]["deleted"] == [gone]
    (deleted,) = await events(organisation, Action.USER_DELETE)
    assert deleted.requested == {"confirmedBy": "an admin"}


async def test_an_off_boarding_that_nobody_confirmed_says_so(impatient: Organisation) -> None:
    """And restoring somebody needs no confirmation, in a run that an admin starts, too."""
    impatient.leave("m0")
    await impatient.run(by=BOSS)
    impatient.join("m0")
    impatient.leave("m1")
    plan = (await impatient.dry_run()).plan
    assert plan is not None
    await impatient.run(plan.hash, BOSS)
    rows = await events(impatient)
    assert [(row.action.value, row.actor) for row in rows] == [
        ("cleanup.run", BOSS.subject),
        ("user.block", "cleanup"),
        ("cleanup.run", BOSS.subject),
        ("user.restore", "cleanup"),
        ("user.block", "cleanup"),
    ]
    assert [rows[number].requested for number in (1, 3, 4)] == [None, None, {"confirmedBy": BOSS.subject}]


def catalog_fails(organisation: Organisation) -> None:
    organisation.to_backstage.answers["/api/catalog/entities/by-query"] = lambda _: httpx.Response(500)


def somebody_else_leaves(organisation: Organisation) -> None:
    organisation.leave("m1")


@pytest.mark.parametrize(
    ("meanwhile", "reason"),
    [(catalog_fails, "catalog failed with status 500"), (somebody_else_leaves, "have changed since")],
)
async def test_a_confirmation_that_led_to_nothing(impatient: Organisation, meanwhile: Any, reason: str) -> None:
    """Is recorded too, with the reason."""
    impatient.leave("m0")
    plan = (await impatient.dry_run()).plan
    assert plan is not None
    meanwhile(impatient)
    report = await impatient.run(plan.hash, BOSS)
    (row,) = await events(impatient)
    assert (row.action, row.actor, row.outcome) == ("cleanup.run", BOSS.subject, "failed")
    assert reason in (row.detail or "")
    made = plan.hash if report["plan"] is None else report["plan"]["hash"]
    assert row.requested == {"runId": report["runId"], "planHash": made, "confirmed": False}


async def test_a_run_that_dies_leaves_an_event_without_an_outcome(make_organisation: MakeOrganisation) -> None:
    """It says who started it, and reconciliation ends it like any other interrupted change."""
    organisation = make_organisation(20)
    organisation.leave("m0")
    plan = (await organisation.dry_run()).plan
    assert plan is not None
    organisation.to_litellm.answers["/key/block"] = lambda _: (_ for _ in ()).throw(Crash())
    with pytest.raises(Crash):
        await organisation.run(plan.hash, BOSS)
    organisation.to_litellm.answers.clear()
    (row,) = await events(organisation, Action.CLEANUP_RUN)
    assert (row.actor, row.outcome) == (BOSS.subject, None)
    await organisation.restart()
    organisation.clock.advance(300)
    await organisation.orchestrator.background.run()
    (row,) = await events(organisation, Action.CLEANUP_RUN)
    assert (row.actor, row.outcome) == (BOSS.subject, "reconciled")


async def test_over_the_api(make_service: MakeService, backstage: BackstageStandIn, litellm: LiteLLMStandIn) -> None:
    """Bob confirms what waits: the event is his, alice sees nothing of it, and nobody else may."""
    service = make_service(cleanup=replace(AT_ONCE, enabled=False))
    foreign = "user:default/of-the-plugin"
    litellm.rows.add_user({"user_id": foreign})
    bob, alice = service.signed_in(BOB), service.signed_in(ALICE)

    async def run(plan_hash: str | None = None) -> Any:
        body = {"dryRun": False} | ({} if plan_hash is None else {"planHash": plan_hash})
        assert (await bob.post(CLEANUP, json=body)).status_code == 202
        return (await ended(bob))["lastReport"]

    await run()
    (entry,) = (await run())["plan"]["entries"]
    assert (entry["userId"], entry["action"], entry["whenConfirmed"]) == (foreign, "hold", "delete")
    planned = (await bob.post(CLEANUP, json={"dryRun": True})).json()
    assert (await run(planned["plan"]["hash"]))["done"]["deleted"] == [foreign]
    told = (await bob.get(f"{BASE}/audit", params={"action": "cleanup.run"})).json()["events"]
    assert [(row["actor"], row["requested"]["confirmed"]) for row in told] == [(BOB, True), (BOB, False)]
    assert (await alice.get(f"{BASE}/audit", params={"action": "cleanup.run"})).json()["events"] == []


async def test_each_run_is_a_line_in_the_log(impatient: Organisation, log: io.StringIO) -> None:
    """What the operator's log says of it: why, of how many, and how many of each; a warning unless all is well."""
    impatient.leave("m0")
    await impatient.dry_run()
    await impatient.run()
    impatient.to_litellm.answers["/user/delete"] = respond(500)
    await impatient.run()
    catalog_fails(impatient)
    await impatient.run()
    lines = [row for row in map(json.loads, log.getvalue().splitlines()) if row["event"] == "cleanup"]
    assert [(row["level"], row["run"], row["outcome"], row["users"]) for row in lines] == [
        ("info", 1, "planned", 4),
        ("info", 2, "done", 4),
        ("warning", 3, "failed", 4),
        ("warning", 4, "refused", None),
    ]
    assert [row.get("blocked") for row in lines] == [None, 1, 0, None]
    assert [row.get("failed") for row in lines] == [None, 0, 1, None]
    assert lines[2]["reason"] == "1 users failed; the next run retries them"
    assert "catalog failed with status 500" in lines[3]["reason"]


async def test_who_started_a_run_is_told_how_far_it_is(impatient: Organisation) -> None:
    """After each user, whether it succeeded or not, and of how many."""
    impatient.leave("m0")
    impatient.leave("m1")
    impatient.to_litellm.answers["/key/block"] = respond(500)
    told: list[tuple[int, int]] = []
    held = await impatient.cleanup.take(None)
    begun = await impatient.cleanup.begin("command line", held)
    await impatient.cleanup.run(held, begun, Order(BOSS, show_progress=lambda done, of: told.append((done, of))))
    assert told == [(1, 2), (2, 2)]
