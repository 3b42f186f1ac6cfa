"""The command line: `litellm-orchestrator serve`, `check`, `config`, `cleanup` and `adopt`."""

from __future__ import annotations

import click

from cli.adopt import adopt
from cli.check import check
from cli.cleanup import cleanup
from cli.config import config
from cli.serve import serve


@click.group()
def main() -> None:
    """Self-service for LiteLLM users and keys, authorised by Backstage."""


for command in (serve, check, config, cleanup, adopt):
    main.add_command(command)
