"""The clients against the service between the real products."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.conftest import ALICE, BASE, BOB, CAROL, keys_path
from tests.live.conftest import Live
from tests.support.clients import install_package, install_wheel, python_story, typescript_story

pytestmark = pytest.mark.live


async def test_their_stories(live: Live, tmp_path: Path) -> None:
    """In Python and in TypeScript, what their users do works."""
    tokens = {ref: await live.products.token(ref.rpartition("/")[2]) for ref in (ALICE, BOB, CAROL)}
    async with live.caller(tokens[ALICE]) as alice:
        assert (await alice.post(keys_path(ALICE), json={"alias": "laptop"})).status_code == 201
    for name in ("python", "typescript"):
        (tmp_path / name).mkdir()
    url = live.running.origin + BASE
    await asyncio.to_thread(python_story, install_wheel(tmp_path / "python"), url, tokens)
    await asyncio.to_thread(typescript_story, install_package(tmp_path / "typescript"), url, tokens)
