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
from tests.support.organization import INTERVAL, Organization


@pytest.fixture
def organization(tmp_path: Path) -> Organization:
    """Synchronous: the command line starts its own event loop."""
    return Organization(tmp_path, members=4)


def run(
    organization: Organization,
    *,
    apply: bool = False,
    plan_hash: str | None = None,
    as_json: bool = False,
    **changes: Any,
) -> int:
    organization.clock.advance(INTERVAL)
    settings: Settings = replace(standalone_settings(str(organization.folder)), **changes)
    return cli_cleanup.run(settings, apply=apply, plan_hash=plan_hash, as_json=as_json, ports=organization.ports)


def test_a_plan_is_a_table(organization: Organization, capsys: pytest.CaptureFixture[str]) -> None:
    """With user, reason and number of keys; nothing is changed."""
    gone = organization.leave("m0")
    assert run(organization) == 0
    printed = capsys.readouterr().out
    assert gone in printed
    assert "in neither group any more" in printed
    assert "3 members, 1 admins, 5 users in LiteLLM: 1 to block." in printed
    assert organization.to_litellm.changes == []


def test_nothing_to_do(organization: Organization, capsys: pytest.CaptureFixture[str]) -> None:
    """Is said."""
    assert run(organization) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_applying(organization: Organization, capsys: pytest.CaptureFixture[str]) -> None:
    """Blocks, then deletes; the figures are printed."""
    gone = organization.leave("m0")
    assert run(organization, apply=True) == 0
    assert "blocked 1" in capsys.readouterr().out
    assert run(organization, apply=True) == 0
    assert "deleted 1" in capsys.readouterr().out
    assert gone not in organization.litellm.rows.users


def test_json_is_the_whole_report(organization: Organization, capsys: pytest.CaptureFixture[str]) -> None:
    """And nothing else on standard output."""
    organization.leave("m0")
    assert run(organization, as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["plan"]["entries"][0]["userId"] == organization.ref("m0")
    assert run(organization, apply=True, as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["done"]["blocked"] == [organization.ref("m0")]


def test_a_refusal_exits_3_and_can_be_confirmed(organization: Organization, capsys: pytest.CaptureFixture[str]) -> None:
    """The line to confirm it is printed."""
    organization.leave("m0")
    strict: dict[str, Any] = {"cleanup": CleanupSettings(max_removals=0)}
    assert run(organization, **strict) == 3
    assert run(organization, apply=True, **strict) == 3
    told = capsys.readouterr().err
    assert "Refused: 1 removals exceed maxRemovals (0)." in told
    confirmed = told.split("--plan-hash ")[1].split()[0]
    assert run(organization, apply=True, plan_hash=confirmed, **strict) == 0
    assert all(organization.keys(organization.ref("m0")).values())


def test_an_unsafe_snapshot_exits_3(organization: Organization) -> None:
    """The group is empty."""
    for number in range(4):
        organization.leave(f"m{number}")
    assert run(organization) == 3
    assert run(organization, apply=True) == 3
    assert organization.to_litellm.changes == []


def test_a_failure_exits_1(organization: Organization, capsys: pytest.CaptureFixture[str]) -> None:
    """A catalog that refuses a plan, users that cannot be blocked, a strange hash, no token to read with."""
    organization.leave("m0")
    organization.to_litellm.answers["/key/block"] = lambda _: httpx.Response(500)
    assert run(organization, apply=True) == 1
    assert run(organization, apply=True, plan_hash="0" * 64) == 1
    assert run(organization, backstage=BackstageSettings(BASE_URL)) == 1
    assert run(organization, database_url="postgresql+psycopg://u:p@127.0.0.1:9/x") == 1
    organization.to_backstage.answers["/api/catalog/entities/by-query"] = lambda _: httpx.Response(401)
    assert run(organization) == 1
    told = capsys.readouterr().err
    for said in ("users failed", "No run or dry run", "catalogToken", "database", "refused this service's token"):
        assert said in told


def test_a_run_in_progress_is_not_disturbed(organization: Organization, capsys: pytest.CaptureFixture[str]) -> None:
    """It says so and exits 1."""

    async def take() -> None:
        await organization.cleanup.take(None)
        await organization.orchestrator.aclose()

    asyncio.run(take())
    settings = standalone_settings(str(organization.folder))
    assert cli_cleanup.run(settings, apply=True, plan_hash=None, as_json=False, ports=organization.ports) == 1
    assert "A run is in progress" in capsys.readouterr().err
