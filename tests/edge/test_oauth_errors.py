"""Under `/oauth/` every error has OAuth's form, the edge's own too, and nowhere else."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

import httpx
import pytest

from edge.errors import oauth_error_body
from standalone.issuer import IssuerStandIn
from tests.conftest import BASE, Clock, MakeService, Service
from tests.support.contract import is_valid
from tests.support.raw_http import send, serving
from tests.support.requests import EXCHANGE, exchange

TOKEN = f"{BASE}/oauth/token"
FORM = "application/x-www-form-urlencoded"
SCHEMA: dict[str, Any] = {"$ref": "#/components/schemas/OAuthError"}
REFUSED: dict[str, tuple[str, str, dict[str, Any], int]] = {
    "no such path": ("POST", f"{BASE}/oauth/nowhere", {}, 404),
    "two slashes": ("POST", f"{TOKEN}//", {}, 404),
    "an encoded letter in the path": ("POST", f"{BASE}/%6Fauth/nowhere", {}, 404),
    "an encoded letter in the path of a form": ("POST", f"{BASE}/%6Fauth/token", {"json": EXCHANGE}, 415),
    "an encoded letter elsewhere": ("GET", TOKEN.replace("api", "ap%69"), {}, 405),
    "a control character in the path": ("POST", f"{BASE}/oauth/%00", {}, 400),
    "no UTF-8 in the path": ("POST", f"{BASE}/oauth/%FF", {}, 400),
    "GET": ("GET", TOKEN, {}, 405),
    "DELETE": ("DELETE", TOKEN, {}, 405),
    "no content": ("POST", TOKEN, {}, 400),
    "JSON": ("POST", TOKEN, {"json": EXCHANGE}, 415),
    "a form with files": ("POST", TOKEN, {"files": {"grant_type": b"x"}}, 415),
    "too large": ("POST", TOKEN, {"data": {"subject_token": "x" * 70_000}}, 413),
    "a name twice": ("POST", TOKEN, {"content": b"scope=a&scope=b", "headers": {"Content-Type": FORM}}, 400),
    "an unknown grant": ("POST", TOKEN, {"data": EXCHANGE | {"grant_type": 'a"\\\u00e9\U0001f600'}}, 400),
    "an unknown rule": ("POST", TOKEN, {"data": EXCHANGE | {"client_id": 'a"\\\u00e9', "subject_token": "x"}}, 400),
}


def is_oauths(response: httpx.Response) -> bool:
    """Whether it has the form, and forbids to be stored."""
    return is_valid(response.json(), SCHEMA) and response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_refused(nobody: httpx.AsyncClient, name: str) -> None:
    """By the edge or by the operation."""
    method, path, options, status = REFUSED[name]
    response = await nobody.request(method, path, **options)
    assert (response.status_code, is_oauths(response)) == (status, True), response.text
    assert ("allow" in response.headers) is (status == 405)


async def test_the_method_that_there_is(nobody: httpx.AsyncClient) -> None:
    """A 405 names it, and a HEAD is one without a body."""
    assert (await nobody.get(TOKEN)).headers["allow"] == "POST"
    head = await nobody.head(TOKEN)
    assert (head.status_code, head.content) == (405, b"")


@pytest.fixture
async def port(service: Service) -> AsyncIterator[int]:
    """The service on a socket."""
    service.client()
    async with serving(service._app) as port:
        yield port


@pytest.mark.parametrize(("path", "is_oauth"), [(TOKEN, True), (f"{BASE}/%6Fauth/token", True), (f"{BASE}/me", False)])
async def test_a_host_that_is_none(port: int, path: str, *, is_oauth: bool) -> None:
    """Backstage's form elsewhere."""
    answer = await send(port, f"POST {path} HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n".encode())
    assert (isinstance(answer.json()["error"], str)) is is_oauth


@pytest.mark.parametrize("path", [f"{BASE}%2Foauth/token", f"{BASE}/oauth%2Ftoken", f"{BASE}/%256Fauth/token"])
async def test_a_path_that_only_looks_like_it(nobody: httpx.AsyncClient, path: str) -> None:
    """A slash that is encoded is part of a segment, as everywhere here; and nothing is decoded twice."""
    response = await nobody.post(path)
    assert (response.status_code, response.json()["error"]["name"]) == (404, "NotFoundError")


async def test_too_many_at_once(make_service: MakeService, issuer: IssuerStandIn, clock: Clock) -> None:
    """A limit is a 429 that says when to come again, with the headers that every limit has."""
    client = make_service().client()
    answers = [await exchange(client, issuer.token(jti=f"run-{number}")) for number in range(61)]
    assert [answer.status_code for answer in answers] == [200] * 60 + [429]
    assert (is_oauths(answers[-1]), answers[-1].headers["retry-after"]) == (True, "1")


@pytest.mark.parametrize(
    ("message", "description"),
    [
        ("plain: it's (1/2) ~ [x] {y}", "plain: it's (1/2) ~ [x] {y}"),
        ('the "name" of \\ …', "the 'name' of ? ..."),
        ("caf\u00e9 \u738b\U0001f600\n\x7f", "cafe? ????"),
    ],
)
def test_a_description_is_plain(message: str, description: str) -> None:
    """RFC 6749, section 5.2, has no others; some clients refuse the whole answer for one."""
    body = oauth_error_body(HTTPStatus.BAD_REQUEST, message)
    assert body == {"error": "invalid_request", "error_description": description}
    assert is_valid(json.loads(json.dumps(body)), SCHEMA)
    assert not is_valid({"error": "x", "error_description": 'a "name"'}, SCHEMA)
