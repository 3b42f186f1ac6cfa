"""The same questions to the stand-ins and, under `make live`, to the real products."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from clients.upstream import encoded_query
from standalone.backstage import BackstageStandIn
from standalone.catalog import CATALOG_TOKEN
from standalone.litellm import MASTER_KEY, LiteLLMStandIn
from tests.support.litellm_process import second_litellm
from tests.support.litellm_versions import Version, version_of

PATIENCE = 60
MODELS = yaml.safe_load((Path(__file__).parent.parent / "support" / "litellm_models.yaml").read_text())
"""What the second LiteLLM serves."""
CACHE_SECONDS = 10
"""For which the second LiteLLM remembers a key."""


@dataclass
class Proxy:
    """A LiteLLM, as an operator with the master key sees it; `prefix` keeps this test's ids apart from all others.

    `stand_in` is None for the real one.
    """

    http: httpx.AsyncClient
    prefix: str
    version: Version
    stand_in: LiteLLMStandIn | None = None

    def id(self, name: str) -> str:
        return f"user:default/{self.prefix}-{name}"

    async def get(self, path: str, **query: str | int) -> httpx.Response:
        return await self.http.get(path + encoded_query(query))

    async def post(self, path: str, **body: object) -> httpx.Response:
        return await self.http.post(path, json=body)

    async def user(self, name: str, **fields: object) -> str:
        """A new user's id."""
        response = await self.post("/user/new", **{"user_id": self.id(name), "auto_create_key": False, **fields})
        assert response.status_code == 200, response.text
        return self.id(name)

    async def key(self, user_id: str, **fields: object) -> Any:
        """A new key."""
        response = await self.post("/key/generate", **{"user_id": user_id, "key_type": "llm_api", **fields})
        assert response.status_code == 200, response.text
        return response.json()

    async def listed_key(self, user_id: str, token: object) -> Any:
        """The row of a key in the list of a user's keys, if it is there."""
        query = {"user_id": user_id, "key_hash": str(token), "return_full_object": "true"}
        rows = (await self.get("/key/list", **query)).json()["keys"]
        return rows[0] if rows else None

    async def chat(self, secret: object, model: str = "gpt-fake") -> int:
        """The status of a call to a model."""
        return (await self.call(secret, model)).status_code

    async def call(self, secret: object, model: str = "gpt-fake", api: str = "chat/completions") -> httpx.Response:
        """A call to a model."""
        messages = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 10}
        body = {"model": model, **({"input": "hello"} if api == "responses" else messages)}
        return await self.http.post(f"/v1/{api}", json=body, headers={"Authorization": f"Bearer {secret}"})


@pytest.fixture
async def proxy(*, is_real: bool) -> AsyncIterator[Proxy]:
    """LiteLLM: the stand-in, and the real one."""
    stand_in = None if is_real else LiteLLMStandIn()
    if stand_in is None:
        transport, url, key = None, os.environ["LITELLM_URL"], os.environ["LITELLM_MASTER_KEY"]
    else:
        transport, url, key = httpx.ASGITransport(stand_in.app), "http://litellm", MASTER_KEY
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=url, transport=transport, headers=headers, timeout=PATIENCE) as http:
        proxy = Proxy(http, uuid.uuid4().hex[:8], await version_of(http), stand_in)
        yield proxy
        made = (await proxy.get("/user/list", user_ids=proxy.prefix, page=1, page_size=100)).json()["users"]
        for row in made:
            await proxy.post("/user/delete", user_ids=[row["user_id"]])


@dataclass
class Portal:
    """A Backstage, and a token for its catalog."""

    http: httpx.AsyncClient
    catalog_token: str


@pytest.fixture
async def backstage_target(*, is_real: bool) -> AsyncIterator[Portal]:
    """Backstage: the stand-in, and the real one."""
    if is_real:
        transport, url, token = None, os.environ["BACKSTAGE_URL"], os.environ["BACKSTAGE_CATALOG_TOKEN"]
    else:
        transport, url, token = httpx.ASGITransport(BackstageStandIn().app), "http://backstage", CATALOG_TOKEN
    async with httpx.AsyncClient(base_url=url, transport=transport, timeout=PATIENCE) as http:
        yield Portal(http, token)


@pytest.fixture
def portal(backstage_target: Portal) -> httpx.AsyncClient:
    """Backstage, for those who need nothing of its catalog."""
    return backstage_target.http


@pytest.fixture(scope="session")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a second process of the real LiteLLM, with models of its own; it takes half a minute to start."""
    folder, general = tmp_path_factory.mktemp("litellm"), {"user_api_key_cache_ttl": CACHE_SECONDS}
    with second_litellm(folder, {}, MODELS, general) as address:
        yield address


def litellm_database() -> str:
    """The URL of LiteLLM's own."""
    return f"{os.environ['STATE_DATABASE_URL'].rpartition('/')[0]}/litellm"
