"""The layers between uvicorn and the handlers."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from starlette.exceptions import HTTPException

from domain.identity import GroupRefs
from edge.application import Errors
from edge.binding import BoundOperation
from handlers.health import get_liveness
from settings.model import Cors
from standalone.backstage import BackstageStandIn
from standalone.catalog import ADMINS, TEAM_A
from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BASE, BOB, Clock, MakeService, Service, keys_path, user_path
from tests.support.upstreams import Overriding, answering

ORIGIN = "http://localhost:3000"


def preflight(origin: str) -> dict[str, str]:
    return {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }


@pytest.mark.parametrize(
    ("offered", "coding"),
    [
        (None, None), ("", None), ("br", None), ("identity", None), ("gzip;q=0", None), ("gzip; Q=0.000, br", None),
        ("*;q=0", None), ("gzip;q=0, *", None), ("gzip;q=much", None), ("gzip;q=", None), ("xgzipx", None),
        ("gzip", "gzip"), ("GZIP", "gzip"), ("br, gzip;q=0.1", "gzip"), ("*", "gzip"), ("gzip;q=1, *;q=0", "gzip"),
        ("deflate ;q=0.5,gzip ; q=0.5", "gzip"),
    ],
)  # fmt: skip
async def test_a_file_is_compressed_for_whoever_wants_it(
    nobody: httpx.AsyncClient, offered: str | None, coding: str | None
) -> None:
    """By the weights of `Accept-Encoding`: zero means not acceptable (RFC 9110, section 12.4.2)."""
    path = f"{BASE}/console/{'0' * 16}/main.js"
    del nobody.headers["accept-encoding"]
    answer = await nobody.get(path, headers={} if offered is None else {"Accept-Encoding": offered})
    assert (answer.status_code, answer.headers.get("content-encoding")) == (200, coding)


@pytest.mark.parametrize("header", ["authorization", "idempotency-key", "if-match", "if-none-match", "x-request-id"])
async def test_a_browser_may_send_every_header_of_the_contract(make_service: MakeService, header: str) -> None:
    """A preflight that names one of them is granted, without a setting."""
    service = make_service(cors=Cors(origins=(ORIGIN,)))
    service.client()
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(service._app), base_url="http://orchestrator"
    ) as browser:
        asked = preflight(ORIGIN) | {"Access-Control-Request-Headers": header}
        assert (await browser.options(user_path(ALICE), headers=asked)).status_code == 200


async def test_a_browser_on_an_allowed_origin_may_call(make_service: MakeService) -> None:
    """Preflight, answers and errors alike carry the headers, and the request id can be read."""
    service = make_service(cors=Cors(origins=(ORIGIN,), credentials=True))
    asked = await service.signed_in(ALICE).get(user_path(ALICE), headers={"Origin": ORIGIN})
    refused = await service.client().get(user_path(ALICE), headers={"Origin": ORIGIN})
    assert (asked.status_code, refused.status_code) == (200, 401)
    for response in (asked, refused):
        assert response.headers["access-control-allow-origin"] == ORIGIN
        assert response.headers["access-control-allow-credentials"] == "true"
        assert "X-Request-Id" in response.headers["access-control-expose-headers"]
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(service._app), base_url="http://orchestrator"
    ) as browser:
        allowed = await browser.options(keys_path(ALICE), headers=preflight(ORIGIN))
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, ORIGIN)


@pytest.mark.parametrize(
    "origin", ["http://localhost:3001", "http://localhost:3000.evil.example", "https://localhost:3000", "null"]
)
async def test_a_browser_elsewhere_may_not(make_service: MakeService, origin: str) -> None:
    """No header, no access."""
    service = make_service(cors=Cors(origins=(ORIGIN,)))
    response = await service.signed_in(ALICE).get(user_path(ALICE), headers={"Origin": origin})
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://a.example.com", True),
        ("https://A.Example.com", True),
        ("https://a.b.example.com", True),
        ("https://example.com", False),
        ("https://a.example.com/x", False),
        ("https://axexample.com", False),
    ],
)
async def test_origins_may_be_patterns(make_service: MakeService, origin: str, allowed: bool) -> None:
    """`*` stands for anything but a slash, and a dot for itself."""
    service = make_service(cors=Cors(origins=(ORIGIN, "https://*.example.com")))
    response = await service.client().get(f"{BASE}/openapi.json", headers={"Origin": origin})
    assert ("access-control-allow-origin" in response.headers) is allowed


@pytest.mark.parametrize(
    ("offered", "answered"),
    [
        ("abc-1.2_3", "abc-1.2_3"),
        ("x" * 64, "x" * 64),
        ("x" * 65, "request-1"),
        ("a b", "request-1"),
        ("", "request-1"),
        ("é", "request-1"),
    ],
)
async def test_a_harmless_request_id_is_kept(
    nobody: httpx.AsyncClient, log: io.StringIO, offered: str, answered: str
) -> None:
    """A harmful one is replaced. The log line has the same id."""
    response = await nobody.get(f"{BASE}/openapi.json", headers=[(b"X-Request-Id", offered.encode("latin-1"))])
    assert response.headers["x-request-id"] == answered
    assert json.loads(log.getvalue())["request_id"] == answered


async def test_a_request_is_logged_with_who_and_what(alice: httpx.AsyncClient, log: io.StringIO) -> None:
    """One line; a secret in the path is masked in it."""
    await alice.delete(keys_path(ALICE, "sk-canary"))
    line = json.loads(log.getvalue())
    assert (line["method"], line["status"], line["principal"], line["path"]) == (
        "DELETE",
        400,
        ALICE,
        keys_path(ALICE, "[redacted]"),
    )


async def test_canaries(
    make_service: MakeService, backstage: BackstageStandIn, litellm: LiteLLMStandIn, log: io.StringIO
) -> None:
    """A LiteLLM that echoes our secrets gets none of them into a response or a log."""

    def echo(request: httpx.Request) -> httpx.Response:
        return httpx.Response(
            500, json={"error": {"message": f"sk-canary {request.headers['authorization']} {request.content!r}"}}
        )

    service = make_service(ports={"litellm": answering(echo)})
    token = backstage.user_token(ALICE)
    alice = service.client(token)
    answers = [await alice.get(user_path(ALICE)), await alice.post(keys_path(ALICE)), await alice.get(keys_path(ALICE))]
    seen = log.getvalue() + "".join(answer.text for answer in answers)
    for secret in ("canary", service.settings.litellm.master_key, token, token.split(".")[2]):
        assert secret not in seen


async def test_an_unexpected_error_is_logged_but_not_shown(make_service: MakeService, log: io.StringIO) -> None:
    """The log has the traceback under the request's id, without secrets; the caller has the id."""
    service = make_service(ports={"litellm": answering(RuntimeError("sk-canary"))})
    response = await service.signed_in(ALICE).get(user_path(ALICE))
    assert response.status_code == 500
    failure = next(line for line in map(json.loads, log.getvalue().splitlines()) if line["event"] == "unexpected error")
    assert "RuntimeError" in failure["exception"]
    assert failure["request_id"] == response.headers["x-request-id"]
    assert "canary" not in log.getvalue()


