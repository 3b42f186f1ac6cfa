"""The option `--config`, and loading the settings that it names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click

from settings.app_config import AppConfigError, load
from settings.model import Settings
from settings.parse import SettingsError, from_app_config

EXIT_SETTINGS = 2

config_option = click.option(
    "--config",
    "paths",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    help="An app-config.yaml. Repeat it for several files; later files win.",
)


def settings_or_exit(paths: Sequence[Path]) -> Settings:
    """The settings of these files and of APP_CONFIG_* variables. Prints all problems and exits with 2 if invalid."""
    try:
        return from_app_config(load(paths, os.environ))
    except AppConfigError as error:
        click.echo(f"The configuration cannot be read: {error}", err=True)
    except SettingsError as error:
        click.echo("Invalid configuration:", err=True)
        for problem in error.problems:
            click.echo(f"  {problem}", err=True)
    raise SystemExit(EXIT_SETTINGS)
