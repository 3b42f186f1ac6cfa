"""What LiteLLM does, as far as this service relies on it or guards against it."""

from __future__ import annotations

import asyncio
import hashlib
import re
from datetime import UTC, datetime

import httpx
import pytest

from clients.litellm.fields import KeyRow
from tests.conformance.conftest import Proxy
from tests.support.contract import CONTRACT_DOCUMENT
from tests.support.litellm_versions import (
    BUDGET_DURATIONS,
    KEY_FIELDS,
    MORE_KEY_FIELDS,
    OVER_BUDGET,
    REFUSED_BEFORE_BODY,
    REFUSED_CALLS,
)

UNKNOWN_KEY = "0" * 64


async def test_a_new_user(proxy: Proxy) -> None:
    """One flat object, and no key where none was asked for."""
    answer = await proxy.post(
        "/user/new",
        user_id=proxy.id("a"),
        max_budget=5,
        budget_duration="30d",
        auto_create_key=False,
        user_role="internal_user",
        metadata={"a": 1},
    )
    body = answer.json()
    assert (answer.status_code, body["user_id"], body["max_budget"], body["metadata"], body["key"]) == (
        200,
        proxy.id("a"),
        5,
        {"a": 1},
        "",
    )


async def test_a_new_user_gets_a_key_unless_told_otherwise(proxy: Proxy) -> None:
    """An unwanted one."""
    answer = await proxy.post("/user/new", user_id=proxy.id("a"))
    assert answer.json()["key"].startswith("sk-")


async def test_a_user_that_exists(proxy: Proxy) -> None:
    """409."""
    await proxy.user("a")
    again = await proxy.post("/user/new", user_id=proxy.id("a"), auto_create_key=False)
    assert (again.status_code, again.json()["error"]["code"]) == (409, "409")
    assert "already exists" in again.json()["error"]["message"]


async def test_fifty_new_users_at_once_are_one(proxy: Proxy) -> None:
    """Several of the calls may succeed."""
    answers = await asyncio.gather(
        *(proxy.post("/user/new", user_id=proxy.id("a"), auto_create_key=False) for _ in range(50))
    )
    assert {answer.status_code for answer in answers} <= {200, 409}
    listed = await proxy.get("/user/list", user_ids=proxy.id("a"), page=1, page_size=10)
    assert [row["user_id"] for row in listed.json()["users"]] == [proxy.id("a")]


@pytest.mark.parametrize(
    ("duration", "status"),
    [(good, 200) for good in ("1h", "24h", "7d", "2w", "30d", "365d", "1mo")]
    + [(bad, 400) for bad in ("banana", "1y", "3mo", "12mo", "0d")],
)
async def test_budget_durations(proxy: Proxy, duration: str, status: int) -> None:
    """No years, and no more than one month."""
    answer = await proxy.post("/user/new", user_id=proxy.id("a"), budget_duration=duration, auto_create_key=False)
    if status == 400 and proxy.version < BUDGET_DURATIONS:
        assert answer.status_code in {200, 500}
    else:
        assert answer.status_code == status


async def test_months_reset_on_the_first(proxy: Proxy) -> None:
    """Thirty days do, too."""
    for name, duration in (("a", "30d"), ("b", "1mo")):
        user_id = await proxy.user(name, budget_duration=duration)
        reset = (await proxy.get("/v2/user/info", user_id=user_id)).json()["budget_reset_at"]
        assert reset[8:19] == "01T00:00:00"


async def test_a_negative_budget_is_taken(proxy: Proxy) -> None:
    """So it has to be refused before."""
    assert (
        await proxy.post("/user/new", user_id=proxy.id("a"), max_budget=-5, auto_create_key=False)
    ).status_code == 200


async def test_reading_a_user(proxy: Proxy) -> None:
    """The second version is flat, and has the dates that creation leaves out."""
    user_id = await proxy.user("a", max_budget=5, budget_duration="30d")
    row = (await proxy.get("/v2/user/info", user_id=user_id)).json()
    assert (row["user_id"], row["max_budget"], row["budget_duration"], row["spend"]) == (user_id, 5, "30d", 0)
    assert datetime.fromisoformat(row["created_at"]).tzinfo is not None
    assert "keys" not in row
    first = (await proxy.get("/user/info", user_id=user_id)).json()
    assert (first["user_id"], first["user_info"]["user_id"], first["keys"]) == (user_id, user_id, [])


