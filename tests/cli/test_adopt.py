"""The adoption on the command line: output and exit codes."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from cli import adopt as cli_adopt
from cli.main import main
from domain.adoption import AdoptionOrder
from settings.model import BackstageSettings, Settings
from standalone.backstage import BASE_URL
from standalone.environment import standalone_settings
from tests.support.adoption import add_account
from tests.support.organisation import Organisation
from tests.support.processes import ROOT

OLD = "M0@example.com"


@pytest.fixture
def organisation(tmp_path: Path) -> Organisation:
    """m0's account has another id, 3.5 USD spent and two keys. Synchronous: the command starts its own event loop."""
    organisation = Organisation(tmp_path, members=3)
    ref = organisation.ref("m0")
    organisation.org.profiles[ref] = {"email": "m0@example.com"}
    organisation.litellm.rows.delete_user(ref)
    add_account(organisation.litellm, OLD, keys=2, spend=3.5, max_budget=10.0)
    return organisation


def run(
    organisation: Organisation, *, apply: bool = False, as_json: bool = False, by_email: bool = True, **changes: Any
) -> int:
    order = {name: changes.pop(name) for name in ("plan_hash", "delete_emptied", "limit") if name in changes}
    settings: Settings = replace(standalone_settings(str(organisation.folder)), **changes)
    asked = AdoptionOrder(by_email=by_email, **order)
    return cli_adopt.run(settings, asked, apply=apply, as_json=as_json, ports=organisation.ports)


def hash_in(told: str) -> str:
    return told.split("--plan-hash ")[1].split(maxsplit=1)[0]


def test_a_plan_is_a_table(organisation: Organisation, capsys: pytest.CaptureFixture[str]) -> None:
    """With user, account, keys, spend and budget, and the line that executes it; nothing is changed."""
    assert run(organisation) == 0
    printed = capsys.readouterr()
    (row,) = (line for line in printed.out.splitlines() if OLD in line)
    assert [cell.strip() for cell in row.split("│")[1:6]] == [organisation.ref("m0"), OLD, "2", "3.50", "10"]
    assert "1 to adopt, 0 beyond the limit, 0 conflicts, 0 others left as they are." in printed.out
    assert "To execute exactly this plan, within an hour: --apply --plan-hash " in printed.err
    assert organisation.to_litellm.changes == []


def test_conflicts_are_in_the_table(organisation: Organisation, capsys: pytest.CaptureFixture[str]) -> None:
    """With the reason; where nobody can be adopted there is nothing to confirm."""
    add_account(organisation.litellm, "User:default/M0", keys=1)
    assert run(organisation) == 0
    printed = capsys.readouterr()
    assert "twoAccounts: " in printed.out
    assert "0 to adopt, 0 beyond the limit, 2 conflicts" in printed.out
    assert "--plan-hash" not in printed.err


def test_applying(organisation: Organisation, capsys: pytest.CaptureFixture[str]) -> None:
    """Executes the plan that was printed, and says what it did."""
    run(organisation, delete_emptied=True)
    plan_hash = hash_in(capsys.readouterr().err)
    assert run(organisation, apply=True, plan_hash=plan_hash, delete_emptied=True) == 0
    assert "Done: 1 adopted, 2 keys moved, 1 old users deleted." in capsys.readouterr().out
    assert OLD not in organisation.litellm.rows.users
    assert len(organisation.keys(organisation.ref("m0"))) == 2


def test_what_stays_is_said(organisation: Organisation, capsys: pytest.CaptureFixture[str]) -> None:
    """A user in a team is not deleted."""
    organisation.litellm.rows.users[OLD]["teams"] = ["search"]
    run(organisation, delete_emptied=True)
    plan_hash = hash_in(capsys.readouterr().err)
    assert run(organisation, apply=True, plan_hash=plan_hash, delete_emptied=True) == 0
    assert f"{OLD} stays: it is in a team." in capsys.readouterr().out


def test_json_is_the_whole_report(organisation: Organisation, capsys: pytest.CaptureFixture[str]) -> None:
    """And nothing else on standard output."""
    assert run(organisation, as_json=True) == 0
    plan = json.loads(capsys.readouterr().out)["plan"]
    assert run(organisation, apply=True, plan_hash=plan["hash"], as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["done"]["adopted"][0]["account"] == OLD


def test_another_plan_exits_3(organisation: Organisation, capsys: pytest.CaptureFixture[str]) -> None:
    """What would be done is not what was printed."""
    run(organisation)
    plan_hash = hash_in(capsys.readouterr().err)
    assert run(organisation, apply=True, plan_hash=plan_hash, by_email=False) == 3
    assert "Refused: What would be done is not what the confirmed plan says any more" in capsys.readouterr().err
    assert organisation.to_litellm.changes == []


def test_a_failure_exits_1(organisation: Organisation, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a hash, with a strange one, without a token to read with, while another runs, where LiteLLM fails."""
    assert run(organisation, apply=True) == 1
    assert run(organisation, apply=True, plan_hash="0" * 64) == 1
    assert run(organisation, backstage=BackstageSettings(BASE_URL)) == 1
    run(organisation)
    told = capsys.readouterr().err
    for said in ("planHash is required", "No dry run of the last hour", "litellmOrchestrator.backstage.catalogToken"):
        assert said in told

    async def take() -> None:
        await organisation.cleanup.take(None)
        await organisation.orchestrator.aclose()

    asyncio.run(take())
    assert run(organisation, apply=True, plan_hash=hash_in(told)) == 1
    assert "A cleanup or an adoption is in progress" in capsys.readouterr().err


def test_a_user_that_fails_exits_1(organisation: Organisation, capsys: pytest.CaptureFixture[str]) -> None:
    """Who it is and why, and that a new dry run says what is left."""
    run(organisation)
    plan_hash = hash_in(capsys.readouterr().err)
    organisation.to_litellm.answers["/user/new"] = lambda _: httpx.Response(500)
    assert run(organisation, apply=True, plan_hash=plan_hash) == 1
    told = capsys.readouterr().err
    assert f"{organisation.ref('m0')}: LiteLLM failed with status 500." in told
    assert "Failed: 1 users failed; make a new dry run." in told


def test_the_commands_of_the_documentation() -> None:
    """Each line that the page shows is one that the command takes."""
    shown = re.findall(r"^\./litellm-orchestrator adopt (.*)$", (ROOT / "docs/backstage.md").read_text(), re.MULTILINE)
    assert len(shown) == 4
    for line in shown:
        context = cli_adopt.adopt.make_context("adopt", shlex.split(line, comments=True))
        assert (context.params["by"], context.params["apply"]) == ("email", context.params["plan_hash"] is not None)


def test_the_options() -> None:
    """The command has those that the documentation names."""
    shown = CliRunner().invoke(main, ["adopt", "--help"]).output
    for option in ("--config", "--by", "--dry-run", "--apply", "--plan-hash", "--delete-emptied", "--limit", "--json"):
        assert option in shown
