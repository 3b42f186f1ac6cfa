"""The cleanup on the command line: output and exit codes."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli import cleanup as cli_cleanup
from settings.model import BackstageSettings, CleanupSettings, Settings
from standalone.backstage import BASE_URL
from standalone.environment import standalone_settings
from tests.support.organisation import AT_ONCE, INTERVAL, Organisation

ILLEGAL = {"error": {"name": "AuthenticationError"}}


@pytest.fixture
def organisation(tmp_path: Path) -> Organisation:
    """Synchronous: the command line starts its own event loop."""
    return Organisation(tmp_path, members=4)


def run(
    organisation: Organisation,
    *,
    apply: bool = False,
    plan_hash: str | None = None,
    as_json: bool = False,
    **changes: Any,
) -> int:
    organisation.clock.advance(INTERVAL)
    settings: Settings = replace(standalone_settings(str(organisation.folder)), **changes)
    return cli_cleanup.run(settings, apply=apply, plan_hash=plan_hash, as_json=as_json, ports=organisation.ports)


def test_a_plan_is_a_table(organisation: Organisation, capsys: pytest.CaptureFixture[str]) -> None:
    """With user, reason and number of keys; nothing is changed."""
    gone = organisation.leave("m0")
    assert run(organisation) == 0
    printed = capsys.readouterr().out
    assert gone in printed
    assert "in neither group any more" in printed
    assert "3 members, 1 admins, 5 users in LiteLLM: 1 to block." in printed
    assert organisation.to_litellm.changes == []


def test_orphans_are_counted(organisation: Organisation, capsys: pytest.CaptureFixture[str]) -> None:
    """The plan says how many of those who stay are orphans."""
    organisation.org.orphans.add(organisation.ref("m1"))
    assert run(organisation) == 0
    assert "The catalog has 1 of the members and admins only as orphans." in capsys.readouterr().out


def test_nothing_to_do(organisation: Organisation, capsys: pytest.CaptureFixture[str]) -> None:
    """Is said."""
    assert run(organisation) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_applying(organisation: Organisation, capsys: pytest.CaptureFixture[str]) -> None:
    """Blocks, then deletes; the figures are printed."""
    gone = organisation.leave("m0")
    assert run(organisation, apply=True, cleanup=AT_ONCE) == 0
    assert "blocked 1" in capsys.readouterr().out
    assert run(organisation, apply=True, cleanup=AT_ONCE) == 0
    assert "deleted 1" in capsys.readouterr().out
    assert gone not in organisation.litellm.rows.users


def test_what_waits_for_a_confirmation(organisation: Organisation, capsys: pytest.CaptureFixture[str]) -> None:
    """The table says why, the line to confirm it is printed, and it is no refusal."""
    foreign = organisation.join("of-the-plugin", foreign=True)
    organisation.leave("of-the-plugin")
    at_once: dict[str, Any] = {"cleanup": AT_ONCE}
    assert run(organisation, apply=True, **at_once) == 0
    assert "--plan-hash" not in capsys.readouterr().err
    assert run(organisation, apply=True, **at_once) == 0
    printed = capsys.readouterr()
    assert "not created by this service" in printed.out
    assert "1 more users are deleted only if you confirm the plan." in printed.err
    confirmed = printed.err.split("--plan-hash ")[1].split()[0]
    assert run(organisation, apply=True, plan_hash=confirmed, **at_once) == 0
    assert foreign not in organisation.litellm.rows.users


def test_json_is_the_whole_report(organisation: Organisation, capsys: pytest.CaptureFixture[str]) -> None:
    """And nothing else on standard output."""
    organisation.leave("m0")
    assert run(organisation, as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["plan"]["entries"][0]["userId"] == organisation.ref("m0")
    assert run(organisation, apply=True, as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["done"]["blocked"] == [organisation.ref("m0")]


def test_a_refusal_exits_3_and_can_be_confirmed(organisation: Organisation, capsys: pytest.CaptureFixture[str]) -> None:
    """The line to confirm it is printed."""
    organisation.leave("m0")
    strict: dict[str, Any] = {"cleanup": CleanupSettings(max_removals=0)}
    assert run(organisation, **strict) == 3
    assert run(organisation, apply=True, **strict) == 3
    told = capsys.readouterr().err
    assert "Refused: 1 users to block exceed maxRemovals (0)." in told
    confirmed = told.split("--plan-hash ")[1].split()[0]
    assert run(organisation, apply=True, plan_hash=confirmed, **strict) == 0
    assert all(organisation.keys(organisation.ref("m0")).values())


def test_an_unsafe_snapshot_exits_3(organisation: Organisation) -> None:
    """The group is empty."""
    for number in range(4):
        organisation.leave(f"m{number}")
    assert run(organisation) == 3
    assert run(organisation, apply=True) == 3
    assert organisation.to_litellm.changes == []


def test_a_failure_exits_1(organisation: Organisation, capsys: pytest.CaptureFixture[str]) -> None:
    """A catalog that refuses a plan, users that cannot be blocked, a strange hash, no token to read with."""
    organisation.leave("m0")
    organisation.to_litellm.answers["/key/block"] = lambda _: httpx.Response(500)
    assert run(organisation, apply=True) == 1
    assert run(organisation, apply=True, plan_hash="0" * 64) == 1
    assert run(organisation, backstage=BackstageSettings(BASE_URL)) == 1
    assert run(organisation, database_url="postgresql+psycopg://u:p@127.0.0.1:9/x") == 1
    organisation.to_backstage.answers["/api/catalog/entities/by-query"] = lambda _: httpx.Response(401, json=ILLEGAL)
    assert run(organisation) == 1
    told = capsys.readouterr().err
    for said in ("users failed", "No run or dry run", "catalogToken", "database", "refused this service's token"):
        assert said in told


def test_a_run_in_progress_is_not_disturbed(organisation: Organisation, capsys: pytest.CaptureFixture[str]) -> None:
    """It says so and exits 1."""

    async def take() -> None:
        await organisation.cleanup.take(None)
        await organisation.orchestrator.aclose()

    asyncio.run(take())
    settings = standalone_settings(str(organisation.folder))
    assert cli_cleanup.run(settings, apply=True, plan_hash=None, as_json=False, ports=organisation.ports) == 1
    assert "A cleanup or an adoption is in progress" in capsys.readouterr().err