@pytest.mark.parametrize("path", ["/v2/user/info", "/user/info"])
async def test_reading_a_user_that_there_is_not(proxy: Proxy, path: str) -> None:
    """404; ids compare with their case."""
    user_id = await proxy.user("a")
    assert (await proxy.get(path, user_id=proxy.id("nobody"))).status_code == 404
    assert (await proxy.get(path, user_id=user_id.upper())).status_code == 404


async def test_reading_no_user_in_particular_answers_every_key(proxy: Proxy) -> None:
    """So an id must never be left out."""
    key = await proxy.key(await proxy.user("a"))
    everything = (await proxy.get("/user/info")).json()["keys"]
    assert key["token"] in {row["token"] for row in everything}


async def test_listing_users(proxy: Proxy) -> None:
    """One id matches within others, without case; several match exactly; a page past the end is empty."""
    one, other = await proxy.user("jo"), await proxy.user("john")

    async def listed(**query: str | int) -> list[str]:
        answer = await proxy.get("/user/list", **{"page": 1, "page_size": 100, **query})
        assert {"users", "total", "page", "page_size", "total_pages"} <= answer.json().keys()
        return sorted(row["user_id"] for row in answer.json()["users"])

    assert await listed(user_ids=one.upper()) == [one, other]
    assert await listed(user_ids=f"{one},{proxy.id('nobody')}") == [one]
    assert await listed(user_ids=one, page=9) == []
    assert {one, other} <= set(await listed(user_idz="typo", sort_by="created_at", sort_order="desc"))
    assert (await proxy.get("/user/list", page_size=101)).status_code == 422


async def test_updating_a_user_that_there_is_not_creates_them(proxy: Proxy) -> None:
    """So existence has to be checked before."""
    assert (await proxy.post("/user/update", user_id=proxy.id("ghost"), max_budget=1)).status_code == 200
    assert (await proxy.get("/v2/user/info", user_id=proxy.id("ghost"))).status_code == 200


async def test_updating_a_user(proxy: Proxy) -> None:
    """Metadata is replaced as a whole; empty metadata and empty models are ignored; null clears a budget."""
    user_id = await proxy.user("a", metadata={"a": 1, "b": 2}, models=["gpt-fake"], max_budget=5, budget_duration="30d")
    await proxy.post("/user/update", user_id=user_id, metadata={"c": 3})
    await proxy.post("/user/update", user_id=user_id, metadata={}, models=[])
    row = (await proxy.get("/v2/user/info", user_id=user_id)).json()
    assert (row["metadata"], row["models"], row["max_budget"]) == ({"c": 3}, ["gpt-fake"], 5)
    await proxy.post("/user/update", user_id=user_id, max_budget=None, budget_duration=None)
    row = (await proxy.get("/v2/user/info", user_id=user_id)).json()
    assert row["max_budget"] is None
    assert row["budget_duration"] == (None if proxy.version >= BUDGET_DURATIONS else "30d")


async def test_deleting_users_is_all_or_nothing(proxy: Proxy) -> None:
    """And takes their keys along; a key without a user cannot be got at this way."""
    user_id = await proxy.user("a")
    key = await proxy.key(user_id)
    orphan = await proxy.key(proxy.id("nobody"))
    refused = await proxy.post("/user/delete", user_ids=[user_id, proxy.id("nobody")])
    assert refused.status_code == 404
    assert (await proxy.get("/v2/user/info", user_id=user_id)).status_code == 200
    deleted = await proxy.post("/user/delete", user_ids=[user_id])
    assert (deleted.status_code, deleted.json()) == (200, 1)
    assert await proxy.chat(key["key"]) == 401
    assert orphan["user_id"] == proxy.id("nobody")


