"""Ids in paths, as clients encode them and as proxies pass them on."""

from __future__ import annotations

from itertools import product
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from domain.errors import InputError
from edge.paths import RawPath, decode_segment
from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BASE, BOB, MakeService, Service, keys_path, user_path
from tests.support.contract import operations
from tests.support.devices import ask, sign_in
from tests.support.metrics import count, metrics_of
from tests.support.requests import NO_CODE, NO_KEY, NO_SESSION, PAGES, REQUESTS, send

USERS = f"{BASE}/users"
PATHS = sorted({path for _, path, _ in operations().values()})
TEMPLATES = [path for path in PATHS if "{userId}" in path]
OF_A_USER = sorted(name for name, (_, path, _) in operations().items() if path in TEMPLATES)
NAMES = ["alice", "keys", "usage", "users", "regenerate", "a.b_c-d"]
COLONS, SLASHES = [":", "%3A", "%3a"], ["%2F", "%2f", "/"]


async def routed(path: str) -> list[str]:
    """The segments of the path that is routed, each decoded."""
    seen: list[str] = []

    async def note(scope: Any, _receive: Any, _send: Any) -> None:
        seen.extend(decode_segment(segment) for segment in scope["path"].split("/"))

    await RawPath(note, users=USERS)({"type": "http", "raw_path": path.encode()}, None, None)  # type: ignore[arg-type]
    return seen


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("a%2Fb", "a/b"),
        ("a%252Fb", "a%2Fb"),
        ("a%25", "a%"),
        ("100%", "100%"),
        ("a%20b+c;d", "a b+c;d"),
        ("%C3%BC", "ü"),
    ],
)
async def test_a_path_segment_is_decoded_once(sent: str, meant: str) -> None:
    """With its slashes, however the client encodes them."""
    assert await routed(f"/x/{sent}/y") == ["", "x", meant, "y"]


@pytest.mark.parametrize("template", TEMPLATES)
async def test_a_ref_may_arrive_encoded_or_decoded_or_in_part(template: str) -> None:
    """Every path of the contract, with each of its characters encoded or not: the same segments, whatever the name."""
    for name, colon, slash in product(NAMES, COLONS, SLASHES):
        for written in (name, "".join(f"%{ord(character):02X}" for character in name)):
            sent = template.replace("{userId}", f"user{colon}default{slash}{written}").replace("{keyId}", "0" * 64)
            expected = template.replace("{keyId}", "0" * 64).split("/")
            assert await routed(sent) == [f"user:default/{name}" if part == "{userId}" else part for part in expected]


@pytest.fixture
def key_id(litellm: LiteLLMStandIn) -> str:
    """Alice has a user and this key."""
    litellm.rows.add_user({"user_id": ALICE})
    row, _ = litellm.rows.add_key({"user_id": ALICE, "duration": "30d"})
    return str(row["token"])


@pytest.mark.parametrize("operation", OF_A_USER)
@pytest.mark.parametrize("spelled", [ALICE, ALICE.replace(":", "%3A"), quote(ALICE, safe="")])
async def test_each_operation_is_reached_through_a_proxy_that_decodes(
    bob: httpx.AsyncClient, key_id: str, operation: str, spelled: str
) -> None:
    """It does what it does for the encoded path, with alice's user and alice's key."""
    method, path, options = REQUESTS[operation]
    path = path.replace(quote(ALICE, safe=""), spelled).replace(NO_KEY, key_id)
    answer = await bob.request(method, path, **options)
    assert answer.is_success, answer.text


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("rest", ["alice%2Fkeys", "%2Fkeys", "alice%2F", "%2falice"])
async def test_a_decoded_half_has_a_whole_name(template: str, rest: str) -> None:
    """An encoded slash where a name would stand could be two things, so it is none."""
    with pytest.raises(InputError, match="encode the whole id"):
        await routed(template.replace("{userId}", f"user:default/{rest}"))


@pytest.mark.parametrize(
    "path",
    [
        *(f"{USERS}{rest}" for rest in ("", "/alice", "/alice/keys", "/user:/keys", "/:default/keys")),
        f"{USERS}/user%3Adefault%2Falice/keys/a:b/c",
        *(f"{BASE}/{rest}" for rest in ("me:x/y", "cleanup/runs/1", "console/a:b/c", "docs/x:y/z")),
        "/users/user:default/alice", "/a/b:c/d",
    ],
)  # fmt: skip
async def test_no_other_path_changes_its_meaning(path: str) -> None:
    """Segments are joined directly below the users only, and only behind half a ref."""
    assert await routed(path) == [part.replace("%3A", ":").replace("%2F", "/") for part in path.split("/")]


