"""Conditional reads: an ETag on every resource and list, and a 304 as long as it names what would be returned."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BASE, BOB, keys_path, user_path
from tests.support.contract import operations
from tests.support.keys import made, refusal

NO_ETAG = {"getDocs", "getDocsAsset", "getLiveness", "getReadiness", "getMetrics"}
NO_ETAG |= {"getDeviceCode"}  # it says how old it is
NO_ETAG |= {"getConsole", "getConsoleAsset", "getConsoleSettings"}


def test_every_read_is_conditional() -> None:
    """But the page of the documentation, the probes, and what is never the same."""
    reads = {name: row for name, (method, _, row) in operations().items() if method == "GET"}
    assert {name for name, row in reads.items() if "304" not in row["responses"]} == NO_ETAG


async def test_a_read_that_found_nothing_new_has_no_body(alice: httpx.AsyncClient) -> None:
    """The headers are those of the whole response, without those that describe a body."""
    await made(alice)
    first = await alice.get(keys_path(ALICE))
    again = await alice.get(keys_path(ALICE), headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert again.headers["cache-control"] == first.headers["cache-control"]
    assert "content-type" not in again.headers


async def test_spending_is_not_hidden(alice: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """A key, a list and a user that spent money are new representations, though nobody changed them."""
    key_id = await made(alice)
    paths = [keys_path(ALICE, key_id), keys_path(ALICE), user_path(ALICE)]
    tags = [(await alice.get(path)).headers["etag"] for path in paths]
    litellm.rows.keys[key_id]["spend"] = litellm.rows.users[ALICE]["spend"] = 1.5
    for path, tag in zip(paths, tags, strict=True):
        assert (await alice.get(path, headers={"If-None-Match": tag})).status_code == 200


@pytest.mark.parametrize(
    ("sent", "status"), [("*", 304), ('"x", {}', 304), ("W/{}", 304), ("unquoted", 200), ('""', 200), ('"x"', 200)]
)
async def test_forms_of_if_none_match(alice: httpx.AsyncClient, sent: str, status: int) -> None:
    """`*` and one of several match, a weak tag too (RFC 9110, section 13.1.2); a malformed one never does."""
    tag = (await alice.get(user_path(ALICE))).headers["etag"]
    answer = await alice.get(user_path(ALICE), headers={"If-None-Match": sent.format(tag)})
    assert answer.status_code == status


async def test_an_error_is_never_not_modified(alice: httpx.AsyncClient) -> None:
    """A condition does not hide that something is missing or forbidden."""
    anything = {"If-None-Match": "*"}
    assert (await alice.get(keys_path(ALICE, "0" * 64), headers=anything)).status_code == 404
    assert (await alice.get(f"{BASE}/users", headers=anything)).status_code == 403


CHANGES: list[dict[str, Any]] = [{"maxBudget": 7}, {"models": ["gpt-fake"]}, {"rpmLimit": 5}]


@pytest.mark.parametrize("change", CHANGES, ids=str)
async def test_a_user_is_changed_only_in_the_expected_state(
    bob: httpx.AsyncClient, litellm: LiteLLMStandIn, change: dict[str, Any]
) -> None:
    """Spending does not count as a change; a change of limits does. The same for off-boarding."""
    litellm.rows.add_user({"user_id": ALICE})
    first = (await bob.get(user_path(ALICE))).headers["etag"]
    litellm.rows.users[ALICE]["spend"] = 0.5
    changed = await bob.patch(user_path(ALICE), json=change, headers={"If-Match": first})
    assert changed.status_code == 200
    assert changed.headers["etag"] == (await bob.get(user_path(ALICE))).headers["etag"]
    before = dict(litellm.rows.users[ALICE])
    for method, body in (("PATCH", {"maxBudget": 9}), ("DELETE", None)):
        stale = await bob.request(method, user_path(ALICE), json=body, headers={"If-Match": first})
        assert await refusal(stale) == (412, "The user has changed; read it again")
    assert litellm.rows.users[ALICE] == before
    fresh = {"If-Match": changed.headers["etag"]}
    assert (await bob.delete(user_path(ALICE), headers=fresh)).status_code == 200
    assert ALICE not in litellm.rows.users
    assert (await bob.delete(user_path(BOB), headers=fresh)).status_code == 404