async def test_a_new_key(proxy: Proxy) -> None:
    """Its id is the SHA-256 of its secret, which is answered this once; it may call models only."""
    user_id = await proxy.user("a")
    key = await proxy.key(user_id, metadata={"a": 1})
    assert key["token"] == hashlib.sha256(str(key["key"]).encode()).hexdigest()
    assert key["key_name"] == f"sk-...{str(key['key'])[-4:]}"
    assert (key["user_id"], key["allowed_routes"]) == (user_id, ["llm_api_routes"])
    assert key.get("key_type") == ("llm_api" if proxy.version >= KEY_FIELDS else None)
    default = (await proxy.post("/key/generate", user_id=user_id)).json()
    assert default["allowed_routes"] == []


async def test_aliases_are_unique_over_all_users(proxy: Proxy) -> None:
    """So another user's is in the way."""
    await proxy.key(await proxy.user("a"), key_alias=f"{proxy.prefix}-alias")
    taken = await proxy.post("/key/generate", user_id=await proxy.user("b"), key_alias=f"{proxy.prefix}-alias")
    assert (taken.status_code, "already exists" in taken.text) == (400, True)


@pytest.mark.parametrize(
    ("duration", "status"),
    [(good, 200) for good in ("90s", "10m", "1h", "2w", "30d", "1mo", "0d")]
    + [(bad, 500) for bad in ("1y", "-1d", "x")],
)
async def test_durations_of_a_key(proxy: Proxy, duration: str, status: int) -> None:
    """A bad one is a 500."""
    answer = await proxy.post("/key/generate", user_id=await proxy.user("a"), duration=duration)
    assert answer.status_code == status


async def test_a_month_of_a_key_is_a_calendar_month(proxy: Proxy) -> None:
    """Unlike a budget's, it does not end on the first."""
    key = await proxy.key(await proxy.user("a"), duration="1mo")
    life = datetime.fromisoformat(str(key["expires"])) - datetime.fromisoformat(str(key["created_at"]))
    assert 28 <= round(life.total_seconds() / 86400) <= 31


async def test_a_secret_of_ones_own_that_exists(proxy: Proxy) -> None:
    """It echoes the new owner and keeps the old: `key` must never be passed on."""
    one, other = await proxy.user("a"), await proxy.user("b")
    key = await proxy.key(one)
    again = await proxy.post("/key/generate", user_id=other, key=key["key"])
    assert (again.status_code, again.json()["user_id"]) == (200, other)
    assert (await proxy.get("/key/info", key=str(key["token"]))).json()["info"]["user_id"] == one


async def test_listing_keys(proxy: Proxy) -> None:
    """Pages of at most a hundred; bare hashes unless whole objects are asked for."""
    user_id = await proxy.user("a")
    tokens = {str((await proxy.key(user_id))["token"]) for _ in range(3)}
    whole = (await proxy.get("/key/list", user_id=user_id, return_full_object="true", page=1, size=2)).json()
    rest = (await proxy.get("/key/list", user_id=user_id, return_full_object="true", page=2, size=2)).json()
    assert (whole["total_count"], whole["current_page"], whole["total_pages"]) == (3, 1, 2)
    assert {row["token"] for row in whole["keys"] + rest["keys"]} == tokens
    assert set((await proxy.get("/key/list", user_id=user_id, size=10)).json()["keys"]) == tokens
    assert (await proxy.get("/key/list", size=101)).status_code == 422


async def test_the_fields_of_a_listed_key(proxy: Proxy) -> None:
    """Every field that a caller may see is there, and the contract names all the others."""
    user_id = await proxy.user("a")
    await proxy.key(user_id)
    row = (await proxy.get("/key/list", user_id=user_id, return_full_object="true")).json()["keys"][0]
    groups = CONTRACT_DOCUMENT["components"]["schemas"]["UserAPIKeyAuth"]["x-litellm-left-out"].values()
    left_out = {field for group in groups for field in group["fields"]}
    missing = set() if proxy.version >= KEY_FIELDS else MORE_KEY_FIELDS
    assert set(KeyRow.__struct_fields__) - missing <= row.keys()
    assert row.keys() - set(KeyRow.__struct_fields__) <= left_out


async def test_key_info(proxy: Proxy) -> None:
    """By hash or secret; an unknown one is a 404."""
    user_id = await proxy.user("a")
    key = await proxy.key(user_id)
    for name in (key["token"], key["key"]):
        assert (await proxy.get("/key/info", key=str(name))).json()["info"]["user_id"] == user_id
    assert (await proxy.get("/key/info", key=UNKNOWN_KEY)).status_code == 404


