"""Two processes of LiteLLM on one database, without Redis: the second learns of a change later than the first."""

from __future__ import annotations

import asyncio
import os
import time
import uuid

import httpx
import pytest

from tests.conformance.conftest import CACHE_SECONDS
from tests.support.litellm_versions import CACHE_TIME, FIXED_CACHE_SECONDS, version_of

ENDS = ("/key/block", "/key/delete")
_PAUSE_SECONDS, _GRACE_SECONDS = 0.5, 10
_CALL = {"model": "gpt-fake", "messages": [{"role": "user", "content": "hello"}]}


async def accepts(process: httpx.AsyncClient, secret: str) -> bool:
    """Whether a model may be called with the key through this process."""
    headers = {"Authorization": f"Bearer {secret}"}
    return (await process.post("/v1/chat/completions", json=_CALL, headers=headers)).status_code == 200


@pytest.mark.live
async def test_how_long_a_key_works_that_another_process_has_ended(second: str) -> None:
    """Refused at once by the one that was told, by the other after its cache time, however busy the key is."""
    headers = {"Authorization": f"Bearer {os.environ['LITELLM_MASTER_KEY']}"}
    user_id = f"user:default/{uuid.uuid4().hex[:8]}"
    async with (
        httpx.AsyncClient(base_url=os.environ["LITELLM_URL"], headers=headers, timeout=60) as told,
        httpx.AsyncClient(base_url=second, headers=headers, timeout=60) as other,
    ):
        remembered = CACHE_SECONDS if await version_of(told) >= CACHE_TIME else FIXED_CACHE_SECONDS

        async def ended(path: str) -> float:
            """How long the other one accepts a key that ends by `path`, in seconds."""
            key = (await told.post("/key/generate", json={"user_id": user_id})).json()
            assert (await accepts(told, key["key"]), await accepts(other, key["key"])) == (True, True)
            assert (await told.post(path, json={"key": key["token"], "keys": [key["token"]]})).status_code == 200
            since = time.monotonic()
            assert (await accepts(told, key["key"]), await accepts(other, key["key"])) == (False, True)
            while await accepts(other, key["key"]):
                await asyncio.sleep(_PAUSE_SECONDS)
                assert time.monotonic() - since < remembered + _GRACE_SECONDS
            return time.monotonic() - since

        await told.post("/user/new", json={"user_id": user_id, "auto_create_key": False})
        for path, seconds in zip(ENDS, await asyncio.gather(*map(ended, ENDS)), strict=True):
            print(f"{path}: accepted elsewhere for {seconds:.1f} s")
        await told.post("/user/delete", json={"user_ids": [user_id]})
