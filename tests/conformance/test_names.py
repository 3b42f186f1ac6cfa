"""Names of any script: how LiteLLM takes them as ids of users, in bodies and in queries."""

from __future__ import annotations

import pytest

from clients.litellm.client import LiteLLM
from clients.upstream import Upstream
from domain.keys import KeyAnnotations, NewKey
from domain.refs import owner_id
from domain.users import NewUser
from settings.model import Timeouts
from tests.conformance.conftest import Proxy

NAMES = [
    "Alice@example.com",
    "alice+lab@example.com",
    "\u00fcnal",
    "\u738b\u5c0f\u660e",
    "i\u0307nci",
    "o'brien",
    'say"hello"',
    "a:b",
    "100%",
    "back\\slash",
    "a&b=c?d#e;f",
    "%2F..%00",
    "\U0001f600",
    "_%",
]


@pytest.fixture
def client(proxy: Proxy) -> LiteLLM:
    """This service's own client."""
    upstream = Upstream(
        "LiteLLM",
        str(proxy.http.base_url).rstrip("/"),
        timeouts=Timeouts(read=60, deadline=60),
        token=proxy.http.headers["authorization"].removeprefix("Bearer "),
        transport=proxy.http._transport,
    )
    return LiteLLM(upstream)


@pytest.mark.parametrize("name", NAMES)
async def test_a_user_of_any_name(proxy: Proxy, client: LiteLLM, name: str) -> None:
    """Created, found, listed with their keys, and deleted; nobody else is."""
    mine, other = owner_id(proxy.id(name)), owner_id(proxy.id(f"{name}x"))
    for each in (mine, other):
        await client.create_user(each, NewUser())
    created = await client.create_key(mine, NewKey(KeyAnnotations(operation="o")))
    assert await client.user_exists(mine)
    assert list(await client.read_users([mine])) == [mine]
    assert set(await client.read_users([mine, other])) == {mine, other}
    found = await client.find_users([mine, other])
    assert {user_id: user.keys for user_id, user in found.items()} == {mine: 1, other: 0}
    assert [key.id for key in await client.list_keys(mine)] == [created.key_id]
    owned = await client.owner_of_key(created.key_id)
    assert owned is not None
    assert owned.owner == mine
    await client.delete_user(mine)
    assert (await client.user_exists(mine), await client.user_exists(other)) == (False, True)


async def test_the_longest_names_in_one_call(proxy: Proxy, client: LiteLLM) -> None:
    """254 characters, each of nine bytes in a query, and a hundred of them: in as many calls as it takes."""
    longest = [owner_id(proxy.id("\u738b" * 240 + f"{number:03}")) for number in range(12)]
    for each in longest:
        await client.create_user(each, NewUser())
    assert set(await client.read_users(longest)) == set(longest)
    assert list(await client.read_users(longest[:1])) == longest[:1]
    assert await client.list_keys(longest[0]) == []
