"""Eighty hostile values in every path parameter, query parameter, header and text of a body.

Never another route of LiteLLM, never a second user for one person, never a split line in the log, never a 5xx.
"""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import quote

import pytest

from domain.refs import canonical, is_user
from standalone.backstage import BackstageStandIn
from standalone.issuer import IssuerStandIn
from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BASE, BOB, Clock, MakeService, Service, keys_path
from tests.proof.conftest import Cells
from tests.support.contract import operations, resolved
from tests.support.devices import CLIENT
from tests.support.raw_http import as_json, request, send, serving
from tests.support.requests import API, EXCHANGE, NO_CODE, NO_KEY, NO_SESSION, REQUESTS

PLAIN = [
    "", " ", ".", "..", "/", "//", "\\", "*", "%", "%%", "%2", "%zz", "?", "#", "&", "=", ";", ",", "+", "~", "$", "`",
    "../../key/list", "..%2f..%2fkey%2flist", "%2e%2e/%2e%2e", "%252e%252e%252f", "user%3Adefault%2Falice", "a/b/c",
    "user:default/alice/keys", "user:default/alice?x=1", "user:default/alice#x", "user:default/alice%00",
    "user:default/",
    "user:/alice", "user:default/alice ", " user:default/alice", "user:default//alice", "USER:DEFAULT/ALICE/..",
    "USER:Default/ALICE",
    "user:default/alice,user:default/bob", "api:default/admins", "default_user_id", "alice@example.com",
]  # fmt: skip
CONTROL = [
    "\0",
    "a\0b",
    "\n",
    "a\nb",
    "a\r\nX-Injected: yes",
    "\r",
    "\t",
    "\x1b[31m",
    "\x7f",
    "\x85",
    "\u2028",
    "\ufeff",
]
UNICODE = [
    "user:default/al\u0131ce",  # the dotless i, whose upper case is I
    "user:default/al\u0130ce",  # the dotted capital I, whose lower case is two characters
    "user:default/\u212aarl",  # the Kelvin sign, whose lower case is k
    "u\u017fer:default/alice",  # the long s, whose upper case is S
    "user:default/\u0430lice",  # a Cyrillic a
    "user:default/\uff41lice",  # a full-width a
    "user:default/\u03a3\u03a3", "user:default/\u03c3\u03c2", "user:default/\u0378", "user:default/" + "\u738b" * 254,
    "user:default/ali\u0441e", "user:default/alice\u0301", "user:default/a\u200blice", "user:default/\u202eecila",
    "user\uff1adefault/alice", "user:default\u2215alice", "\u00df", "\U0001f600",
]  # fmt: skip
INJECTION = [
    "' OR 1=1 --", "'; DROP TABLE change; --", '" OR ""="', "{{7*7}}", "${7*7}", "#{7*7}", "<script>alert(1)</script>",
    "$(id)", "|id", "%s%s%s%n", "{0}", "__proto__", "constructor", "null", "true", "-1", "9" * 400, "1e999",
    "NaN", "x" * 10_000,
]  # fmt: skip
HOSTILE = [*PLAIN, *CONTROL, *UNICODE, *INJECTION]
ROUTES = {
    "/user/list", "/user/new", "/user/update", "/user/delete", "/v2/user/info", "/user/daily/activity", "/key/list",
    "/key/info", "/key/generate", "/key/update", "/key/delete", "/key/block", "/key/unblock", "/models", "/model/info",
    "/health/readiness", "/health/readiness/details", "/key/aliases",
}  # fmt: skip


