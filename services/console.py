"""What the console has to know before anybody signs in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from settings.model import ConsoleSettings


@dataclass(frozen=True, kw_only=True)
class Console:
    """The settings of the console, and by user id the role of each person whom standalone mode can sign in."""

    settings: ConsoleSettings
    people: Mapping[str, str]
