"""`HEAD` is `GET` without the body, for whatever can be read (RFC 9110, section 9.3.2)."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from standalone.backstage import BackstageStandIn
from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BASE, BOB, CAROL, Service, keys_path, user_path
from tests.support.adoption import planned
from tests.support.contract import PATIENCE_SECONDS, operations
from tests.support.metrics import count, metrics_of
from tests.support.raw_http import request, send, serving
from tests.support.requests import CONDITIONAL, NO_CODE, NO_KEY, NO_SESSION, REQUESTS

READS = sorted(name for name, (method, _, _) in operations().items() if method == "GET")
SUPPORTED: dict[str, set[str]] = {}
for _method, _path, _ in operations().values():
    SUPPORTED.setdefault(_path, set()).update({_method} | ({"HEAD"} if _method == "GET" else set()))


@pytest.fixture
async def port(service: Service) -> AsyncIterator[int]:
    """A server; alice has a key and bob has looked at what a cleanup would do."""
    await service.signed_in(ALICE).post(keys_path(ALICE), json={"alias": "laptop"})
    await service.signed_in(BOB).post(f"{BASE}/cleanup")
    await planned(service.signed_in(BOB))
    async with serving(service._app) as port:
        yield port


@pytest.fixture
def token(backstage: BackstageStandIn) -> str:
    """bob's: an admin."""
    return backstage.user_token(BOB)


async def both(port: int, path: str, token: str | None, **headers: str) -> tuple[httpx.Response, httpx.Response]:
    """What `GET` and `HEAD` get; the second has the same status and headers, and no body."""
    headers["X_Request_Id"] = "one"
    get, head = [await send(port, request(method, path, token, None, **headers)) for method in ("GET", "HEAD")]
    assert head.content == b""
    assert head.status_code == get.status_code
    fields = [{name: value for name, value in answer.headers.items() if name != "date"} for answer in (get, head)]
    assert fields[1] == fields[0]
    return get, head


def path_of(operation: str, litellm: LiteLLMStandIn) -> str:
    """The path of a good request, for a key that is there."""
    return REQUESTS[operation][1].replace(NO_KEY, next(iter(litellm.rows.keys)))


async def test_it_says_what_a_get_would_bring(
    port: int, litellm: LiteLLMStandIn, token: str, subtests: pytest.Subtests
) -> None:
    """The same headers, `Content-Length` and `ETag` too, for resources, lists, pages, files and probes."""
    for operation in sorted(set(READS) - {"getMetrics", "getDeviceCode"}):
        with subtests.test(operation):
            get, head = await both(port, path_of(operation, litellm), token)
            assert (get.status_code, head.headers["content-length"]) == (200, str(len(get.content)))


async def test_metrics(port: int) -> None:
    """Each request changes them, but not what kind of answer they are."""
    head = await send(port, request("HEAD", "/metrics", None))
    get = await send(port, request("GET", "/metrics", None))
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    assert 0 < int(head.headers["content-length"]) <= len(get.content)


async def test_a_tag_that_matches_is_a_304(
    port: int, litellm: LiteLLMStandIn, token: str, subtests: pytest.Subtests
) -> None:
    """With the tag of the `HEAD` before it."""
    for operation in CONDITIONAL:
        with subtests.test(operation):
            path = path_of(operation, litellm)
            tag = (await send(port, request("HEAD", path, token))).headers["etag"]
            _, head = await both(port, path, token, If_None_Match=tag)
            assert (head.status_code, head.headers["etag"]) == (304, tag)


async def test_errors(port: int, backstage: BackstageStandIn, subtests: pytest.Subtests) -> None:
    """The length is that of the error body that a `GET` gets."""
    for path, caller, status in (
        (f"{user_path(ALICE)}?x=1", BOB, 400),
        (user_path(ALICE), None, 401),
        (user_path(ALICE), CAROL, 403),
        (keys_path(ALICE, NO_KEY), BOB, 404),
        (f"{BASE}/nothing", BOB, 404),
        (f"{BASE}/keys/report", BOB, 405),
    ):
        with subtests.test(path):
            get, head = await both(port, path, caller and backstage.user_token(caller))
            assert (head.status_code, head.headers["content-length"]) == (status, str(len(get.content)))


async def test_allow_has_it_wherever_there_is_a_get(port: int, token: str, subtests: pytest.Subtests) -> None:
    """And nowhere else."""
    names = {"userId": "user%3Adefault%2Falice", "keyId": NO_KEY, "runId": "1", "adoptionId": "1"}
    names |= {"version": "0" * 16, "asset": "a.js", "userCode": NO_CODE, "sessionId": NO_SESSION}
    for template, supported in SUPPORTED.items():
        with subtests.test(template):
            refused = await send(port, request("PUT", template.format(**names), token))
            assert (refused.status_code, refused.headers["allow"]) == (405, ", ".join(sorted(supported)))


async def test_the_next_request_on_the_connection_is_answered(port: int, token: str) -> None:
    """A body after the head would be taken for the next answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    kept = request("HEAD", f"{BASE}/nothing", token, Connection="keep-alive")
    writer.write(kept + request("HEAD", user_path(ALICE), token))
    received = await asyncio.wait_for(reader.read(), timeout=PATIENCE_SECONDS)
    writer.close()
    first, second, rest = received.split(b"\r\n\r\n")
    assert (first.split(b" ")[1], second.split(b"\r\n")[0], rest) == (b"404", b"HTTP/1.1 200 OK", b"")


async def test_it_is_logged_as_what_it_is_and_counted_as_the_operation(service: Service, log: io.StringIO) -> None:
    """It is no operation of its own."""
    assert (await service.signed_in(ALICE).head(user_path(ALICE))).status_code == 200
    line = json.loads(log.getvalue().splitlines()[-1])
    assert (line["operation"], line["method"], line["status"], line["principal"]) == ("getUser", "HEAD", 200, ALICE)
    assert (await metrics_of(service))[count("getUser", 200)] == 1