async def test_updating_a_key(proxy: Proxy) -> None:
    """What is left out stays, null clears; an unknown key is a 404."""
    key = await proxy.key(await proxy.user("a"), max_budget=5, metadata={"a": 1})
    assert (await proxy.post("/key/update", key=key["token"], max_budget=None)).status_code == 200
    info = (await proxy.get("/key/info", key=str(key["token"]))).json()["info"]
    assert (info["max_budget"], info["metadata"]) == (None, {"a": 1})
    assert (await proxy.post("/key/update", key=UNKNOWN_KEY, max_budget=1)).status_code == 404


async def test_deleting_keys(proxy: Proxy) -> None:
    """Unknown keys among known ones are reported as deleted; a deleted key may still be returned, with a status."""
    key = await proxy.key(await proxy.user("a"))
    assert (await proxy.post("/key/delete", keys=[UNKNOWN_KEY])).status_code == 404
    deleted = await proxy.post("/key/delete", keys=[key["token"], UNKNOWN_KEY])
    assert (deleted.status_code, deleted.json()["deleted_keys"]) == (200, [key["token"], UNKNOWN_KEY])
    info = await proxy.get("/key/info", key=str(key["token"]))
    assert info.status_code == 404 or info.json()["info"]["status"] == "deleted"
    assert await proxy.chat(key["key"]) == 401


async def test_blocking_a_key(proxy: Proxy) -> None:
    """At once on the same proxy; unblocking brings it back."""
    key = await proxy.key(await proxy.user("a"))
    assert await proxy.chat(key["key"]) == 200
    assert (await proxy.post("/key/block", key=key["token"])).json()["blocked"] is True
    assert await proxy.chat(key["key"]) == 401
    assert (await proxy.post("/key/unblock", key=key["token"])).json()["blocked"] is False
    assert await proxy.chat(key["key"]) == 200
    for path in ("/key/block", "/key/unblock"):
        assert (await proxy.post(path, key=UNKNOWN_KEY)).status_code == 404


async def test_regenerating_wants_a_licence(proxy: Proxy) -> None:
    """500 without one."""
    key = await proxy.key(await proxy.user("a"))
    answer = await proxy.post(f"/key/{key['token']}/regenerate")
    assert (answer.status_code, "Enterprise" in answer.text) == (500, True)


async def test_what_using_a_key_says(proxy: Proxy) -> None:
    """Over its budget, over its rate, another model, over and done with, unknown."""
    user_id = await proxy.user("a")
    over_budget = await proxy.chat((await proxy.key(user_id, max_budget=0))["key"])
    assert over_budget == (422 if proxy.version >= OVER_BUDGET else 429)
    assert await proxy.chat((await proxy.key(user_id, models=["claude-fake"]))["key"]) == 403
    assert await proxy.chat((await proxy.key(user_id, duration="0d"))["key"]) == 401
    assert await proxy.chat("sk-nobody-has-this-one") == 401
    slow = await proxy.key(user_id, rpm_limit=1)
    assert 429 in [await proxy.chat(slow["key"]) for _ in range(4)]


async def test_what_a_refused_call_says(proxy: Proxy) -> None:
    """That the key is blocked, and that its budget is exceeded."""
    user_id = await proxy.user("a")
    blocked = await proxy.key(user_id)
    await proxy.post("/key/block", key=blocked["token"])
    refused = (await proxy.call(blocked["key"])).json()["error"]
    assert (refused["code"], "Key is blocked" in refused["message"]) == ("401", True)
    if proxy.version >= OVER_BUDGET:
        refused = (await proxy.call((await proxy.key(user_id, max_budget=0))["key"])).json()["error"]
        assert (refused["code"], refused["type"]) == ("422", "budget_exceeded")


