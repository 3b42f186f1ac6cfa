"""Bad input gets a clear 4xx in the error body and never reaches LiteLLM; the next request works."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from standalone.backstage import BackstageStandIn
from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BASE, BOB, ERIN, Service, keys_path, user_path
from tests.support.raw_http import as_json, request, send, serving

USERS = f"{BASE}/users"
DAVE = {"userId": "user:default/dave"}
KEY_ID = "0" * 64


AT_THE_START = {"GET /health/readiness/details", "GET /user/list"}
"""What a service asks LiteLLM by itself: its version, and its users for the directory."""


@pytest.fixture
async def port(service: Service, litellm: LiteLLMStandIn) -> AsyncIterator[int]:
    service.client()
    async with serving(service._app) as port:
        async with asyncio.timeout(60):
            while not set(litellm.requests) >= AT_THE_START:  # noqa: ASYNC110  # the stand-in has no event for it
                await asyncio.sleep(0)
        litellm.requests.clear()
        yield port


@pytest.fixture
def token(backstage: BackstageStandIn) -> str:
    """bob's: an admin, so that nothing is refused for lack of authority."""
    return backstage.user_token(BOB)


Case = Callable[[str], AbstractAsyncContextManager[None]]


@pytest.fixture
def case(port: int, backstage: BackstageStandIn, litellm: LiteLLMStandIn, subtests: pytest.Subtests) -> Case:
    """One of a test's cases. After each LiteLLM was asked for nothing, and a good request still works."""

    @asynccontextmanager
    async def named(name: str) -> AsyncIterator[None]:
        with subtests.test(name):
            litellm.requests.clear()
            yield
            assert litellm.requests == []
            # Not alice: what the cases name has to stay what nobody has asked LiteLLM about.
            response = await send(port, request("GET", user_path(ERIN), backstage.user_token(ERIN)))
            assert response.status_code == 200

    return named


BODIES: dict[str, tuple[bytes, int, str]] = {
    "not JSON": (b"{", 400, "The body is not JSON"),
    "an array": (b"[]", 400, "The body must be an object"),
    "null": (b"null", 400, "The body must be an object"),
    "a string": (b'"user:default/dave"', 400, "The body must be an object"),
    "no field": (b"{}", 400, "required: userId"),
    "an unknown field": (as_json(DAVE | {"user_role": "proxy_admin"}), 400, "accepts: userId"),
    "a number": (as_json({"userId": 5}), 400, "userId must be the entity ref of a user, group or component"),
    "a list": (
        as_json({"userId": ["user:default/dave"]}),
        400,
        "userId must be the entity ref of a user, group or component",
    ),
    "NaN": (b'{"userId": NaN}', 400, "NaN or Infinity"),
    "-Infinity": (b"-Infinity", 400, "NaN or Infinity"),
    "5000 digits": (b'{"userId": ' + b"9" * 5000 + b"}", 400, "too many digits"),
    "deep nesting": (b"[" * 100_000, 413, "larger than 65536 bytes"),
    "deep nesting below the cap": (b"[" * 60_000, 400, "nested too deeply"),
    "over the cap": (as_json({"userId": "x" * 70_000}), 413, "larger than 65536 bytes"),
    "invalid UTF-8": (b'{"userId": "\xff"}', 400, "not UTF-8"),
    "UTF-16": ('{"userId": "user:default/dave"}'.encode("utf-16"), 400, "not UTF-8"),
    "a byte-order mark": (b"\xef\xbb\xbf{}", 400, "The body is not JSON"),
    "half a surrogate pair": (b'{"userId": "\\ud800"}', 400, "surrogate"),
    "the same field twice": (b'{"userId": "user:default/dave", "userId": "user:default/bob"}', 400, "duplicate field"),
    "NUL": (as_json({"userId": "user:default/da\0ve"}), 400, "entity ref"),
    "a trailing newline": (as_json({"userId": "user:default/dave\n"}), 400, "entity ref"),
    "CR LF": (as_json({"userId": "user:default/dave\r\nX: y"}), 400, "entity ref"),
    "an empty id": (as_json({"userId": ""}), 400, "entity ref"),
    "an e-mail address": (as_json({"userId": "dave@example.com"}), 400, "entity ref"),
    "an API": (as_json({"userId": "api:default/admins"}), 400, "entity ref"),
    "dots": (as_json({"userId": "user:default/.."}), 400, "entity ref"),
    "a long name": (as_json({"userId": "user:default/" + "x" * 255}), 400, "entity ref"),
    "a key for an id": (as_json({"userId": "sk-canary"}), 400, "entity ref"),
    "an empty body": (b"", 400, "A JSON body is required"),
}


async def test_bodies(port: int, token: str, case: Case) -> None:
    """Each is refused with what was wrong and what would be right, without repeating it."""
    for name, (body, status, says) in BODIES.items():
        async with case(name):
            response = await send(port, request("POST", USERS, token, body))
            assert (response.status_code, says in response.json()["error"]["message"]) == (status, True), response.text
            assert "canary" not in response.text


