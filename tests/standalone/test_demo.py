"""What the trial begins with: every view of the console has something to show, and all numbers agree."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from app import create_app
from settings.model import CleanupSettings
from standalone.demo import Demo, DemoClock, demo_settings
from standalone.environment import standalone_settings
from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BASE, BOB, ERIN, Clock, MakeService, keys_path, stop, user_path

DAVE, FRANK = "user:default/dave", "user:default/frank"
NOON, MIDNIGHT = "2026-11-27T12:00:00", "2027-03-01T00:00:01"


@pytest.fixture(params=[NOON])
async def admin(request: pytest.FixtureRequest, clock: Clock, make_service: MakeService) -> httpx.AsyncClient:
    """Bob, when the trial has just begun, at some time in UTC."""
    clock.seconds = datetime.fromisoformat(request.param).replace(tzinfo=UTC).timestamp()
    late = DemoClock(clock)
    litellm = LiteLLMStandIn(late)
    ports = {"wall_clock": late, "litellm": httpx.ASGITransport(litellm.app)}
    service = make_service(ports, litellm=demo_settings(standalone_settings("")).litellm)
    app = create_app(service.settings, service.ports)
    await Demo(app, litellm, service.backstage.org, late).play()
    await stop(app)
    return service.signed_in(BOB)


async def usage(admin: httpx.AsyncClient, ref: str, group_by: str) -> Any:
    """What the console shows first: the last 30 days."""
    return (await admin.get(f"{user_path(ref)}/usage?groupBy={group_by}")).json()


@pytest.mark.parametrize("admin", [NOON, MIDNIGHT], indirect=True)
async def test_all_sums_agree(admin: httpx.AsyncClient) -> None:
    """By day, by model and by key they are the total of the last 30 days, and what keys and user have spent at all."""
    for ref in (ALICE, BOB, DAVE, ERIN, FRANK):
        await sums_agree(admin, ref)


async def sums_agree(admin: httpx.AsyncClient, ref: str) -> None:
    spent = (await admin.get(user_path(ref))).json()["spend"]
    keys = (await admin.get(keys_path(ref))).json()["keys"]
    assert spent > 1
    assert sum(key["spend"] for key in keys) == pytest.approx(spent)
    for group_by in ("day", "model", "key"):
        report = await usage(admin, ref, group_by)
        figures = [group["figures"] for group in report["groups"]]
        assert report["budget"]["spend"] == spent
        assert {name: sum(row[name] for row in figures) for name in report["total"]} == pytest.approx(report["total"])
        assert report["total"]["spend"] == pytest.approx(spent)
    by_key = {group["group"]: group["figures"]["spend"] for group in (await usage(admin, ref, "key"))["groups"]}
    assert by_key == pytest.approx({key["id"]: key["spend"] for key in keys})


async def test_the_numbers_of_a_model_are_those_of_its_price(admin: httpx.AsyncClient) -> None:
    """USD, tokens and calls of each day belong together."""
    for day in (await usage(admin, ALICE, "day"))["groups"]:
        figures = day["figures"]
        priced = figures["promptTokens"] * 2.5e-6 + figures["completionTokens"] * 1e-5
        assert priced == pytest.approx(figures["spend"], abs=1e-4)
        assert figures["promptTokens"] + figures["completionTokens"] == figures["totalTokens"]
        assert figures["requests"] > figures["failedRequests"] >= 0


async def test_no_budget_is_reset_in_between(admin: httpx.AsyncClient, clock: Clock) -> None:
    """So what is spent of it is all that was spent; and it will be reset one day."""
    resets = (await usage(admin, ALICE, "model"))["budget"]["resetsAt"]
    assert datetime.fromisoformat(resets).timestamp() > clock.seconds


async def test_every_view_has_something_to_show(admin: httpx.AsyncClient, clock: Clock) -> None:
    """Keys in every state, usage on most days, users, an audit log of all of them, and a run of the cleanup."""
    keys = {row["key_alias"]: row for row in (await admin.get(keys_path(ALICE))).json()["keys"]}
    assert keys.keys() == {"laptop", "ci", "notebook", "agent"}
    assert [name for name, row in keys.items() if row["blocked"]] == ["agent", "notebook"]
    assert keys["ci"]["spend"] >= keys["ci"]["max_budget"]
    assert keys["ci"]["expires"] is not None
    days = [group["group"] for group in (await usage(admin, ALICE, "day"))["groups"]]
    assert len(days) == 29
    users = {row["userId"]: row for row in (await admin.get(f"{BASE}/users")).json()["users"]}
    assert users.keys() == {ALICE, BOB, DAVE, ERIN, FRANK}
    assert users[DAVE]["spend"] >= users[DAVE]["maxBudget"]
    events = (await admin.get(f"{BASE}/audit?limit=100")).json()["events"]
    assert {event["action"] for event in events} >= {
        *("user.create", "user.update", "user.block", "key.create", "key.update", "key.regenerate", "key.report"),
        "cleanup.run",
    }
    report = (await admin.get(f"{BASE}/cleanup")).json()["lastReport"]
    [leaver] = report["plan"]["entries"]
    assert (report["outcome"], leaver["userId"], leaver["action"]) == ("done", FRANK, "hold")
    # So the next run is not overdue when the console is opened.
    assert clock.seconds - datetime.fromisoformat(report["finishedAt"]).timestamp() < CleanupSettings().interval
