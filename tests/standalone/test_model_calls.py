"""Calls of models with a key, as people make them with the clients of OpenAI and Anthropic."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from standalone.litellm import LiteLLMStandIn
from standalone.litellm_usage import CALL_COST
from tests.conftest import ALICE, Clock

CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
CALLS = (CHAT, RESPONSES, MESSAGES)


class Caller:
    """Alice's program, with a key of hers."""

    def __init__(self, litellm: LiteLLMStandIn, http: httpx.AsyncClient) -> None:
        self.rows, self.http = litellm.rows, http
        self.user = self.rows.add_user({"user_id": ALICE})
        self.key, self.secret = self.rows.add_key({"user_id": ALICE})

    async def call(self, path: str, **more: object) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.secret}"}
        return await self.http.post(f"/litellm{path}", json={"model": "gpt-fake", **more}, headers=headers)

    async def models(self, **headers: str) -> httpx.Response:
        return await self.http.get("/litellm/v1/models", headers=headers)

    async def refusal(self, path: str, **more: object) -> tuple[int, str]:
        """Status and type."""
        refused = await self.call(path, **more)
        assert refused.json()["error"]["code"] == str(refused.status_code)
        return refused.status_code, refused.json()["error"]["type"]


@pytest.fixture
async def caller(litellm: LiteLLMStandIn) -> AsyncIterator[Caller]:
    """With a key without limits."""
    transport = httpx.ASGITransport(litellm.calls_below("/litellm"))
    async with httpx.AsyncClient(base_url="http://trial", transport=transport) as http:
        yield Caller(litellm, http)


def events(response: httpx.Response) -> list[tuple[str | None, Any]]:
    """The server-sent events: each with its name, and its data as JSON or as text."""
    assert response.headers["content-type"].startswith("text/event-stream")
    found = []
    for block in response.text.removesuffix("\n\n").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        data = fields["data"]
        found.append((fields.get("event"), data if data == "[DONE]" else json.loads(data)))
    return found


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (CHAT, lambda body: body["choices"][0]["message"]["content"]),
        (RESPONSES, lambda body: body["output"][0]["content"][0]["text"]),
        (MESSAGES, lambda body: body["content"][0]["text"]),
    ],
    ids=CALLS,
)
async def test_an_answer(caller: Caller, path: str, text: Callable[[Any], str]) -> None:
    """In the form of the API that was called, with the model that was asked for."""
    body = (await caller.call(path)).json()
    assert (text(body), body["model"]) == ("hi", "gpt-fake")


async def test_a_streamed_chat(caller: Caller) -> None:
    """Chunks of one completion: the text, the end, the usage only if it is asked for, and [DONE]."""
    *chunks, done = [data for _, data in events(await caller.call(CHAT, stream=True))]
    assert done == "[DONE]"
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == "hi"
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, "stop"]
    asked = events(await caller.call(CHAT, stream=True, stream_options={"include_usage": True}))
    assert (asked[-2][1]["choices"], asked[-2][1]["usage"]["total_tokens"]) == ([], 30)


async def test_a_streamed_response(caller: Caller) -> None:
    """Numbered events from the response that was created to the one that is completed, which is the whole answer."""
    *named, (_, done) = events(await caller.call(RESPONSES, stream=True))
    assert [name for name, _ in named] == [data["type"] for _, data in named]
    assert [data["sequence_number"] for _, data in named] == list(range(9))
    assert [name for name, _ in named if name and name.endswith(".delta")] == ["response.output_text.delta"]
    assert (named[0][0], named[0][1]["response"]["status"]) == ("response.created", "in_progress")
    assert (named[-1][0], named[-1][1]["response"]["output"][0]["content"][0]["text"]) == ("response.completed", "hi")
    assert done == "[DONE]"


async def test_a_streamed_message(caller: Caller) -> None:
    """Anthropic's six events, each with its name as its type."""
    named = events(await caller.call(MESSAGES, stream=True))
    assert [name for name, _ in named] == [
        *("message_start", "content_block_start", "content_block_delta"),
        *("content_block_stop", "message_delta", "message_stop"),
    ]
    assert [data["type"] for _, data in named] == [name for name, _ in named]
    assert named[2][1]["delta"] == {"type": "text_delta", "text": "hi"}
    assert named[4][1]["usage"] == {"output_tokens": 20}


