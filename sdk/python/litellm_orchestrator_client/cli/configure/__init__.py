"""`configure`: makes a tool ask `litellm-key token`, remembers what was there, and can take it back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from litellm_orchestrator_client.cli import files
from litellm_orchestrator_client.cli.errors import CommandError
from litellm_orchestrator_client.cli.store import CONFIGURED, SESSIONS

from .change import Planned, carry_out, plan, plan_back
from .tools import TOOLS, Call, Tool

if TYPE_CHECKING:
    from litellm_orchestrator_client.cli.machine import Machine

__all__ = ("TOOLS", "Call", "Tool", "configure_tool", "undo_tool")


def configure_tool(tool: Tool, machine: Machine, call: Call, *, dry_run: bool) -> list[str]:
    """Writes the settings of a tool. Returns what it did, in lines. Raises CommandError and UnreachableError."""
    records = _records(machine, tool)
    planned = [plan(wanted, records.get(str(wanted.file))) for wanted in tool.wanted(machine, call)]
    said = _said(planned, dry_run=dry_run)
    for name in tool.in_the_way:
        if machine.environ.get(name):
            said.append(f"{name} is set in this shell, and goes before the command: unset it.")
        said += [
            f"env.{name} is set in {each.file}, and goes before the command: remove it."
            for each in planned
            if each.has(("env", name))
        ]
    if dry_run:
        return said
    # First what taking it back needs: then a crash leaves nothing that nobody can take back.
    _remember(machine, tool, records | {each.record["file"]: each.record for each in planned})
    for each in planned:
        carry_out(each)
    return [*said, tool.next_step]


def undo_tool(tool: Tool, machine: Machine, *, dry_run: bool) -> list[str]:
    """Takes back what `configure_tool` did. Returns what it did, in lines. Raises CommandError."""
    records = _records(machine, tool)
    if not records:
        return [f"Nothing here was configured for {tool.name}."]
    planned = [plan_back(record) for record in records.values()]
    if not dry_run:
        for each in planned:
            carry_out(each)
        _path(machine, tool).unlink(missing_ok=True)
    return _said(planned, dry_run=dry_run)


def _said(planned: list[Planned], *, dry_run: bool) -> list[str]:
    lines = ["This would change:"] if dry_run else []
    for each in planned:
        lines += [str(each.file), *(f"  {line}" for line in each.said or ["is already so"])]
    return lines


def _path(machine: Machine, tool: Tool) -> Path:
    return machine.folder / CONFIGURED / f"{tool.name}.json"


def _records(machine: Machine, tool: Tool) -> dict[str, dict[str, Any]]:
    """What was changed, by file."""
    try:
        rows = json.loads(_path(machine, tool).read_text("utf-8"))
        return {row["file"]: row for row in rows}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CommandError(f"{_path(machine, tool)} cannot be read") from error


def _remember(machine: Machine, tool: Tool, records: dict[str, dict[str, Any]]) -> None:
    path = _path(machine, tool)
    try:
        files.make_own(machine.folder, SESSIONS, CONFIGURED)
        files.make_private(path.parent)
        files.replace(path, json.dumps(list(records.values())).encode())
    except OSError as error:
        raise CommandError(f"{path} cannot be written ({error.strerror}): set LITELLM_KEY_HOME") from error
