"""The way of somebody who tries it: from `make run` to an answered call that is seen in the numbers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from http import HTTPStatus

import httpx
import pytest

from standalone.litellm import MASTER_KEY
from standalone.litellm_usage import CALL_COST
from standalone.program import application
from tests.conftest import ALICE, BASE, keys_path, user_path
from tests.standalone.pasting import curl_snippet, pasted
from tests.support.processes import Running, listening

MANAGEMENT = (
    *(f"POST /{name}" for name in ("user/new", "user/update", "user/delete", "key/generate", "key/update")),
    *(f"POST /{name}" for name in ("key/delete", "key/block", "key/unblock", "key/x/regenerate", "budget/new")),
    *(f"GET /{name}" for name in ("user/list", "user/info", "v2/user/info", "user/daily/activity", "key/list")),
    *(f"GET /{name}" for name in ("key/info", "models", "model/info", "health/readiness", "health/readiness/details")),
    *("GET /health/liveliness", "GET /", "GET /v1/chat/completions", "POST /v1/models"),
)


def as_alice(running: Running) -> httpx.AsyncClient:
    """Alice, signed in as the console signs her in."""
    token = f'mock-user-token:{{"sub":"{ALICE}"}}'
    return httpx.AsyncClient(base_url=running.origin, headers={"Authorization": f"Bearer {token}"})


async def test_the_snippet_of_a_new_key_answers_and_is_counted() -> None:
    """Pasted into a shell as it is shown; the key, its owner and the usage of today have the call."""
    async with listening("--port", "0", program="standalone") as running, as_alice(running) as alice:
        settings = (await alice.get(f"{BASE}/console/settings")).json()
        assert settings["modelsUrl"] == f"http://localhost:{running.port}/litellm"
        model = (await alice.get(f"{BASE}/models")).json()["models"][0]["id"]
        before = (await alice.get(user_path(ALICE))).json()["spend"]
        created = (await alice.post(keys_path(ALICE), json={"alias": "first"})).json()
        answer = json.loads(await pasted(curl_snippet(created["keySecret"], settings["modelsUrl"], model)))
        assert answer["choices"][0]["message"] == {"role": "assistant", "content": "hi"}
        today = datetime.now(UTC)
        row = (await alice.get(keys_path(ALICE, created["keyId"]))).json()
        assert (row["spend"], row["last_active"][:10]) == (CALL_COST, today.date().isoformat())
        assert (await alice.get(user_path(ALICE))).json()["spend"] == pytest.approx(before + CALL_COST)
        groups = (await alice.get(f"{user_path(ALICE)}/usage?groupBy=key")).json()["groups"]
        [mine] = [group for group in groups if group["group"] == created["id"]]
        assert (mine["alias"], mine["figures"]["requests"], mine["figures"]["spend"]) == ("first", 1, CALL_COST)


@pytest.fixture
async def trial(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    """The application of `make run`, before anything has happened in it."""
    monkeypatch.setenv("LITELLM_ORCHESTRATOR_ORIGIN", "http://localhost:7007")
    transport = httpx.ASGITransport(application())
    async with httpx.AsyncClient(base_url="http://localhost:7007", transport=transport) as http:
        yield http


@pytest.mark.parametrize("line", MANAGEMENT)
async def test_the_trial_serves_no_management_of_litellm(trial: httpx.AsyncClient, line: str) -> None:
    """Not even with the master key: below the address that is shown, only the paths of model calls exist."""
    method, path = line.split()
    answer = await trial.request(method, f"/litellm{path}", headers={"Authorization": f"Bearer {MASTER_KEY}"})
    assert answer.status_code in {404, 405}
    assert answer.json() == {"detail": HTTPStatus(answer.status_code).phrase}


@pytest.mark.parametrize("path", ["chat/completions", "responses", "messages", "models"])
async def test_the_master_key_calls_no_model(trial: httpx.AsyncClient, path: str) -> None:
    """It is refused as an unknown key, so that nobody sees what LiteLLM's own administrator may do."""
    method = "GET" if path == "models" else "POST"
    headers = {"Authorization": f"Bearer {MASTER_KEY}"}
    refused = await trial.request(method, f"/litellm/v1/{path}", json={"model": "gpt-fake"}, headers=headers)
    assert (refused.status_code, refused.json()["error"]["type"]) == (401, "token_not_found_in_db")
    assert MASTER_KEY not in refused.text
