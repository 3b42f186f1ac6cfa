"""What LiteLLM does as far as off-boarding relies on it: lists of keys, their names, and who created a user."""

from __future__ import annotations

import pytest

from clients.litellm.rows import ANNOTATIONS
from tests.conformance.conftest import Proxy


async def test_keys_are_listed_from_the_newest(proxy: Proxy) -> None:
    """Unless another order is asked for: a run reads as many pages as have new keys."""
    user_id = await proxy.user("a")
    made = [(await proxy.key(user_id))["token"] for _ in range(3)]
    listed = [
        (await proxy.get("/key/list", user_id=user_id, return_full_object="true", size=1, page=page)).json()["keys"]
        for page in (1, 2, 3)
    ]
    assert [row["token"] for (row,) in listed] == made[::-1]
    times = [row["created_at"] for (row,) in listed]
    assert times == sorted(times, reverse=True)


async def test_a_page_behind_the_last_one(proxy: Proxy) -> None:
    """It is empty and tells the number of pages, without a look at any row."""
    user_id = await proxy.user("a")
    for _ in range(2):
        await proxy.key(user_id)
    answer = await proxy.get("/key/list", user_id=user_id, return_full_object="true", size=1, page=1_000_000)
    assert (answer.status_code, answer.json()["keys"], answer.json()["total_pages"]) == (200, [], 2)


@pytest.mark.parametrize(
    ("name", "status"), [("0" * 64, 404), ("A" * 64, 404), ("sk-unknown-0123456789", 404), ("a-name-of-its-own", 400)]
)
async def test_names_of_keys_to_block(proxy: Proxy, name: str, status: int) -> None:
    """A hash, or a secret, which is hashed."""
    assert (await proxy.post("/key/block", key=name)).status_code == status


async def test_a_row_of_a_user_says_who_created_them_and_counts_their_keys(proxy: Proxy) -> None:
    """Our annotation is in the metadata; the users of others lack it. Blocked keys count, too."""
    ours = await proxy.user("ours", metadata={ANNOTATIONS: {"tier": "userDefaults"}})
    theirs = await proxy.user("theirs")
    key = await proxy.key(theirs)
    await proxy.key(theirs)
    await proxy.post("/key/block", key=key["token"])
    rows = (await proxy.get("/user/list", user_ids=f"{ours},{theirs}", page=1, page_size=100)).json()["users"]
    told = {row["user_id"]: (ANNOTATIONS in row["metadata"], row["key_count"]) for row in rows}
    assert told == {ours: (True, 0), theirs: (False, 2)}


async def test_a_key_of_a_sign_in_is_listed_for_nobody(proxy: Proxy) -> None:
    """Nor counted, nor found by its hash; it calls models, can be blocked by its hash, and goes with its user."""
    user_id = await proxy.user("a")
    key = await proxy.key(user_id)
    session = await proxy.key(user_id, team_id="litellm-dashboard")
    assert await proxy.chat(session["key"]) == 200
    asked: list[dict[str, str]] = [{"user_id": user_id}, {"key_hash": session["token"]}]
    listed = [(await proxy.get("/key/list", return_full_object="true", **query)).json()["keys"] for query in asked]
    assert [[row["token"] for row in rows] for rows in listed] == [[key["token"]], []]
    rows = (await proxy.get("/user/list", user_ids=f"{user_id},{user_id}", page=1, page_size=100)).json()["users"]
    assert [row["key_count"] for row in rows] == [1]
    assert (await proxy.get("/key/info", key=session["token"])).json()["info"]["team_id"] == "litellm-dashboard"
    assert (await proxy.post("/key/block", key=session["token"])).status_code == 200
    assert await proxy.chat(session["key"]) == 401
    assert (await proxy.post("/key/unblock", key=session["token"])).status_code == 200
    await proxy.post("/user/delete", user_ids=[user_id])
    assert await proxy.chat(session["key"]) == 401