def texts_of(schema: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Where a body of this schema has a text; `*` is an item of a list, or a value under any name."""
    schema = resolved(schema)
    if schema.get("type") == "string":
        yield path
    for name, row in schema.get("properties", {}).items():
        yield from texts_of(row, (*path, name))
    for keyword in ("items", "additionalProperties"):
        if isinstance(schema.get(keyword), dict):
            yield from texts_of(schema[keyword], (*path, "[]" if keyword == "items" else "{}"))


def body_with(path: tuple[str, ...], value: str) -> Any:
    """A body that has `value` at `path`."""
    if not path:
        return value
    rest = body_with(path[1:], value)
    return [rest] if path[0] == "[]" else {("note" if path[0] == "{}" else path[0]): rest}


def places() -> list[tuple[str, str, tuple[str, ...]]]:
    """Every operation with each place for a text: in its path, its query, its headers and its body."""
    found: list[tuple[str, str, tuple[str, ...]]] = []
    for name in API:
        _, _, row = operations()[name]
        parameters = map(resolved, row.get("parameters", []))
        found += [(name, parameter["in"], (parameter["name"],)) for parameter in parameters]
        body = row.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
        found += [(name, "body", path) for path in texts_of(body or {})]
    return found


def attack(operation: str, place: str, path: tuple[str, ...], value: str, token: str) -> bytes | None:
    """The request in bytes; None if HTTP has no way to write the value there."""
    method, target, options = REQUESTS[operation]
    body = as_json(options["json"]) if "json" in options else None
    headers: dict[str, str] = {}
    if place == "path":
        old = {"userId": quote(ALICE, safe=""), "keyId": NO_KEY, "userCode": NO_CODE, "sessionId": NO_SESSION}.get(
            path[0], "/1"
        )
        new = quote(value, safe="")
        target = target.replace(old, f"/{new}" if old == "/1" else new)
    elif place == "query":
        target += f"?{path[0]}={quote(value, safe='')}"
    elif place == "header":
        if not value.isascii() or any(ord(character) < 32 or ord(character) == 127 for character in value):
            return None
        headers = {path[0]: value}
    else:
        body = as_json(body_with(path, value))
    return request(method, target, token, body, **headers)


@pytest.fixture
async def port(make_service: MakeService) -> AsyncIterator[int]:
    service = make_service(creates_per_minute=100_000)
    assert (await service.signed_in(ALICE).post(keys_path(ALICE), json={})).status_code == 201
    async with serving(service._app) as port:
        yield port


@pytest.mark.parametrize(
    "name", [*EXCHANGE, "subject_token", "requested_token_type", "scope", "audience", "actor_token", "x"]
)
async def test_hostile_forms(  # noqa: PLR0917
    service: Service, issuer: IssuerStandIn, litellm: LiteLLMStandIn, log: io.StringIO, name: str, cells: Cells
) -> None:
    """In each parameter of an exchange, and as its name: a key only where the value counts as absent or is ignored."""
    client, ignored = service.client(), 0
    for value in HOSTILE:
        form = EXCHANGE | {"subject_token": issuer.token()}
        for given in (form | {name: value}, form | {value: name}):
            answer = await client.post(f"{BASE}/oauth/token", data=given)
            may_work = given.get(name) in (None, "", form.get(name)) or name == "x" or value in ("", "x")
            wrong = [] if answer.status_code == 400 or (answer.status_code == 200 and may_work) else [answer.text]
            cells.record(f"{value[:40]!r}", wrong)
            ignored += answer.status_code == 200
    assert cells.failed == {}
    assert (ignored > 0, len(litellm.rows.keys)) == (True, 1)
    assert all(isinstance(json.loads(line), dict) for line in log.getvalue().splitlines())


FORMS = {
    "/oauth/device_authorization": ({"client_id": CLIENT}, {"client_id", "device_name", "tool", "scope", "x"}, 200),
    "/oauth/revoke": ({"token": "lor_nobody-has-this-one"}, {"token", "token_type_hint", "client_id", "x"}, 200),
    "/oauth/token": (
        {"client_id": CLIENT, "grant_type": "refresh_token", "refresh_token": "lor_nobody-has-this-one"},
        {"refresh_token", "device_code", "client_id", "scope", "x"},
        400,
    ),
}
"""Of devices: what is sent, where hostile values stand, and the status of what is sent."""


@pytest.mark.parametrize("path", FORMS)
async def test_hostile_forms_of_devices(  # noqa: PLR0917
    service: Service, litellm: LiteLLMStandIn, log: io.StringIO, clock: Clock, path: str, cells: Cells
) -> None:
    """As a value and as a name: OAuth's answer, and no line of the log is another's."""
    form, names, usual = FORMS[path]
    client = service.client()
    for value in HOSTILE:
        for name in sorted(names):
            clock.advance(5)
            for given in (form | {name: value}, form | {value: name}):
                answer = await client.post(f"{BASE}{path}", data=given)
                cells.record(f"{name}: {value[:40]!r}", [] if answer.status_code in (usual, 400) else [answer.text])
    assert cells.failed == {}
    assert litellm.rows.keys == {}
    assert all(isinstance(json.loads(line), dict) for line in log.getvalue().splitlines())


def test_there_are_enough() -> None:
    """Eighty and more, no two alike; and every operation has a place for them, but for those without a text."""
    assert len(HOSTILE) == len(set(HOSTILE)) >= 80
    assert {name for name, *_ in places()} == set(API)


@pytest.mark.parametrize(("operation", "place", "path"), places(), ids=str)
async def test_hostile(  # noqa: PLR0917
    port: int, backstage: BackstageStandIn, litellm: LiteLLMStandIn, log: io.StringIO,
    operation: str, place: str, path: tuple[str, ...], cells: Cells,
) -> None:  # fmt: skip
    """As bob, an admin, so that nothing is refused for lack of authority."""
    token = backstage.user_token(BOB)
    for value in HOSTILE:
        sent = attack(operation, place, path, value, token)
        if sent is None:
            continue
        response = await send(port, sent)
        wrong = [] if response.status_code < 500 else [f"{response.status_code}: {response.text[:200]}"]
        if "X-Injected" in response.headers:
            wrong.append("a header was injected")
        cells.record(f"{path}: {value[:40]!r}", wrong)
    routes = {entry.partition(" ")[2].partition("?")[0] for entry in litellm.requests}
    cells.record("routes of LiteLLM", sorted(routes - ROUTES))
    cells.record("users", sorted(user_id for user_id in litellm.rows.users if not is_user(user_id)))
    cells.record(
        "one user for each", sorted({user_id for user_id in litellm.rows.users if user_id != canonical(user_id)})
    )
    lines = log.getvalue().splitlines()
    cells.record("lines of the log", [line for line in lines if not isinstance(json.loads(line), dict)])
    assert cells.failed == {}
    assert BASE in json.dumps(lines)