async def test_chunked_bodies_are_read(port: int, token: str, case: Case) -> None:
    """They are validated like other bodies."""
    for body in (b"1\r\n{\r\n0\r\n\r\n", b"2\r\n{}\r\n0\r\n\r\n"):
        async with case(str(body)):
            bad = request("POST", USERS, token, body, Transfer_Encoding="chunked", Content_Type="application/json")
            assert (await send(port, bad)).status_code == 400


async def test_a_chunked_body_over_the_cap(port: int, token: str, case: Case) -> None:
    """It announces no length, so the service counts the bytes."""
    chunk = b"8000\r\n" + b" " * 0x8000 + b"\r\n"
    body = chunk * 3 + b"0\r\n\r\n"
    async with case("three chunks"):
        response = await send(
            port, request("POST", USERS, token, body, Transfer_Encoding="chunked", Content_Type="application/json")
        )
        assert response.status_code == 413


async def test_content_types(port: int, token: str, case: Case) -> None:
    """Only JSON in UTF-8, and the header must say so."""
    for content_type in (
        "absent",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=latin-1",
        "json",
        ";",
        "*/*",
    ):
        async with case(content_type):
            response = await send(port, request("POST", USERS, token, as_json(DAVE), Content_Type=content_type))
            assert response.status_code == 415


PATHS: dict[str, tuple[str | bytes, int]] = {
    "no ref": (f"{USERS}/alice", 400),
    "no namespace": (f"{USERS}/user%3Aalice", 400),
    "an API": (f"{USERS}/api%3Adefault%2Fadmins", 400),
    "a trailing newline": (f"{user_path(ALICE)}%0A", 400),
    "a trailing newline on a fixed part": (f"{keys_path(ALICE)}%0A", 400),
    "NUL": (f"{user_path(ALICE)}%00", 400),
    "CR LF": (f"{user_path(ALICE)}%0D%0AX-Injected%3A%20y", 400),
    "DEL": (f"{user_path(ALICE)}%7F", 400),
    "invalid UTF-8": (f"{USERS}/%ff%fe", 400),
    "an overlong encoding": (f"{USERS}/%c0%af", 400),
    "raw bytes": (USERS.encode() + b"/\xff", 400),
    "..": (f"{USERS}/..", 400),
    "../": (f"{USERS}/../users/user%3Adefault%2Falice", 400),
    "%2e%2e": (f"{USERS}/%2e%2e/keys", 400),
    "%2e": (f"{USERS}/%2e", 400),
    "an encoded slash too many": (f"{USERS}/user%3Adefault%2Falice%2Fkeys", 400),
    "encoded twice": (f"{USERS}/user%253Adefault%252Falice", 400),
    "a bare percent": (f"{USERS}/100%", 400),
    "10 kB": (f"{USERS}/user%3Adefault%2F{'x' * 10_000}", 400),
    "an empty id": (f"{USERS}//keys", 404),
    "two slashes at the end": (f"{user_path(ALICE)}//", 404),
    "two slashes at the end of a decoded ref": (f"{USERS}/user:default/alice//", 404),
    "an encoded slash at the end": (f"{user_path(ALICE)}%2F", 400),
    "an encoded slash at the end of keys": (f"{keys_path(ALICE)}%2F", 404),
    "an encoded slash as the last part": (f"{keys_path(ALICE)}/%2F", 400),
    "only a slash": ("/", 404),
    "only slashes": ("//", 404),
    "the base path": (BASE, 404),
    "the base path with a slash": (f"{BASE}/", 404),
    "an unknown path": (f"{BASE}/nothing", 404),
    "another base path": ("/users", 404),
    "half a ref": (f"{USERS}/user:default", 400),
    "half a ref and a slash": (f"{USERS}/user:default/", 400),
    "half a ref and two slashes": (f"{USERS}/user:default//", 404),
    "an unencoded slash too many": (f"{USERS}/user:default/alice/alice", 404),
    "an encoded slash behind a decoded one": (f"{USERS}/user:default/alice%2Fkeys", 400),
    "a parameter": (f"{keys_path(ALICE)}?limit=1_0", 400),
    "an empty parameter": (f"{keys_path(ALICE)}?x", 400),
}


async def test_paths(port: int, token: str, case: Case) -> None:
    """400 for an invalid id, 404 for a path that does not exist."""
    for name, (target, status) in PATHS.items():
        async with case(name):
            assert (await send(port, request("GET", target, token))).status_code == status


async def test_key_ids(port: int, token: str, case: Case) -> None:
    """64 lower-case hex digits; a secret in a URL is refused and not repeated."""
    for key_id in ("sk-canary", "%73k-canary", "0" * 63, "0" * 65, "A" * 64, "g" * 64, f"{KEY_ID}%0A", "x%2Fy"):
        async with case(key_id):
            response = await send(port, request("DELETE", f"{keys_path(ALICE)}/{key_id}", token))
            assert response.status_code == 400
            assert "canary" not in response.text