_CALLS = 10
"""After which a rate of one call a minute has been exceeded, also across the end of a minute."""
APIS = ("chat/completions", "responses", "messages")
# A call is also refused that would need more tokens than remain: some may be left.
RATE = r"Rate limit exceeded for {}\. Limit type: {}\. Current limit: {}, Remaining: \d+\. Limit resets at: {} UTC"
WHEN = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
NOT_AVAILABLE = (
    r"The requested model 'gpt-fake' is not available for this API key, or the model name is invalid\. "
    r"Check the models available to you and try again\."
)


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("holder", ["key", "user"])
@pytest.mark.parametrize(("what", "limit"), [("requests", {"rpm_limit": 1}), ("tokens", {"tpm_limit": 25})])
async def test_what_a_call_above_a_rate_says(
    proxy: Proxy, holder: str, what: str, limit: dict[str, int], api: str
) -> None:
    """Whose limit it is, of what, and when it ends; Anthropic's API says it in its own shape, and not when to retry.

    Where the body was not read, it says what the others say.
    """
    user_id = await proxy.user("a", **(limit if holder == "user" else {}))
    key = await proxy.key(user_id, **(limit if holder == "key" else {}))
    first = refused = await proxy.call(key["key"], api=api)
    # Tokens count once a call is over, a little after its answer; and a new minute may begin between two calls.
    for _ in range(_CALLS):
        if refused.status_code != 200:
            break
        refused = await proxy.call(key["key"], api=api)
    assert (first.status_code, refused.status_code) == (200, 429)
    if proxy.version < REFUSED_CALLS:
        return
    error = refused.json()["error"]
    (most,) = limit.values()
    whose = f"api_key: {key['token']}" if holder == "key" else f"user: {user_id}"
    assert re.fullmatch(RATE.format(re.escape(whose), what, most, WHEN), error.pop("message"))
    before_the_body = proxy.version >= REFUSED_BEFORE_BODY and "type" not in refused.json()
    if api == "messages" and not before_the_body:
        assert (refused.json()["type"], error) == ("error", {"type": "rate_limit_error"})
        assert "retry-after" not in refused.headers
    else:
        assert error == {"type": "throttling_error", "param": None, "code": "429"}
        assert (refused.headers["retry-after"], refused.headers["rate_limit_type"]) == ("60", what)


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("holder", ["key", "user"])
async def test_what_a_call_of_another_model_says(proxy: Proxy, holder: str, api: str) -> None:
    """Whose list it is in the type, and not which models are in it; the same in each API."""
    other = {"models": ["claude-fake"]}
    user_id = await proxy.user("a", **(other if holder == "user" else {}))
    key = await proxy.key(user_id, **(other if holder == "key" else {}))
    refused = await proxy.call(key["key"], api=api)
    assert refused.status_code == 403
    if proxy.version >= REFUSED_CALLS:
        error = refused.json()["error"]
        assert re.fullmatch(NOT_AVAILABLE, error.pop("message"))
        assert error == {"type": f"{holder}_model_access_denied", "param": "model", "code": "403"}


@pytest.mark.parametrize("api", APIS)
async def test_what_a_call_of_no_model_says(proxy: Proxy, api: str) -> None:
    """400, with LiteLLM's own name for the API that was called."""
    key = await proxy.key(await proxy.user("a"))
    refused = await proxy.call(key["key"], "gone", api)
    assert refused.status_code == 400
    if proxy.version >= REFUSED_CALLS:
        error = refused.json()["error"]
        name = "anthropic_messages" if api == "messages" else f"/{api}"
        assert error["message"].startswith(f"{name}: Invalid model name passed in model=gone. Call `/v1/models`")
        assert error["type"] == "invalid_request_error"


async def test_usage_by_day(proxy: Proxy) -> None:
    """Results by day, and totals; it is filled about a minute after the calls."""
    today = datetime.now(UTC).date().isoformat()
    answer = await proxy.get("/user/daily/activity", user_id=await proxy.user("a"), start_date=today, end_date=today)
    assert (answer.status_code, answer.json()["results"]) == (200, [])
    assert {"total_spend", "total_tokens", "total_api_requests", "page", "total_pages", "has_more"} <= answer.json()[
        "metadata"
    ].keys()


async def test_models(proxy: Proxy) -> None:
    """Those that the proxy serves."""
    assert {row["id"] for row in (await proxy.get("/models")).json()["data"]} >= {"gpt-fake", "claude-fake"}
    assert {row["model_name"] for row in (await proxy.get("/model/info")).json()["data"]} >= {"gpt-fake", "claude-fake"}


