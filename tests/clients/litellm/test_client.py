"""LiteLLM is not to be trusted in detail: what its client asks for, and what it makes of the answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from clients.litellm.client import LiteLLM
from clients.upstream import Upstream
from domain.errors import UpstreamError, UpstreamFaultError, UpstreamTimeoutError, UpstreamUnavailableError
from domain.keys import KeyAnnotations, NewKey
from domain.users import NewUser
from settings.model import Timeouts
from standalone.litellm import MASTER_KEY, LiteLLMStandIn
from tests.conftest import ALICE, BOB, no_sleep
from tests.support.upstreams import Hanging, Overriding, answering

KEY_ID = "ab" * 32
KEY: dict[str, Any] = {"token": KEY_ID, "user_id": ALICE, "models": [], "spend": 0.0, "metadata": {}}
USER: dict[str, Any] = {
    "user_id": ALICE,
    "created_at": "2026-01-01T00:00:00Z",
    "max_budget": None,
    "budget_duration": None,
    "spend": 0,
}
MINTED: dict[str, Any] = {"user_id": ALICE, "token": KEY_ID, "key": "sk-canary"}


def client(transport: httpx.AsyncBaseTransport, **timeouts: float) -> LiteLLM:
    upstream = Upstream(
        "LiteLLM",
        "http://litellm",
        token=MASTER_KEY,
        timeouts=Timeouts(**timeouts),
        transport=transport,
        sleep=no_sleep,
    )
    return LiteLLM(upstream)


def created_at(number: int) -> str:
    return f"{2000 + number}-01-01T00:00:00Z"


class Pages(httpx.AsyncBaseTransport):
    """`/key/list` with a key on each page. `total` is how many pages the page `number` says there are."""

    def __init__(self, total: Callable[[int], int], failing: int | None = None) -> None:
        self.total, self.failing = total, failing
        self.asked: list[int] = []
        self.at_once, self.most = 0, 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        number = int(request.url.params["page"])
        self.asked.append(number)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        for _ in range(3):
            await asyncio.sleep(0)
        self.at_once -= 1
        row = KEY | {"token": f"{number:064x}", "created_at": created_at(number)}
        body = {"keys": [row], "total_pages": self.total(number)}
        return httpx.Response(422 if number == self.failing else 200, json=body)


async def test_the_pages_after_the_first_are_fetched_at_once() -> None:
    """At most four at a time; every key once, newest first."""
    pages = Pages(lambda _: 12)
    keys = await client(pages).list_keys(ALICE)
    assert [key.created_at for key in keys] == [created_at(number) for number in range(12, 0, -1)]
    assert (pages.asked[0], sorted(pages.asked), pages.most) == (1, list(range(1, 13)), 4)


async def test_pages_that_come_meanwhile_are_fetched_too() -> None:
    """The first page says three, the third says five, because keys were created."""
    pages = Pages(lambda number: 3 if number < 3 else 5)
    assert len(await client(pages).list_keys(ALICE)) == 5
    assert sorted(pages.asked) == [1, 2, 3, 4, 5]


async def test_a_page_that_fails_fails_the_list() -> None:
    """As LiteLLM's fault, and the calls that are still under way end."""
    pages = Pages(lambda _: 500, failing=3)
    with pytest.raises(UpstreamFaultError):
        await client(pages).list_keys(ALICE)
    asked = len(pages.asked)
    await asyncio.sleep(0)
    assert (len(pages.asked), asked < 20) == (asked, True)


CALLS: dict[str, Callable[[LiteLLM], Awaitable[Any]]] = {
    "read_user": lambda litellm: litellm.read_user(ALICE),
    "create_user": lambda litellm: litellm.create_user(ALICE, NewUser(max_budget=1, budget_duration="30d")),
    "create_key": lambda litellm: litellm.create_key(ALICE, NewKey(KeyAnnotations(operation="op"))),
    "list_keys": lambda litellm: litellm.list_keys(ALICE),
    "owner_of_key": lambda litellm: litellm.owner_of_key(KEY_ID),
    "delete_key": lambda litellm: litellm.delete_key(KEY_ID),
}
NO_ROUTE = {"detail": "Not Found"}
ABOUT_SOMETHING: dict[str, Callable[[LiteLLM], Awaitable[Any]]] = {
    "user_exists": lambda litellm: litellm.user_exists(ALICE),
    "delete_user": lambda litellm: litellm.delete_user(ALICE),
    "owner_of_key": lambda litellm: litellm.owner_of_key(KEY_ID),
    "has_key": lambda litellm: litellm.has_key(KEY_ID),
    "delete_key": lambda litellm: litellm.delete_key(KEY_ID),
    "block_key": lambda litellm: litellm.set_key_blocked(KEY_ID, blocked=True),
}
READS = {"read_user", "list_keys", "owner_of_key"}


