"""The client itself: tokens, retries, pages and errors. Everything else is generated."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import httpx
import pytest
from litellm_orchestrator_client import Client, OrchestratorError, TokenError, async_pages, exchange, pages, result
from litellm_orchestrator_client.api.cleanup import run_cleanup
from litellm_orchestrator_client.api.keys import create_user_key
from litellm_orchestrator_client.api.users import get_users
from litellm_orchestrator_client.api.workloads import issue_token
from litellm_orchestrator_client.models import UserKey, UserList

ALICE = "user:default/alice"
KEY = {"userId": ALICE, "keyId": "0" * 64, "keySecret": "sk-once"}
Answer = Callable[[httpx.Request], httpx.Response]


def error(status: int, name: str = "SomeError", headers: dict[str, str] | None = None) -> httpx.Response:
    body = {
        "error": {"name": name, "message": "no"},
        "request": {"method": "GET", "url": "/"},
        "response": {"statusCode": status},
    }
    return httpx.Response(status, json=body, headers=headers)


class Service:
    """Answers in turn, and the last one for ever. An exception is a connection that fails."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers, self.requests = list(answers), list[httpx.Request]()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(
            httpx.Request(request.method, request.url, headers=request.headers, content=request.content)
        )
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def sent(self, header: str) -> list[str | None]:
        return [request.headers.get(header) for request in self.requests]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What was waited for, instead of waiting."""
    waited: list[float] = []

    async def wait(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr("time.sleep", waited.append)
    monkeypatch.setattr("litellm_orchestrator_client.client.asyncio.sleep", wait)
    return waited


def client_of(service: Answer, token: Callable[[], str] = lambda: "t") -> Client:
    return Client("http://service/api/litellm-orchestrator", token, transport=httpx.MockTransport(service))


def test_a_create_is_repeated_with_the_same_idempotency_key() -> None:
    """After an outage, a conflict that ends by itself and a rate limit, the fourth attempt succeeds."""
    service = Service(
        httpx.ConnectError("refused"),
        error(503),
        error(409, headers={"Retry-After": "0"}),
        httpx.Response(201, json=KEY),
    )
    made = result(create_user_key.sync(ALICE, client=client_of(service), idempotency_key="laptop-1"))
    assert made == UserKey(user_id=ALICE, key_id="0" * 64, key_secret="sk-once")
    assert service.sent("Idempotency-Key") == ["laptop-1"] * 4
    assert service.requests[0].url.raw_path.endswith(b"/users/user%3Adefault%2Falice/keys")


def test_what_might_act_twice_is_sent_once() -> None:
    """A create without an Idempotency-Key, and a cleanup: after a 503 nobody knows what happened."""
    for call in (
        lambda client: create_user_key.sync(ALICE, client=client),
        lambda client: run_cleanup.sync(client=client),
    ):
        service = Service(error(503))
        with pytest.raises(OrchestratorError) as raised:
            result(call(client_of(service)))
        assert (raised.value.status, len(service.requests)) == (503, 1)


def test_a_conflict_that_stays_is_not_repeated() -> None:
    """A taken alias has no Retry-After."""
    service = Service(error(409, "ConflictError"))
    with pytest.raises(OrchestratorError) as raised:
        result(create_user_key.sync(ALICE, client=client_of(service), idempotency_key="laptop-1"))
    assert (raised.value.name, raised.value.message, len(service.requests)) == ("ConflictError", "no", 1)


def test_pauses_follow_retry_after_or_grow(no_pauses: list[float]) -> None:
    """A service that wants more than a minute gets no more requests."""
    limited = httpx.Response(429, json={}, headers={"Retry-After": "7"})
    client_of(Service(limited, httpx.Response(200))).get_httpx_client().post("/cleanup")
    assert no_pauses == [7]
    client_of(Service(httpx.Response(500))).get_httpx_client().get("/me")
    assert [0.5 <= no_pauses[1] <= 1, 1 <= no_pauses[2] <= 2, 2 <= no_pauses[3] <= 4] == [True] * 3
    assert len(no_pauses) == 4
    client_of(Service(httpx.Response(503, headers={"Retry-After": "61"}))).get_httpx_client().get("/me")
    assert len(no_pauses) == 4


def test_a_connection_that_stays_broken_is_an_error() -> None:
    """After all attempts; the error is httpx's own."""
    service = Service(httpx.ConnectError("refused"))
    with pytest.raises(httpx.ConnectError):
        get_users.sync(client=client_of(service))
    assert len(service.requests) == 4


