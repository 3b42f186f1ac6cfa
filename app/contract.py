"""The contract."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, cast

import yaml

CONTRACT = Path(__file__).parent.parent / "openapi.yaml"


@cache
def contract() -> dict[str, Any]:
    """The parsed contract."""
    text = CONTRACT.read_text(encoding="utf-8")
    return cast("dict[str, Any]", yaml.load(text, Loader=yaml.CSafeLoader))  # CSafeLoader is a safe loader