async def test_lists_are_read_to_the_end_and_sorted(litellm: LiteLLMStandIn) -> None:
    """Every page, newest first."""
    for _ in range(250):
        litellm.rows.add_key({"user_id": ALICE})
    litellm.rows.add_key({"user_id": BOB})
    keys = await client(httpx.ASGITransport(litellm.app)).list_keys(ALICE)
    assert len({key.id for key in keys}) == len(keys) == 250
    assert litellm.requests == ["GET /key/list"] * 3
    assert [key.id for key in keys] == sorted((key.id for key in keys), reverse=True)


async def test_lists_are_deduplicated_and_filtered_exactly() -> None:
    """LiteLLM may repeat a key on two pages, and answer others' keys; neither is passed on, nor are unknown fields."""
    other = KEY | {"token": "cd" * 32, "user_id": ALICE + "x"}
    nobodys = KEY | {"token": "ef" * 32, "user_id": None}
    shown = KEY | {"created_at": created_at(1)}
    page = {"keys": [shown | {"api_key": "sk-canary"}, other, nobodys], "total_pages": 2}
    keys = await client(answering(httpx.Response(200, json=page))).list_keys(ALICE)
    assert [key.fields for key in keys] == [shown]


async def test_an_endless_list_is_a_fault() -> None:
    """A total that keeps ahead of the page does not keep us for ever."""
    with pytest.raises(UpstreamFaultError):
        await client(answering(httpx.Response(200, json={"keys": [KEY], "total_pages": 10**9}))).list_keys(ALICE)


async def test_an_empty_page_ends_the_list() -> None:
    """Whatever the total says."""
    assert await client(answering(httpx.Response(200, json={"keys": [], "total_pages": 9}))).list_keys(ALICE) == []


async def test_what_is_sent_when_creating() -> None:
    """No key is created with a user, absent limits are not sent, and a key can only call models."""
    sent: list[tuple[str, Any, str]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append((request.url.path, json.loads(request.content), request.headers["authorization"]))
        return httpx.Response(200, json=MINTED)

    litellm = client(answering(answer))
    await litellm.create_user(ALICE, NewUser(max_budget=0, budget_duration="30d"))
    await litellm.create_user(ALICE, NewUser())
    key = await litellm.create_key(ALICE, NewKey(KeyAnnotations(operation="op")))
    user = {"user_id": ALICE, "user_role": "internal_user", "auto_create_key": False}
    authorization = f"Bearer {MASTER_KEY}"
    note: dict[str, Any] = {"litellm_orchestrator": {"alias": None, "metadata": {}, "operation": "op"}}
    assert sent == [
        ("/user/new", user | {"max_budget": 0, "budget_duration": "30d"}, authorization),
        ("/user/new", user, authorization),
        ("/key/generate", {"user_id": ALICE, "key_type": "llm_api", "metadata": note}, authorization),
    ]
    assert "canary" not in repr(key)


async def test_a_deleted_key_has_no_owner() -> None:
    """LiteLLM goes on describing it for a while."""
    info = {"key": KEY_ID, "info": {"user_id": ALICE, "status": "deleted"}}
    assert await client(answering(httpx.Response(200, json=info))).owner_of_key(KEY_ID) is None


NOT_OBJECTS: list[Any] = ["text", [], None, 5]
UNEXPECTED_ANSWERS: list[tuple[str, Any]] = [
    *((call, body) for call in CALLS for body in NOT_OBJECTS),
    ("read_user", {}),
    ("read_user", USER | {"user_id": BOB}),
    ("create_key", MINTED | {"token": "sk-canary"}),
    ("create_key", MINTED | {"key": ""}),
    ("create_key", MINTED | {"user_id": BOB}),
    ("list_keys", {"keys": {}, "total_pages": 1}),
    ("list_keys", {"keys": [], "total_pages": None}),
    ("list_keys", {"keys": ["hash"], "total_pages": 1}),
    *(
        ("list_keys", {"keys": [KEY | {name: value}], "total_pages": 1})
        for name, value in [
            ("token", "x"),
            ("models", {}),
            ("spend", "1"),
            ("blocked", 1),
            ("tpm_limit", True),
            ("max_budget", "1"),
        ]
    ),
    ("list_keys", {"keys": [{"user_id": ALICE, "token": KEY_ID}], "total_pages": 1}),
    ("owner_of_key", {"key": KEY_ID}),
    ("delete_key", {"deleted_keys": []}),
]


@pytest.mark.parametrize(("call", "body"), UNEXPECTED_ANSWERS, ids=lambda value: json.dumps(value)[:60])
async def test_answers_that_make_no_sense_are_a_fault(call: str, body: Any) -> None:
    """LiteLLM lying is never passed on, and its words are never repeated."""
    with pytest.raises(UpstreamFaultError) as raised:
        await CALLS[call](client(answering(httpx.Response(200, json=body))))
    assert "canary" not in raised.value.message


@pytest.mark.parametrize("call", CALLS)
async def test_numbers_that_are_not_json_are_a_fault(call: str) -> None:
    """Python's parser accepts NaN; other parsers do not."""
    user = json.dumps(USER).replace('"spend": 0', '"spend": NaN')
    body: dict[str, str] = {
        "read_user": user,
        "list_keys": json.dumps({"keys": [KEY], "total_pages": 1}).replace("0.0", "Infinity"),
    }
    with pytest.raises(UpstreamFaultError):
        await CALLS[call](client(answering(httpx.Response(200, text=body.get(call, "[" * 100_000)))))


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(200, html="<h1>sk-canary</h1>"), UpstreamFaultError),
        (httpx.Response(500, json={"error": {"message": "sk-canary at db:5432"}}), UpstreamFaultError),
        (httpx.Response(401, json={}), UpstreamFaultError),
        (httpx.Response(403, json={}), UpstreamFaultError),
        (httpx.Response(422, json={"detail": []}), UpstreamFaultError),
        (httpx.Response(302, headers={"Location": "http://elsewhere"}), UpstreamFaultError),
        (httpx.Response(503), UpstreamFaultError),
        (httpx.ConnectError("sk-canary"), UpstreamUnavailableError),
        (httpx.ReadError("sk-canary"), UpstreamUnavailableError),
        (httpx.ReadTimeout("sk-canary"), UpstreamTimeoutError),
        (httpx.PoolTimeout("sk-canary"), UpstreamTimeoutError),
        (httpx.RemoteProtocolError("sk-canary"), UpstreamFaultError),
        (httpx.DecodingError("sk-canary"), UpstreamFaultError),
        (ValueError("sk-canary"), UpstreamFaultError),
    ],
    ids=repr,
)
async def test_faults(call: str, answer: httpx.Response | Exception, error: type[UpstreamError]) -> None:
    """Each kind of failure has its own error, in our words."""
    with pytest.raises(error) as raised:
        await CALLS[call](client(answering(answer)))
    assert "canary" not in raised.value.message
    assert "5432" not in raised.value.message


