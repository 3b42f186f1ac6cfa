"""The real LiteLLM and the real Backstage that `make live` starts."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from tests.support.litellm_versions import Version, version_of

PATIENCE_SECONDS = 60


@dataclass
class RealProducts:
    """Both products. `narrate` prints a line for those who run the suite."""

    litellm: httpx.AsyncClient
    backstage: httpx.AsyncClient
    narrate: Callable[[str], None]

    async def token(self, name: str) -> str:
        """A genuine user token of `user:default/<name>`."""
        answer = await self.backstage.get("/api/auth/test/refresh", params={"user": f"user:default/{name}"})
        return str(answer.json()["backstageIdentity"]["token"])

    async def litellm_version(self) -> Version:
        """Major and minor version of LiteLLM."""
        return await version_of(self.litellm)

    async def empty_litellm(self) -> None:
        """Deletes all users of LiteLLM, and their keys."""
        while rows := (await self.litellm.get("/user/list", params={"page_size": 100})).json()["users"]:
            for row in rows:
                await self.litellm.post("/user/delete", json={"user_ids": [row["user_id"]]})

    async def chat(self, secret: str) -> int:
        """The status of a model call with a key."""
        body = {"model": "gpt-fake", "messages": [{"role": "user", "content": "hello"}]}
        headers = {"Authorization": f"Bearer {secret}"}
        status = (await self.litellm.post("/v1/chat/completions", json=body, headers=headers)).status_code
        self.narrate(f"  POST /v1/chat/completions on LiteLLM -> {status}")
        return status


@asynccontextmanager
async def real_products(narrate: Callable[[str], None]) -> AsyncIterator[RealProducts]:
    """The products at the addresses in the environment, with LiteLLM's master key."""
    master = {"Authorization": f"Bearer {os.environ['LITELLM_MASTER_KEY']}"}
    async with (
        httpx.AsyncClient(base_url=os.environ["LITELLM_URL"], headers=master, timeout=PATIENCE_SECONDS) as litellm,
        httpx.AsyncClient(base_url=os.environ["BACKSTAGE_URL"], timeout=PATIENCE_SECONDS) as backstage,
    ):
        yield RealProducts(litellm, backstage, narrate)
