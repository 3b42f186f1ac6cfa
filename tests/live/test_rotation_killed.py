"""A rotation on the real LiteLLM, by a service that is killed with SIGKILL at every one of its steps there."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from standalone.backstage import BackstageStandIn
from tests.conftest import ALICE, BOB, ERIN, keys_path
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


@dataclass
class Lane:
    """Rotations of one person's keys with `overlap`, killed `after` LiteLLM has done a step or before it does."""

    user_id: str
    overlap: int
    after: bool

    @property
    def moment(self) -> str:
        return f"overlap {self.overlap}: killed {'after' if self.after else 'before'}"

    async def run(self, folder: Path) -> int:
        """The number of steps at which the service was killed. Fails unless every rotation came to its end."""
        backstage = BackstageStandIn()
        async with (
            aclosing(KillingProxy(os.environ["LITELLM_URL"])) as proxy,
            serving(proxy) as litellm_port,
            serving(backstage.app) as backstage_port,
        ):
            await proxy.begin_again(self.user_id)
            proxy.after = self.after
            config = folder / "app-config.yaml"
            config.write_text(
                f"""
                liteLLM:
                  baseUrl: http://127.0.0.1:{litellm_port}
                  masterKey: ${{LITELLM_MASTER_KEY}}
                  adminGroup: admins
                  allowedGroup: litellm-users
                backend: {{baseUrl: 'http://127.0.0.1:{backstage_port}', listen: '127.0.0.1:0'}}
                litellmOrchestrator:
                  database: {{url: 'sqlite:///{folder}/state.sqlite3'}}
                  maintenanceInterval: 0.5
                  rateLimit: {{createsPerMinute: 1000}}
                """
            )
            bearer = {"Authorization": f"Bearer {backstage.user_token(self.user_id)}"}
            ended = await self._killed_at_each_step(proxy, config, bearer)
            for secret in ended:
                assert await proxy.refuses(secret), self.moment
            assert proxy.dark == [], f"{self.moment}: both keys were dead after these"
        return len(ended) - 1

    async def _killed_at_each_step(self, proxy: KillingProxy, config: Path, bearer: dict[str, str]) -> list[str]:
        """The secrets that were replaced: one for each step, and one of a rotation that nobody disturbed.

        The process that finished another's rotation is killed next.
        """
        ended: list[str] = []
        path, named, answer = "", dict[str, str](), None
        for step in range(_MOST_STEPS):
            async with (
                listening("serve", "--config", str(config)) as running,
                httpx.AsyncClient(base_url=running.origin, headers=bearer, timeout=_PATIENCE) as owner,
            ):
                if path:
                    await self._finished(proxy, owner, path, named)
                    if answer is not None:
                        return ended
                proxy.victim, proxy.at, proxy.steps, proxy.was_killed = None, step, 0, False
                proxy.secrets.clear()
                old = (await owner.post(keys_path(self.user_id))).json()
                ended.append(old["keySecret"])
                path = f"{keys_path(self.user_id, old['keyId'])}/regenerate"
                named = {"Idempotency-Key": f"rotate-{step}"}
                proxy.victim = running.process.pid
                try:
                    answer = await owner.post(path, json={"overlap": self.overlap}, headers=named)
                except httpx.TransportError:
                    answer = None
                    await running.process.wait()
                    two_minutes_pass(config.with_name("state.sqlite3"))
                proxy.was_killed = True
        pytest.fail(f"{self.moment}: a rotation never came to its end")

    async def _finished(self, proxy: KillingProxy, owner: httpx.AsyncClient, path: str, named: dict[str, str]) -> None:
        """Sent again, the rotation leaves one key, whose secret the owner has. Then that one is deleted."""
        again = await owner.post(path, json={"overlap": self.overlap}, headers=named)
        assert again.status_code == 201, (self.moment, named, again.text)
        assert await proxy.chat(again.json()["keySecret"]) == 200
        for _ in range(int(_PATIENCE / _POLL)):
            keys = (await owner.get(keys_path(self.user_id))).json()["keys"]
            if len(keys) == 1:
                break
            await asyncio.sleep(_POLL)
        assert [row["token"] for row in keys] == [again.json()["keyId"]], (self.moment, named)
        proxy.victim = None
        assert (await owner.delete(keys_path(self.user_id, keys[0]["token"]))).status_code == 204


async def test_killed_at_every_step(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    """One key works at every moment; sent again, one is left, whose secret the caller has; the old one ends.

    Three people at once, since most of the time LiteLLM's cache has to forget what it saw in the moment of a deletion.
    """
    lanes = [Lane(ALICE, overlap=0, after=False), Lane(BOB, overlap=0, after=True), Lane(ERIN, overlap=1, after=True)]
    async with asyncio.TaskGroup() as group:
        runs = [group.create_task(lane.run(tmp_path_factory.mktemp("lane"))) for lane in lanes]
    for lane, run in zip(lanes, runs, strict=True):
        with capsys.disabled():
            print(f"\n{lane.moment} each of {run.result()} requests to LiteLLM, and then not at all")
        assert run.result() >= 4
