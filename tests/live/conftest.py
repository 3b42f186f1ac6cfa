"""The service as its own process, between the real LiteLLM and the real Backstage."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.conftest import ALICE, BOB, ERIN, SERVICE_TOKEN
from tests.support.contract import check
from tests.support.processes import Running, listening

# Where the live Backstage's proxy looks for this service.
PORT = os.environ.get("ORCHESTRATOR_PORT", "7007")
_PATIENCE = 60


@dataclass
class Live:
    """The running service, its neighbours, and the people with genuine tokens."""

    running: Running
    backstage: httpx.AsyncClient
    litellm: httpx.AsyncClient
    said: Callable[[str], None]

    async def token(self, name: str) -> str:
        """A genuine user token."""
        answer = await self.backstage.get("/api/auth/test/refresh", params={"user": f"user:default/{name}"})
        return str(answer.json()["backstageIdentity"]["token"])

    def caller(self, token: str | None, origin: str | None = None) -> httpx.AsyncClient:
        """Somebody with `token`; each of their answers is held against the contract."""

        async def checked(response: httpx.Response) -> None:
            await response.aread()
            if origin is None:
                check(response)
            self.said(f"  {response.request.method} {response.request.url.raw_path.decode()} -> {response.status_code}")

        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.AsyncClient(
            base_url=origin or self.running.origin,
            headers=headers,
            timeout=_PATIENCE,
            event_hooks={"response": [checked]},
        )

    async def chat(self, secret: str) -> int:
        """The status of a call to a model with a key."""
        status = await self.quiet_chat(secret)
        self.said(f"  POST /v1/chat/completions on LiteLLM -> {status}")
        return status

    async def quiet_chat(self, secret: str) -> int:
        """The same, untold."""
        body = {"model": "gpt-fake", "messages": [{"role": "user", "content": "hello"}]}
        answer = await self.litellm.post(
            "/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {secret}"}
        )
        return answer.status_code


@pytest.fixture
async def live(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> AsyncIterator[Live]:
    """Everything running, and alice, bob and erin without LiteLLM users."""
    litellm_url, backstage_url = os.environ["LITELLM_URL"], os.environ["BACKSTAGE_URL"]
    config = tmp_path / "app-config.yaml"
    config.write_text(
        f"""
        liteLLM:
          baseUrl: {litellm_url}
          masterKey: ${{LITELLM_MASTER_KEY}}
          adminGroup: group:default/admins
          allowedGroup: group:default/litellm-users
          userDefaults: {{maxBudget: 100, budgetDuration: 1y}}
          groupDefaults:
            - {{group: admins, maxBudget: 1000}}
            - {{group: litellm-users, maxKeys: 60, maxKeyDuration: 30d, rpmLimit: 1000}}
        backend: {{baseUrl: '{backstage_url}', listen: '127.0.0.1:{PORT}', cors: {{origin: 'http://localhost:3000'}}}}
        litellmOrchestrator:
          backstage: {{issuer: '{backstage_url}/api/auth', catalogToken: '${{BACKSTAGE_CATALOG_TOKEN}}'}}
          cleanup: {{enabled: false}}
          maintenanceInterval: 1
          database: {{url: 'sqlite:///{tmp_path}/state.sqlite3'}}
          serviceTokens: [{{token: {SERVICE_TOKEN}, subject: 'service:ci', role: admin}}]
        """
    )

    def said(line: str) -> None:
        with capsys.disabled():
            print(line)

    said(f"\n{request.function.__doc__}")
    master = {"Authorization": f"Bearer {os.environ['LITELLM_MASTER_KEY']}"}
    async with (
        httpx.AsyncClient(base_url=litellm_url, headers=master, timeout=_PATIENCE) as litellm,
        httpx.AsyncClient(base_url=backstage_url, timeout=_PATIENCE) as backstage,
        listening("serve", "--config", str(config)) as running,
    ):
        for user_id in (ALICE, BOB, ERIN):
            await litellm.post("/user/delete", json={"user_ids": [user_id]})
        yield Live(running, backstage, litellm, said)