async def test_health(proxy: Proxy) -> None:
    """Readiness includes the database."""
    assert (await proxy.get("/health/liveliness")).status_code == 200
    assert (await proxy.get("/health/readiness")).json() == {"status": "healthy", "db": "connected"}


async def test_the_version(proxy: Proxy) -> None:
    """The master key may read it; without it nobody may."""
    details = await proxy.get("/health/readiness/details")
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", details.json()["litellm_version"])
    assert (await proxy.http.get("/health/readiness/details", headers={"Authorization": ""})).status_code == 401


@pytest.mark.parametrize("headers", [{"Authorization": "Bearer sk-wrong"}, {"Authorization": ""}])
async def test_a_wrong_master_key(proxy: Proxy, headers: dict[str, str]) -> None:
    """401, in the first of three shapes of errors."""
    answer: httpx.Response = await proxy.http.get("/user/list", headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "401")


async def test_a_malformed_body(proxy: Proxy) -> None:
    """422, in the last of three shapes of errors."""
    for content in (b"{", b'{"user_id": 5}'):
        answer = await proxy.http.post("/user/new", content=content, headers={"Content-Type": "application/json"})
        assert (answer.status_code, isinstance(answer.json()["detail"], list)) == (422, True)


@pytest.mark.parametrize("name", ["a+b", "a b", "a&b=c"])
async def test_ids_with_signs_that_mean_something_in_a_query(proxy: Proxy, name: str) -> None:
    """They arrive as they are where they are encoded."""
    user_id = await proxy.user(name)
    key = await proxy.key(user_id)
    assert (await proxy.get("/v2/user/info", user_id=user_id)).json()["user_id"] == user_id
    listed = (await proxy.get("/key/list", user_id=user_id)).json()["keys"]
    assert listed == [key["token"]]


async def test_lists_are_sorted_by_a_unique_column(proxy: Proxy) -> None:
    """Users by id, keys by token: only then does every row come exactly once, whatever the size of a page."""
    users = [await proxy.user(f"{number:02}") for number in range(7)]
    tokens = [(await proxy.key(users[0]))["token"] for _ in range(5)]
    query: dict[str, str | int] = {"user_ids": ",".join(users), "page_size": 3, "sort_by": "user_id"}
    listed: list[str] = []
    for page in (1, 2, 3):
        answer = await proxy.get("/user/list", **query, page=page)
        listed += [row["user_id"] for row in answer.json()["users"]]
    assert listed == users
    found: list[str] = []
    for page in (1, 2, 3):
        answer = await proxy.get("/key/list", user_id=users[0], size=2, page=page, sort_by="token")
        found += answer.json()["keys"]
    assert sorted(found) == sorted(tokens)
    assert (await proxy.get("/user/list", sort_by="unknown")).status_code == 400


async def test_pages_of_any_size_are_parts_of_one_list(proxy: Proxy) -> None:
    """So a page that contains a given row can begin right before it, whatever its offset."""
    for name in "abcde":
        await proxy.user(name)

    async def ids(page: int, size: int) -> list[str]:
        query: dict[str, str | int] = {"sort_by": "user_id", "sort_order": "asc", "page": page, "page_size": size}
        return [row["user_id"] for row in (await proxy.get("/user/list", **query)).json()["users"]]

    total = (await proxy.get("/user/list", page_size=1)).json()["total"]
    everybody = [user_id for page in range(1, -(-total // 100) + 1) for user_id in await ids(page, 100)]
    assert len(everybody) == len(set(everybody)) == total
    for size in (51, 67, 99):
        assert await ids(2, size) == everybody[size : 2 * size]
        assert await ids(1, size) == everybody[:size]
    assert await ids(total + 1, 100) == []


async def test_several_users_at_once_with_the_number_of_their_keys(proxy: Proxy) -> None:
    """Several ids match exactly, and in any order; blocked keys count too."""
    one, two = await proxy.user("one"), await proxy.user("two")
    await proxy.user("one-more")
    key = await proxy.key(one)
    await proxy.key(one)
    await proxy.post("/key/block", key=key["token"])
    users = (await proxy.get("/user/list", user_ids=f"{two},{one}", page_size=100)).json()["users"]
    assert {row["user_id"]: row["key_count"] for row in users} == {one: 2, two: 0}
