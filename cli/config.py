"""`litellm-orchestrator config print`: the settings in effect, with secrets masked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import click

from cli.configuration import config_option, settings_or_exit
from domain.redaction import MASK
from settings.secrets import without_password


@click.group(short_help="Show the settings.")
def config() -> None:
    """Show the settings in effect."""


@config.command("print")
@config_option
def print_settings(paths: tuple[Path, ...]) -> None:
    """Print the settings of --config, of APP_CONFIG_* variables and of the defaults, as JSON with secrets masked."""
    click.echo(json.dumps(masked(settings_or_exit(paths)), indent=2))


def masked(value: Any) -> Any:
    """The JSON form of settings. What settings leave out of their repr is a secret, or a URL with a password."""
    if is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: masked(getattr(value, field.name)) if field.repr else _masked_secret(getattr(value, field.name))
            for field in fields(value)
        }
    if isinstance(value, Mapping):
        return {name: masked(part) for name, part in value.items()}
    if isinstance(value, (tuple, list, set, frozenset)):
        return [masked(part) for part in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    return without_password(value) if isinstance(value, str) and value.startswith(("http://", "https://")) else value


def _masked_secret(value: str | tuple[str, ...] | None) -> Any:
    if not isinstance(value, str) or "://" not in value:
        return MASK if value else value
    return without_password(value)
