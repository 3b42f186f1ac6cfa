"""Devices that are signed in with genuine tokens, by the built command: the real catalog, the real LiteLLM."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.conftest import ALICE, BASE
from tests.live.conftest import CHECKOUT, DAVE, Live, opened, sign_in
from tests.support.command_line import Machine, approve_on_page, install_command, signed_in
from tests.support.devices import approve, ask, poll, refresh, renewed, revoke, sessions

pytestmark = pytest.mark.live

_LOST_ANSWER_SECONDS = 30
MODEL = "gpt-fake"


async def test_a_newcomer_calls_a_model(live: Live, tmp_path: Path) -> None:
    """The built wheel, `login`, approved by dave in a browser for a component of his team; `exec` calls LiteLLM."""
    command = await asyncio.to_thread(install_command, tmp_path / "environment")
    (tmp_path / "home").mkdir()
    machine = Machine(command, tmp_path / "home")
    process, address, code = await machine.asks(live.running.origin)
    assert address.startswith(f"{live.running.origin}{BASE}/console")
    async with opened(address) as page:
        await sign_in(page, live, "dave")
        await approve_on_page(page, code, owner=CHECKOUT)
    said = await signed_in(process)
    assert f"as {DAVE}, with keys of {CHECKOUT}" in said
    assert "choices" in json.loads(await machine.calls(MODEL))
    key = (await machine.runs("token")).strip()
    assert await live.products.chat(key) == 200
    await machine.runs("logout")
    assert await live.products.chat(key) == 401


async def test_a_stolen_refresh_token(live: Live) -> None:
    """The same one again within half a minute is a lost answer; later it ends the session with its keys."""
    async with live.caller(await live.products.token("alice")) as alice, live.caller(None) as device:
        codes = await ask(device)
        assert (await approve(alice, codes, ALICE)).status_code == 200
        first = (await poll(device, codes)).json()
        second = await renewed(device, first["refresh_token"])
        assert await renewed(device, first["refresh_token"]) == second
        keys = [first["access_token"], second["access_token"]]
        assert [await live.products.chat(key) for key in keys] == [200, 200]
        await asyncio.sleep(_LOST_ANSWER_SECONDS + 1)
        stolen = await refresh(device, first["refresh_token"])
        assert (stolen.status_code, stolen.json()["error"]) == (400, "invalid_grant")
        assert [await live.products.chat(key) for key in keys] == [401, 401]
        assert (await refresh(device, second["refresh_token"])).json()["error"] == "invalid_grant"
        assert await sessions(alice) == []


async def test_signed_out(live: Live) -> None:
    """By its person, or by the device itself: its key is dead at once, and another device goes on."""
    async with live.caller(await live.products.token("alice")) as alice, live.caller(None) as device:
        given = []
        for _ in range(3):
            codes = await ask(device)
            assert (await approve(alice, codes, ALICE)).status_code == 200
            given.append((await poll(device, codes)).json())
        newest, *_ = await sessions(alice)
        assert (await alice.delete(f"{BASE}/sessions/{newest['id']}")).status_code == 204
        assert (await revoke(device, given[0]["refresh_token"])).status_code == 200
        assert [await live.products.chat(row["access_token"]) for row in given] == [401, 200, 401]
