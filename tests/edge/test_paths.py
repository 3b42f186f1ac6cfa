"""Ids in paths, as clients encode them and as proxies pass them on."""

from __future__ import annotations

from itertools import product
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from domain.errors import InputError
from edge.paths import RawPath, decode_segment
from tests.conftest import ALICE, BASE, keys_path, user_path
from tests.support.contract import operations
from tests.support.requests import NO_KEY, REQUESTS

USERS = f"{BASE}/users"
TEMPLATES = sorted({path for _, path, _ in operations().values() if "{userId}" in path})
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


@pytest.mark.parametrize("operation", sorted(name for name, (_, path, _) in operations().items() if "{userId}" in path))
@pytest.mark.parametrize("spelled", [ALICE, ALICE.replace(":", "%3A"), quote(ALICE, safe="")])
async def test_each_operation_is_reached_through_a_proxy_that_decodes(
    alice: httpx.AsyncClient, bob: httpx.AsyncClient, operation: str, spelled: str
) -> None:
    """It does what it does for the encoded path, with alice's user and alice's key."""
    key_id = (await alice.post(keys_path(ALICE))).json()["keyId"]
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
        *(f"{USERS}{rest}" for rest in ("", "/", "/alice", "/alice/keys", "/user:/keys", "/:default/keys")),
        f"{USERS}/user%3Adefault%2Falice/keys/a:b/c",
        *(f"{BASE}/{rest}" for rest in ("me:x/y", "cleanup/runs/1", "console/a:b/c", "docs/x:y/z")),
        "/users/user:default/alice", "/a/b:c/d",
    ],
)  # fmt: skip
async def test_no_other_path_changes_its_meaning(path: str) -> None:
    """Segments are joined directly below the users only, and only behind half a ref."""
    assert await routed(path) == [part.replace("%3A", ":").replace("%2F", "/") for part in path.split("/")]


async def test_an_encoded_slash_behind_a_decoded_one_is_refused(alice: httpx.AsyncClient) -> None:
    """400, and the next request works."""
    refused = await alice.get(f"{USERS}/user:default/alice%2Fkeys")
    assert (refused.status_code, refused.json()["error"]["name"]) == (400, "InputError")
    assert (await alice.get(user_path(ALICE))).status_code == 200