SOME = ("PUT", "PATCH", "OPTIONS", "TRACE")
METHODS = {
    **{(method, f"{BASE}/users"): "GET, HEAD, POST" for method in SOME},
    **{(method, keys_path(ALICE)): "GET, HEAD, POST" for method in SOME},
    **{(method, f"{keys_path(ALICE, KEY_ID)}/regenerate"): "POST" for method in SOME},
    **{(method, f"{BASE}/keys/report"): "POST" for method in SOME},
    **{(method, f"{BASE}/{path}"): "GET, HEAD" for method in SOME for path in ("audit", "audit/", "openapi.yaml")},
    **{(method, f"{BASE}/docs/swagger-ui.css"): "GET, HEAD" for method in SOME},
    **{(method, "/.backstage/health/v1/liveness"): "GET, HEAD" for method in SOME},
    **{
        (method, path): "DELETE, GET, HEAD, PATCH"
        for method in ("PUT", "POST", "OPTIONS", "TRACE")
        for path in (user_path(ALICE), keys_path(ALICE, KEY_ID))
    },
}


async def test_methods(port: int, token: str, case: Case) -> None:
    """An unsupported method is a 405 that lists the supported ones, HEAD with everything that can be read."""
    for (method, path), allowed in METHODS.items():
        async with case(f"{method} {path}"):
            response = await send(port, request(method, path, token))
            assert (response.status_code, response.headers["allow"]) == (405, allowed)


async def test_a_repeated_header_is_refused(port: int, token: str, case: Case) -> None:
    """The service does not guess which one was meant."""
    path = f"{keys_path(BOB, KEY_ID)}/regenerate"
    for header in ("Idempotency-Key", "If-Match"):
        async with case(header):
            fields = f"{header}: a\r\n{header}: b\r\nHost:".encode()
            response = await send(port, request("POST", path, token, b"{}").replace(b"Host:", fields))
            assert (response.status_code, response.json()["error"]["message"]) == (
                400,
                f"The header {header} appears more than once",
            )


CHANGES = {
    "PATCH a user": ("PATCH", user_path(ALICE)),
    "PATCH a key": ("PATCH", keys_path(ALICE, KEY_ID)),
    "POST a key": ("POST", keys_path(BOB)),
    "rotate a key": ("POST", f"{keys_path(BOB, KEY_ID)}/regenerate"),
    "report a key": ("POST", f"{BASE}/keys/report"),
}


async def test_bodies_of_changes(port: int, token: str, case: Case) -> None:
    """A body that violates the contract is refused and not repeated."""
    for change, (method, path) in CHANGES.items():
        for body in (b"[]", b"null", b'"x"', b"5", b'{"a": NaN}', b'{"models": {}}', b'{"key": ["sk-canary"]}'):
            async with case(f"{change}: {body.decode()}"):
                response = await send(port, request(method, path, token, body))
                assert (response.status_code, "canary" in response.text) == (400, False)


async def test_a_body_is_ignored_by_operations_without_one(
    port: int, token: str, litellm: LiteLLMStandIn, case: Case
) -> None:
    """GET and DELETE read neither the body nor its type."""
    async with case("XML"):
        response = await send(port, request("GET", user_path(BOB), token, b"<x/>", Content_Type="text/xml"))
        assert response.status_code == 200
        litellm.requests.clear()


async def test_an_optional_body_may_be_absent(port: int, token: str, case: Case) -> None:
    """Creating a key takes no body, `{}`, and nothing else."""
    utf8 = {"Content_Type": "application/json; charset=UTF-8"}
    for sent in (request("POST", keys_path(BOB), token), request("POST", keys_path(BOB), token, b"{}", **utf8)):
        assert (await send(port, sent)).status_code == 201
    for body in (b'{"key": "sk-mine"}', b'{"team_id": "t"}', b'{"allowed_routes": ["/"]}', b"null", b"[]"):
        async with case(body.decode()):
            assert (await send(port, request("POST", keys_path(BOB), token, body))).status_code == 400


async def test_credentials(port: int, token: str, case: Case) -> None:
    """Missing or foreign credentials are a 401 with a challenge."""
    for sent in (
        "absent",
        "",
        "Bearer",
        "Bearer ",
        "Basic dXNlcjpwYXNz",
        "Token x",
        "Bearer \u00e9\u00e8",
        'Bearer mock-user-token:{"sub":"user:default/nobody"}',
        "Bearer mock-user-token:{",
        'Bearer mock-user-token:{"sub":5}',
    ):
        async with case(sent):
            response = await send(port, request("GET", user_path(ALICE), token, None, Authorization=sent))
            assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")


async def test_two_credentials(port: int, token: str, case: Case) -> None:
    """The service does not guess which one was meant."""
    twice = request("GET", user_path(ALICE), token).replace(
        b"Host:", f"Authorization: Bearer {token}\r\nHost:".encode()
    )
    async with case("twice the same"):
        assert (await send(port, twice)).status_code == 401


async def test_a_caller_who_disconnects_in_the_middle_of_a_body(
    port: int, token: str, litellm: LiteLLMStandIn, case: Case
) -> None:
    """Half a body, then nothing: there is no response and no change."""
    async with case("half a body"):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request("POST", USERS, token, as_json(DAVE), Content_Length="500"))
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        assert litellm.rows.users == {}
