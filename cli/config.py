"""`litellm-orchestrator config print`: the settings in effect, with secrets masked."""

from __future__ import annotations

import json
from pathlib import Path

import click
<<<<<<< HEAD

from cli.configuration import config_option, settings_or_exit
from domain.redaction import MASK
from settings.secrets import without_password
=======
import yaml

from cli.configuration import config_option, settings_or_exit
from settings.written import masked, to_app_config
>>>>>>> wt-models


@click.group(short_help="Show the settings.")
def config() -> None:
    """Show the settings in effect."""


@config.command("print")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def print_settings(paths: tuple[Path, ...], *, as_json: bool) -> None:
    """Print the settings of --config, of APP_CONFIG_* variables and of the defaults as an app-config.yaml.

<<<<<<< HEAD

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
=======
    Secrets are masked. --config accepts what is printed.
    """
    tree = to_app_config(masked(settings_or_exit(paths)))
    text = json.dumps(tree, indent=2) if as_json else yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
    click.echo(text.rstrip())
>>>>>>> wt-models