@pytest.mark.parametrize("path", CALLS)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_is_counted_once(caller: Caller, clock: Clock, path: str, *, stream: bool) -> None:
    """For the key, for its owner and in the usage of the day, by model and by key; and the key was used now."""
    clock.advance(60)
    assert (await caller.call(path, stream=stream)).status_code == 200
    assert (caller.key["spend"], caller.user["spend"]) == (CALL_COST, CALL_COST)
    assert caller.key["last_active"] == caller.rows.stamp()
    day = caller.rows.stamp()[:10]
    [counted] = caller.rows.usage.days(ALICE, day, day)
    assert counted["metrics"]["api_requests"] == 1
    assert counted["breakdown"]["models"].keys() == {"gpt-fake"}
    assert counted["breakdown"]["api_keys"].keys() == {caller.key["token"]}


@pytest.mark.parametrize("path", CALLS)
async def test_who_is_refused(caller: Caller, clock: Clock, path: str) -> None:
    """An unknown, a blocked, an expired, a deleted key, and one or an owner without money left; nothing is counted."""
    caller.key["blocked"] = True
    assert await caller.refusal(path) == (401, "auth_error")
    caller.rows.update_key(caller.key["token"], {"blocked": False, "max_budget": 0})
    assert await caller.refusal(path) == (422, "budget_exceeded")
    caller.rows.update_key(caller.key["token"], {"max_budget": None})
    caller.rows.update_user({"user_id": ALICE, "max_budget": 0})
    assert await caller.refusal(path) == (422, "budget_exceeded")
    caller.rows.update_user({"user_id": ALICE, "max_budget": None})
    caller.rows.update_key(caller.key["token"], {"duration": "60s"})
    clock.advance(60)
    assert await caller.refusal(path) == (401, "expired_key")
    caller.rows.delete_key(caller.key["token"])
    assert await caller.refusal(path) == (401, "token_not_found_in_db")
    assert caller.rows.usage.calls == []


@pytest.mark.parametrize("path", CALLS)
async def test_which_models_are_refused(caller: Caller, path: str) -> None:
    """One that the key or its owner may not call is 403, one that is not served 400."""
    caller.rows.update_key(caller.key["token"], {"models": ["claude-fake"]})
    assert await caller.refusal(path) == (403, "key_model_access_denied")
    caller.rows.update_key(caller.key["token"], {"models": []})
    caller.rows.update_user({"user_id": ALICE, "models": ["claude-fake"]})
    assert await caller.refusal(path) == (403, "user_model_access_denied")
    caller.user["models"] = []
    assert (await caller.call(path, model="gone")).status_code == 400


@pytest.mark.parametrize("limits", [{"rpm_limit": 2}, {"tpm_limit": 60}], ids=str)
@pytest.mark.parametrize("holder", ["key", "owner"])
async def test_rates(caller: Caller, clock: Clock, limits: dict[str, int], holder: str) -> None:
    """Calls and tokens of a minute, of the key or of all keys of its owner; each minute counts from 0."""
    (caller.key if holder == "key" else caller.user).update(limits)
    statuses = [(await caller.call(path)).status_code for path in CALLS]
    clock.advance(60)
    assert [*statuses, (await caller.call(CHAT)).status_code] == [200, 200, 429, 200]


async def test_the_models_of_a_key(caller: Caller) -> None:
    """Those that it may call, whichever header the client sends it in; without a key none."""
    caller.rows.update_key(caller.key["token"], {"models": ["claude-fake"]})
    for headers in ({"Authorization": f"Bearer {caller.secret}"}, {"x-api-key": caller.secret}):
        body = (await caller.models(**headers)).json()
        assert ([row["id"] for row in body["data"]], body["object"]) == (["claude-fake"], "list")
    assert (await caller.models()).status_code == 401


@pytest.mark.parametrize("path", CALLS)
@pytest.mark.parametrize("content", [b"{", b"[]"])
async def test_a_body_that_is_no_object(caller: Caller, path: str, content: bytes) -> None:
    """400, and nothing is counted."""
    headers = {"Authorization": f"Bearer {caller.secret}"}
    answer = await caller.http.post(f"/litellm{path}", content=content, headers=headers)
    assert (answer.status_code, caller.rows.usage.calls) == (400, [])