def test_a_token_is_asked_for_before_each_request_and_once_more_after_a_401() -> None:
    """So a token that expired meanwhile is replaced; a caller who is not welcome is refused after two requests."""
    tokens = count(1)
    service = Service(error(401), httpx.Response(200, json={"users": [], "nextCursor": None, "sweptAt": None}))
    result(get_users.sync(client=client_of(service, lambda: f"t{next(tokens)}")))
    assert service.sent("Authorization") == ["Bearer t1", "Bearer t2"]
    service = Service(error(401))
    with pytest.raises(OrchestratorError):
        result(get_users.sync(client=client_of(service)))
    assert len(service.requests) == 2


def test_an_exchange_is_a_form_and_needs_no_backstage_token() -> None:
    """It is repeated after an outage: the same token gets the same key again."""
    issued = {"access_token": "sk-short", "issued_token_type": "t", "token_type": "Bearer", "expires_in": 900}
    service = Service(
        httpx.Response(503, json={"error": "temporarily_unavailable", "error_description": "busy"}),
        httpx.Response(200, json=issued),
    )
    client = Client("http://service/api/litellm-orchestrator", transport=httpx.MockTransport(service))
    assert result(issue_token.sync(client=client, body=exchange("shop-main", "a.b.c"))).access_token == "sk-short"
    assert service.sent("Authorization") == [None, None]
    assert service.sent("Content-Type") == ["application/x-www-form-urlencoded"] * 2
    assert httpx.QueryParams(service.requests[1].content.decode()) == httpx.QueryParams(
        grant_type="urn:ietf:params:oauth:grant-type:token-exchange",
        client_id="shop-main",
        subject_token="a.b.c",
        subject_token_type="urn:ietf:params:oauth:token-type:jwt",
    )


def test_a_refused_exchange_has_the_form_of_oauth() -> None:
    """With the code and the sentence of the service."""
    refused = httpx.Response(400, json={"error": "invalid_grant", "error_description": "The token is not accepted"})
    with pytest.raises(TokenError, match=r"^invalid_grant: The token is not accepted$") as raised:
        result(issue_token.sync(client=client_of(Service(refused)), body=exchange("shop-main", "a.b.c")))
    assert (raised.value.error, raised.value.description) == ("invalid_grant", "The token is not accepted")


def page(cursor: str | None) -> httpx.Response:
    return httpx.Response(200, json={"users": [], "nextCursor": cursor, "sweptAt": None})


def test_pages_follow_the_cursor_to_the_end() -> None:
    """Each page is asked for when it is needed."""
    service = Service(page("a"), page("b"), page(None))
    client = client_of(service)
    found = pages(lambda cursor: get_users.sync(client=client, cursor=cursor))
    assert next(found) == UserList(users=[], next_cursor="a", swept_at=None)
    assert len(service.requests) == 1
    assert [each.next_cursor for each in found] == ["b", None]
    assert [request.url.params.get("cursor") for request in service.requests] == [None, "a", "b"]


async def test_the_same_in_an_event_loop(no_pauses: list[float]) -> None:
    """Pages, retries and errors."""
    service = Service(page("a"), error(500), page(None))
    client = client_of(service)
    found = async_pages(lambda cursor: get_users.asyncio(client=client, cursor=cursor))
    assert [each.next_cursor async for each in found] == ["a", None]
    assert len(no_pauses) == 1
    with pytest.raises(httpx.ReadError):
        await get_users.asyncio(client=client_of(Service(httpx.ReadError("reset"))))
    with pytest.raises(OrchestratorError):
        result(await get_users.asyncio(client=client_of(Service(error(403)))))