@pytest.mark.parametrize("template", PATHS)
@pytest.mark.parametrize(
    "ref", ["user%3Adefault%2Falice", "user:default%2falice", "user:default/alice", "user:default/keys"]
)
async def test_a_slash_at_the_end_makes_no_difference(template: str, ref: str) -> None:
    """On every path of the contract, with a ref that is encoded or decoded. Two slashes are another path."""
    path = template.replace("{userId}", ref)
    assert await routed(f"{path}/") == await routed(path)
    assert await routed(f"{path}//") == [*await routed(path), "", ""]


@pytest.mark.parametrize(
    "path", ["", "/", "//", "/a//", f"{USERS}//", f"{USERS}//keys", f"{USERS}/%2F", f"{USERS}/alice%2F"]
)
async def test_no_other_slash_is_dropped(path: str) -> None:
    """None that is encoded, stands alone, or follows another one."""
    assert await routed(path) == [part.replace("%2F", "/") for part in path.split("/")]


@pytest.mark.parametrize(
    ("operation", "spelled"),
    [
        *((operation, quote(ALICE, safe="")) for operation in sorted(set(REQUESTS) - set(PAGES))),
        *((operation, ALICE) for operation in OF_A_USER),
    ],
)
async def test_each_operation_is_the_same_with_a_slash(
    service: Service, key_id: str, operation: str, spelled: str
) -> None:
    """It does what it does without one, and is logged and counted as the same operation."""
    bob = service.signed_in(BOB)
    method, path, options = REQUESTS[operation]
    if operation == "getCleanupRun":
        await send(bob, "runCleanup")
    if operation == "getAdoption":
        await send(bob, "startAdoption")
    if operation == "issueToken":
        options = {"data": options["data"] | {"subject_token": service.issuer.token()}}
    if NO_CODE in path:
        path = path.replace(NO_CODE, (await ask(service.client()))["user_code"])
    if NO_SESSION in path:
        path = path.replace(NO_SESSION, (await sign_in(service, BOB))["session_id"])
    path = path.replace(quote(ALICE, safe=""), spelled).replace(NO_KEY, key_id)
    answer = await bob.request(method, f"{path}/", **options)
    assert answer.is_success, answer.text
    assert (await metrics_of(service))[count(operation, answer.status_code)] == 1


async def test_a_slash_makes_no_second_request_of_a_repetition(make_service: MakeService) -> None:
    """The same Idempotency-Key gets the same key, the rate is the same, and the audit log has the same action."""
    service = make_service(creates_per_minute=2)
    alice, once = service.signed_in(ALICE), {"Idempotency-Key": "once"}
    first = await alice.post(keys_path(ALICE), headers=once)
    again = await alice.post(f"{keys_path(ALICE)}/", headers=once)
    assert again.json() == first.json()
    answers = [await alice.post(path) for path in (f"{keys_path(ALICE)}/", keys_path(ALICE), f"{keys_path(ALICE)}/")]
    assert [answer.status_code for answer in answers] == [201, 429, 429]
    plain, slashed = [(await alice.get(f"{BASE}/audit{end}")).json()["events"] for end in ("", "/")]
    assert slashed == plain
    assert [row["action"] for row in plain if row["outcome"] == "done"] == ["key.create", "key.create", "user.create"]


def test_what_loads_relative_addresses_redirects() -> None:
    """Pages, scripts and styles, and nothing else."""
    kinds = {"text/html", "text/css", "text/javascript"}
    loading = {
        name
        for name, (_, _, row) in operations().items()
        if kinds & row["responses"].get("200", {}).get("content", {}).keys()
    }
    assert set(PAGES) == loading


@pytest.mark.parametrize("operation", PAGES)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_page_redirects_to_the_path_without_the_slash(
    nobody: httpx.AsyncClient, operation: str, method: str
) -> None:
    """Relative to the address that the browser knows, whatever a proxy puts before it or takes away."""
    path = REQUESTS[operation][1]
    moved = await nobody.request(method, f"{path}/")
    assert (moved.status_code, moved.content) == (308, b"")
    for seen in (
        path,
        *(f"{prefix}{path.removeprefix(BASE)}" for prefix in ("", "/api/proxy/litellm-console", "/a/b/c")),
    ):
        address = httpx.URL(f"https://portal.example.com{seen}/").join(moved.headers["location"])
        assert address == f"https://portal.example.com{seen}"
    assert (await nobody.get(path)).status_code == 200


async def test_a_file_that_is_not_there_is_not_found_with_a_slash_either(nobody: httpx.AsyncClient) -> None:
    """What would be refused without the slash is refused at once."""
    assert (await nobody.get(f"{BASE}/docs/nothing.js/")).status_code == 400
    assert (await nobody.get(f"{BASE}/console/?x=1")).status_code == 400


async def test_an_encoded_slash_behind_a_decoded_one_is_refused(alice: httpx.AsyncClient) -> None:
    """400, and the next request works."""
    refused = await alice.get(f"{USERS}/user:default/alice%2Fkeys")
    assert (refused.status_code, refused.json()["error"]["name"]) == (400, "InputError")
    assert (await alice.get(user_path(ALICE))).status_code == 200
