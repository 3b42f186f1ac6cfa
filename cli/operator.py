"""Who runs a command: it holds the settings, and so the master key."""

from __future__ import annotations

from domain.identity import Principal, Role

TRIGGER = "command line"
"""What started a run, in its report."""
OPERATOR = Principal(TRIGGER, frozenset({Role.SYSTEM}))