@pytest.mark.parametrize("call", CALLS)
async def test_only_reads_are_tried_again(call: str) -> None:
    """A change may have happened even where no answer came."""
    tries: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        tries.append(request.url.path)
        return httpx.Response(503)

    with pytest.raises(UpstreamFaultError):
        await CALLS[call](client(answering(answer)))
    assert len(tries) == (3 if call in READS else 1)


async def test_a_passing_fault_is_not_noticed(litellm: LiteLLMStandIn) -> None:
    """The second try answers."""
    litellm.rows.add_user({"user_id": ALICE})
    flaky = Overriding(httpx.ASGITransport(litellm.app), {})

    def fail_once(request: httpx.Request) -> httpx.Response:
        flaky.answers.clear()
        raise httpx.ConnectError("refused", request=request)

    flaky.answers["/v2/user/info"] = fail_once
    user = await client(flaky).read_user(ALICE)
    assert user is not None
    assert user.user_id == ALICE


@pytest.mark.parametrize("call", CALLS)
async def test_the_deadline_ends_every_call(call: str) -> None:
    """Also one that never gets an answer."""
    with pytest.raises(UpstreamTimeoutError):
        await CALLS[call](client(Hanging(), deadline=0.001))


@pytest.mark.parametrize("answer", [httpx.Response(404, text="default backend"), httpx.Response(404, json=NO_ROUTE)])
@pytest.mark.parametrize("call", ABOUT_SOMETHING)
async def test_a_404_that_is_not_litellms_word(call: str, answer: httpx.Response) -> None:
    """An ingress without a rule, or a LiteLLM without the route, does not say that something is gone."""
    with pytest.raises(UpstreamFaultError, match="failed with status 404"):
        await ABOUT_SOMETHING[call](client(answering(answer)))


@pytest.mark.parametrize("status", [200, 503])
async def test_readiness_wants_a_database(status: int) -> None:
    """A LiteLLM that has lost its database says healthy all the same."""
    assert not await client(answering(httpx.Response(status, json={"db": "disconnected"}))).is_ready()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (httpx.Response(200, text="<h1>Sign in</h1>"), "not JSON"),
        (httpx.Response(302, headers={"Location": "https://sso"}), r"redirects \(status 302\)"),
        (httpx.Response(403, text="<h1>A firewall</h1>"), "stands before LiteLLM refused the call with status 403"),
        (httpx.Response(429), r"takes no more calls for now \(status 429\)"),
        (httpx.Response(503, text="no healthy upstream"), "failed with status 503"),
    ],
)
async def test_it_is_not_litellm_that_answers(answer: httpx.Response, says: str) -> None:
    """What stands before LiteLLM says neither that it lacks its database nor that the master key is wrong."""
    for call in (client(answering(answer)).is_ready, client(answering(answer)).version):
        with pytest.raises(UpstreamError, match=says):
            await call()


@pytest.mark.parametrize("user_id", ["user:default/a+b", "user:default/a b", "user:default/a&b=c", "user:default/ü"])
async def test_ids_survive_the_query(litellm: LiteLLMStandIn, user_id: str) -> None:
    """Plus, space and the rest arrive as they are."""
    litellm.rows.add_user({"user_id": user_id})
    user = await client(httpx.ASGITransport(litellm.app)).read_user(user_id)
    assert user is not None
    assert user.user_id == user_id
