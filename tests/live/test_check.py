"""The check before the start, on the real products."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.processes import output

pytestmark = pytest.mark.live


async def test_the_check_before_the_start(config: Path, narrate: Callable[[str], None]) -> None:
    """Everything is well with the real LiteLLM and the real Backstage; a wrong key and a wrong group are found."""
    code, printed = await output("check", "--config", str(config))
    narrate(printed)
    assert (code, printed.count("ok       ")) == (0, 14)
    code, printed = await output(
        "check",
        "--config",
        str(config),
        APP_CONFIG_liteLLM_masterKey="sk-wrong",
        APP_CONFIG_liteLLM_adminGroup="nobody",
    )
    narrate(printed)
    assert code == 1
    assert "failed   LiteLLM's master key" in printed
    assert "failed   adminGroup: Backstage's catalog has no group:default/nobody" in printed
    assert "sk-wrong" not in printed
