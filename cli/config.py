"""`litellm-orchestrator config print`: the settings in effect, with secrets masked."""

from __future__ import annotations

import json
from pathlib import Path

import click

from cli.configuration import config_option, settings_or_exit
from settings import yaml_core
from settings.written import masked, to_app_config


@click.group(short_help="Show the settings.")
def config() -> None:
    """Show the settings in effect."""


@config.command("print")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def print_settings(paths: tuple[Path, ...], *, as_json: bool) -> None:
    """Print the settings of --config, of APP_CONFIG_* variables and of the defaults as an app-config.yaml.

    Secrets are masked. --config accepts what is printed.
    """
    tree = to_app_config(masked(settings_or_exit(paths)))
    text = json.dumps(tree, indent=2, ensure_ascii=False) if as_json else yaml_core.dump(tree)
    click.echo(text.rstrip())
