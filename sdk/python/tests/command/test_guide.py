"""What the guide and the help texts say is there."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from litellm_orchestrator_client.cli.commands import cli
from litellm_orchestrator_client.cli.configure import TOOLS

GUIDE = (Path(__file__).parents[4] / "docs" / "cli.md").read_text()
CODE = "\n".join(re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL) + re.findall(r"`([^`\n]+)`", GUIDE))


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_each_command_explains_itself(name: str) -> None:
    """In a sentence, with its exit codes, and the guide has it."""
    shown = CliRunner().invoke(cli, [name, "--help"])
    assert shown.exit_code == 0
    assert "Exit codes: 0 done" in shown.output
    assert re.search(rf"(litellm-key |`){name}\b", GUIDE)


def test_the_guide_names_only_what_there_is() -> None:
    """Every command and every option of its code."""
    assert set(re.findall(r"litellm-key ([a-z]+)", CODE)) <= cli.commands.keys()
    options = {option for command in cli.commands.values() for each in command.params for option in each.opts}
    assert set(re.findall(r"(?<=[\s`])--[a-z-]+", CODE)) <= options


def test_the_command_takes_every_tool() -> None:
    """And no other: it lists them itself, so that it need not import what writes their settings."""
    [choice] = [each.type for each in cli.commands["configure"].params if each.name == "tool"]
    assert isinstance(choice, click.Choice)
    assert sorted(choice.choices) == sorted(TOOLS)
