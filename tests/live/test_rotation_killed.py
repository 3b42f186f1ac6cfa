"""A rotation on the real LiteLLM, by a service that is killed with SIGKILL at every one of its steps there."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from standalone.backstage import BackstageStandIn
from tests.conftest import ALICE, keys_path
from tests.support.processes import listening
from tests.support.raw_http import serving

pytestmark = pytest.mark.live

_MOST_STEPS, _PATIENCE, _POLL = 30, 60, 0.2
_EFFECTIVE_WITHIN = 75


class KillingProxy:
    """Passes requests on to the real LiteLLM; kills who sent the request of a certain number, before or after it.

    After each it looks whether one of `secrets` works, and notes in `dark` where none does; the new key's is added once
    LiteLLM has answered with it.
    """

    def __init__(self, url: str) -> None:
        self._litellm = httpx.AsyncClient(base_url=url, timeout=_PATIENCE)
        self.secrets: list[str] = []
        self.dark: list[str] = []
        self.victim: int | None = None
        self.at, self.after = -1, False
        self.steps = 0
        self.was_killed = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = (await receive()).get("body", b"")
        is_step = self.victim is not None and not self.was_killed
        # Steps overlap, so each remembers whether it is the one.
        is_last = is_step and self.steps == self.at
        self.steps += is_step
        if is_last and not self.after:
            self._kill()
            return
        response = await self._passed_on(scope, body)
        is_dark = self.victim is not None and 200 not in [await self.chat(secret) for secret in self.secrets]
        # The caller may have begun to delete the last key meanwhile.
        if is_dark and self.victim is not None:
            self.dark.append(scope["path"])
        if is_last:
            self._kill()
            return
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": response.content})

    async def chat(self, secret: str) -> int:
        """The status of a call to a model."""
        body = {"model": "gpt-fake", "messages": [{"role": "user", "content": "hello"}]}
        bearer = {"Authorization": f"Bearer {secret}"}
        return (await self._litellm.post("/v1/chat/completions", json=body, headers=bearer)).status_code

    async def refuses(self, secret: str) -> bool:
        """Whether LiteLLM does so within its cache time, as a call in the moment of the deletion makes it remember."""
        for _ in range(int(_EFFECTIVE_WITHIN / _POLL)):
            if await self.chat(secret) == 401:
                return True
            await asyncio.sleep(_POLL)
        return False

    async def _passed_on(self, scope: Scope, body: bytes) -> httpx.Response:
        target = scope["raw_path"].decode() + ("?" + scope["query_string"].decode() if scope["query_string"] else "")
        kept = (b"authorization", b"content-type")
        headers = {name.decode(): value.decode() for name, value in scope["headers"] if name in kept}
        response = await self._litellm.request(scope["method"], target, content=body, headers=headers)
        if scope["path"] == "/key/generate":
            self.secrets.append(json.loads(response.content)["key"])
        return response

    def _kill(self) -> None:
        assert self.victim is not None
        os.kill(self.victim, signal.SIGKILL)
        self.was_killed = True

    async def begin_again(self, user_id: str) -> None:
        """Without the user and whatever keys they have from elsewhere."""
        master = {"Authorization": f"Bearer {os.environ['LITELLM_MASTER_KEY']}"}
        await self._litellm.post("/user/delete", json={"user_ids": [user_id]}, headers=master)

    async def aclose(self) -> None:
        await self._litellm.aclose()


def two_minutes_pass(state: Path) -> None:
    """Expires what a process that died has leased and claimed, in the database."""
    database = sqlite3.connect(state)
    with database:
        database.execute("update change set lease_until = 0 where outcome is null and lease_until is not null")
        database.execute("update due set next_attempt_at = due_at")
    database.close()


@pytest.fixture
async def proxy() -> AsyncIterator[KillingProxy]:
    """Before the real LiteLLM, where alice has nothing."""
    async with aclosing(KillingProxy(os.environ["LITELLM_URL"])) as proxy:
        await proxy.begin_again(ALICE)
        yield proxy


@pytest.mark.parametrize(("overlap", "after"), [(0, False), (0, True), (1, True)])
async def test_killed_at_every_step(
    proxy: KillingProxy, tmp_path: Path, capsys: pytest.CaptureFixture[str], *, after: bool, overlap: int
) -> None:
    """One key works at every moment; sent again, one is left, whose secret the caller has; the old one ends."""
    proxy.after = after
    backstage, state = BackstageStandIn(), tmp_path / "state.sqlite3"
    told, ended = [], []
    async with serving(proxy) as litellm_port, serving(backstage.app) as backstage_port:
        config = tmp_path / "app-config.yaml"
        config.write_text(
            f"""
            liteLLM:
              baseUrl: http://127.0.0.1:{litellm_port}
              masterKey: ${{LITELLM_MASTER_KEY}}
              adminGroup: admins
              allowedGroup: litellm-users
            backend: {{baseUrl: 'http://127.0.0.1:{backstage_port}', listen: '127.0.0.1:0'}}
            litellmOrchestrator:
              database: {{url: 'sqlite:///{state}'}}
              maintenanceInterval: 0.5
              rateLimit: {{createsPerMinute: 1000}}
            """
        )
        bearer = {"Authorization": f"Bearer {backstage.user_token(ALICE)}"}
        for step in range(_MOST_STEPS):
            proxy.victim, proxy.at, proxy.steps, proxy.was_killed = None, step, 0, False
            proxy.secrets.clear()
            async with (
                listening("serve", "--config", str(config)) as doomed,
                httpx.AsyncClient(base_url=doomed.origin, headers=bearer, timeout=_PATIENCE) as alice,
            ):
                old = (await alice.post(keys_path(ALICE))).json()
                path = f"{keys_path(ALICE, old['keyId'])}/regenerate"
                named = {"Idempotency-Key": f"rotate-{step}"}
                proxy.victim = doomed.process.pid
                try:
                    answer = await alice.post(path, json={"overlap": overlap}, headers=named)
                except httpx.TransportError:
                    answer = None
                await doomed.process.wait() if answer is None else None
            if answer is None:
                two_minutes_pass(state)
            proxy.was_killed = True
            async with (
                listening("serve", "--config", str(config)) as healthy,
                httpx.AsyncClient(base_url=healthy.origin, headers=bearer, timeout=_PATIENCE) as alice,
            ):
                again = await alice.post(path, json={"overlap": overlap}, headers=named)
                assert again.status_code == 201, (step, again.text)
                assert await proxy.chat(again.json()["keySecret"]) == 200
                for _ in range(int(_PATIENCE / _POLL)):
                    keys = (await alice.get(keys_path(ALICE))).json()["keys"]
                    if len(keys) == 1:
                        break
                    await asyncio.sleep(_POLL)
                assert [row["token"] for row in keys] == [again.json()["keyId"]], f"after step {step}"
                proxy.victim = None
                assert (await alice.delete(keys_path(ALICE, keys[0]["token"]))).status_code == 204
            ended.append(old["keySecret"])
            told.append(proxy.steps)
            if answer is not None:
                break
        else:
            pytest.fail("a rotation never came to its end")
    for secret in ended:
        assert await proxy.refuses(secret)
    with capsys.disabled():
        moment = "after" if after else "before"
        print(f"\noverlap {overlap}: killed {moment} each of {len(told) - 1} requests to LiteLLM, and then not at all")
    assert proxy.dark == [], "both keys were dead after these"
    assert len(told) > 4
