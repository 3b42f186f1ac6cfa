"""What LiteLLM does with users and keys that are moved, as far as an adoption relies on it or guards against it."""

from __future__ import annotations

from typing import Any

from tests.conformance.conftest import Proxy

NOTE = {"adopted": {"from": "a", "spend": 3.5}}
OURS = {"litellm_orchestrator": NOTE}


async def row_of(proxy: Proxy, user_id: str) -> Any:
    """The user's row in the list."""
    (row,) = (await proxy.get("/user/list", user_ids=f"{user_id},{user_id}", page_size=100)).json()["users"]
    return row


async def test_a_new_user_with_what_was_spent(proxy: Proxy) -> None:
    """Spend, role, and the limit of parallel requests are taken as they are given, together with the metadata."""
    given = {"spend": 3.5, "user_role": "internal_user_viewer", "max_parallel_requests": 4, "metadata": OURS}
    row = await row_of(proxy, await proxy.user("a", **given))
    assert {name: row[name] for name in given} == given


async def test_spend_and_metadata_change_together(proxy: Proxy) -> None:
    """In one call, with the role; nothing else changes."""
    user_id = await proxy.user("a", max_budget=10, user_role="internal_user", metadata={"mine": 1})
    before = await row_of(proxy, user_id)
    given = {"spend": 4.25, "user_role": "internal_user_viewer", "metadata": OURS}
    assert (await proxy.post("/user/update", user_id=user_id, **given)).status_code == 200
    assert await row_of(proxy, user_id) == before | given | {"updated_at": (await row_of(proxy, user_id))["updated_at"]}


async def test_an_address_that_is_free_again(proxy: Proxy) -> None:
    """Can be given once the user who had it is deleted; before that a new user with it is refused."""
    address = f"{proxy.prefix}@example.com"
    old, new = await proxy.user("old", user_email=address), await proxy.user("new")
    refused = await proxy.post("/user/new", user_id=proxy.id("other"), user_email=address, auto_create_key=False)
    assert refused.status_code == 409
    await proxy.post("/user/delete", user_ids=[old])
    assert (await proxy.post("/user/update", user_id=new, user_email=address)).status_code == 200
    assert (await row_of(proxy, new))["user_email"] == address


async def test_a_key_is_moved(proxy: Proxy) -> None:
    """With limits, spend and block; the secret works, and the lists of both follow at once."""
    old, new = await proxy.user("old"), await proxy.user("new")
    given = {"max_budget": 2.0, "rpm_limit": 50, "models": ["gpt-fake"], "spend": 0.5, "metadata": {"a": 1}}
    key, blocked = await proxy.key(old, **given), await proxy.key(old)
    await proxy.post("/key/block", key=blocked["token"])
    assert await proxy.chat(key["key"]) == 200
    for each in (key, blocked):
        answer = await proxy.post("/key/update", key=each["token"], user_id=new)
        assert (answer.status_code, answer.json()["user_id"]) == (200, new)
        assert await proxy.listed_key(old, each["token"]) is None
    row = await proxy.listed_key(new, key["token"])
    assert {name: row[name] for name in given if name != "spend"} | {"spend": 0.5} == given
    assert row["spend"] >= 0.5
    assert (await proxy.listed_key(new, blocked["token"]))["blocked"] is True
    assert [await proxy.chat(each["key"]) for each in (key, blocked)] == [200, 401]


async def test_a_key_is_moved_to_anybody(proxy: Proxy) -> None:
    """Also to a user that does not exist: existence has to be checked. A key that does not exist is a 404."""
    key = await proxy.key(await proxy.user("a"))
    assert (await proxy.post("/key/update", key=key["token"], user_id=proxy.id("nobody"))).status_code == 200
    assert (await proxy.post("/key/update", key="0" * 64, user_id=proxy.id("a"))).status_code == 404
    await proxy.post("/key/delete", keys=[key["token"]])


async def test_a_key_of_a_team(proxy: Proxy) -> None:
    """Is in the list of its owner, with the team."""
    user_id = await proxy.user("a")
    team = f"{proxy.prefix}-team"
    if proxy.stand_in is None:
        assert (await proxy.post("/team/new", team_id=team, team_alias=team)).status_code == 200
    key = await proxy.key(user_id, team_id=team)
    assert (await proxy.listed_key(user_id, key["token"]))["team_id"] == team
    if proxy.stand_in is None:
        await proxy.post("/team/delete", team_ids=[team])