async def test_an_error_of_a_library_is_a_500() -> None:
    """Its message does not reach the caller."""

    async def teapot(*_: Any) -> None:
        raise HTTPException(418, "canary")

    response = await _answer(Errors(teapot))
    assert response.status_code == 500
    assert "canary" not in response.text


async def _answer(app: Any) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://orchestrator") as client:
        return await client.get("/")


async def test_a_crash_after_the_response_started_ends_the_connection() -> None:
    """The server must know that the response is incomplete."""

    async def breaks(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await _answer(Errors(breaks))


def test_an_unsupported_kind_of_parameter_fails_at_start() -> None:
    """A cookie parameter would be ignored silently otherwise."""
    operation = SimpleNamespace(
        function=get_liveness,
        parameters=[{"in": "cookie", "name": "limit", "schema": {"type": "integer"}}],
        request_body={},
    )
    with pytest.raises(NotImplementedError, match="cookie"):
        BoundOperation(operation, {}, body_seconds=30)


@pytest.mark.parametrize(
    ("fault", "status"),
    [(httpx.ConnectError("refused"), 503), (httpx.ReadTimeout("slow"), 504), (httpx.Response(200, html="<p>"), 502)],
)
async def test_a_failing_backstage_never_signs_the_user_out(
    make_service: MakeService, backstage: BackstageStandIn, clock: Clock, fault: Any, status: int
) -> None:
    """502, 503 or 504, never a 401; and a second later the next request works."""
    failing = answering(fault)
    transport = Overriding(httpx.ASGITransport(backstage.app), {"/api/auth/.well-known/jwks.json": failing.handler})  # type: ignore[dict-item]
    alice = make_service(ports={"backstage": transport}).signed_in(ALICE)
    response = await alice.get(user_path(ALICE))
    assert response.status_code == status
    transport.answers.clear()
    clock.advance(1)
    assert (await alice.get(user_path(ALICE))).status_code == 200


async def test_the_next_request_works_after_a_fault(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """A failure of LiteLLM leaves nothing behind."""
    transport = Overriding(
        httpx.ASGITransport(litellm.app), {"/v2/user/info": lambda _: httpx.Response(200, html="<p>")}
    )
    bob: httpx.AsyncClient = make_service(ports={"litellm": transport}).signed_in(BOB)
    assert (await bob.get(user_path(BOB))).status_code == 502
    transport.answers.clear()
    assert (await bob.get(user_path(BOB))).status_code == 200


async def test_two_services_in_one_process_stay_apart(make_service: MakeService, service: Service) -> None:
    """Nothing is global: each has its own allowed group."""
    other = make_service(groups=GroupRefs(allowed=(TEAM_A,), admin=(ADMINS,)))
    assert (await service.signed_in(ALICE).get(user_path(ALICE))).status_code == 200
    assert (await other.signed_in(ALICE).get(user_path(ALICE))).status_code == 403


async def test_mock_sign_in_without_a_name_is_a_member(service: Service) -> None:
    """`mock-user-token`, as in Backstage's test utilities."""
    mock = "user:default/mock"
    assert (await service.client("mock-user-token").get(user_path(mock))).json()["userId"] == mock
