"""A newcomer's way from the command to a first call of a model, approved in a browser, on what `make run` starts."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.conftest import ALICE
from tests.console.conftest import Opened
from tests.support.command_line import Machine, approve_on_page, install_command, signed_in

pytestmark = pytest.mark.console


async def again(trial: Opened) -> None:
    """Loads the page again and signs in: no page keeps a sign-in."""
    await trial.page.reload()
    await trial.page.get_by_role("button", name="alice").click()
    await trial.loaded()


async def test_signed_in_on_the_page_a_program_gets_its_answer(trial: Opened, tmp_path: Path) -> None:
    """The built wheel, `login`, a click, `exec`; then the device is in the list, and signing it out ends its key."""
    command = await asyncio.to_thread(install_command, tmp_path / "environment")
    (tmp_path / "home").mkdir()
    machine, page = Machine(command, tmp_path / "home"), trial.page
    trial.portal.origin = trial.portal.origin.replace("127.0.0.1", "localhost")  # as `make run` says it
    process, address, code = await machine.asks(trial.portal.origin)
    assert address.startswith(trial.portal.origin)
    await trial.sign_in("alice", address.partition("/console")[2])
    await approve_on_page(page, code)
    said = await signed_in(process)
    assert f"as {ALICE}, with keys of {ALICE}" in said
    assert json.loads(await machine.calls("gpt-fake"))["choices"][0]["message"]["content"] == "hi"
    key = await machine.runs("token")
    assert key.startswith("sk-")
    assert key not in said
    row = page.locator("tbody tr", has_text="litellm-key")
    await again(trial)
    await expect(row).to_have_count(1)
    await machine.runs("logout")
    code_after, printed, _ = await machine.ends("token")
    assert (code_after, printed) == (2, "")
    await again(trial)
    await expect(row).to_have_count(0)
