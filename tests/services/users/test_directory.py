"""The directory of users: a sweep sees everybody who stays, and a page costs one call however many there are."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clients.litellm.client import LiteLLM
from clients.upstream import Upstream
from domain.directory import Window
from services.users.sweep import DirectorySweep
from settings.model import DirectorySettings, Timeouts
from standalone.litellm import MASTER_KEY, LiteLLMStandIn
from state.database import Database
from state.directory import Directory
from tests.conftest import ALICE, BASE, BOB, Clock, MakeService, user_path
from tests.support.once import migrated_database
from tests.support.upstreams import Overriding
from tests.support.user_list import listing

USERS = f"{BASE}/users"


def named(number: int) -> str:
    return f"user:default/u{number:06}"


@cache
def row(number: int) -> dict[str, Any]:
    """The same one each time: a sweep reads thousands."""
    return {"user_id": named(number)}


class Table:
    """LiteLLM's table of users, which changes between two pages of a sweep."""

    def __init__(self, numbers: list[int]) -> None:
        self.numbers = sorted(numbers)
        self.changes: list[tuple[list[int], list[int]]] = []
        self.calls = 0
        self.unreadable: set[str] = set()
        transport = httpx.MockTransport(self._answer)
        self._client = LiteLLM(Upstream("LiteLLM", "http://litellm", timeouts=Timeouts(), transport=transport))

    async def users_around(self, index: int) -> Window:
        window = await self._client.users_around(index)
        self.calls += 1
        if self.changes:
            gone, new = self.changes.pop(0)
            self.numbers = sorted(set(self.numbers) - set(gone) | set(new))
        return window

    def _answer(self, request: httpx.Request) -> httpx.Response:
        return listing(self._rows, self.unreadable)(request)

    def _rows(self) -> list[dict[str, Any]]:
        return [row(number) for number in self.numbers]


@pytest.fixture
async def directory(tmp_path: Path, clock: Clock) -> AsyncIterator[Directory]:
    """An empty directory."""
    migrated_database(tmp_path)
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/state.sqlite3", clock)
    yield Directory(database)
    await database.aclose()


def sweeping(directory: Directory, table: Any, **limits: Any) -> DirectorySweep:
    return DirectorySweep(directory=directory, litellm=table, settings=DirectorySettings(**limits), interval=300)


async def known(directory: Directory) -> set[str]:
    return {user_id async for chunk in directory.ids() for user_id in chunk}


@given(index=st.integers(0, 2_000_000))
def test_a_window_contains_the_index_and_more(index: int) -> None:
    """It begins at the index or before, and goes on behind it by at least half a page."""

    def answer(request: httpx.Request) -> httpx.Response:
        seen.update({name: int(request.url.params[name]) for name in ("page", "page_size")})
        return httpx.Response(200, json={"users": [], "total": 0})

    seen: dict[str, int] = {}
    client = LiteLLM(Upstream("LiteLLM", "http://x", timeouts=Timeouts(), transport=httpx.MockTransport(answer)))
    window = asyncio.run(client.users_around(index))
    assert window.start == (seen["page"] - 1) * seen["page_size"]
    assert window.start <= index
    assert window.start + seen["page_size"] - index >= 50
    assert seen["page_size"] <= 100


@pytest.mark.parametrize("users", [0, 1, 50, 51, 99, 100, 101, 1000])
async def test_a_sweep_of_a_table_at_rest(directory: Directory, users: int) -> None:
    """Everybody is known afterwards, with about one call for 87 users."""
    table = Table(list(range(users)))
    await sweeping(directory, table).run()
    assert await known(directory) == {named(number) for number in range(users)}
    assert table.calls <= users // 85 + 1
    assert (await directory.sweep()).swept_at is not None


CHANGES = st.lists(
    st.tuples(st.lists(st.integers(0, 399), max_size=120), st.lists(st.integers(400, 999), max_size=120)), max_size=12
)


@settings(max_examples=60, deadline=None)
@given(changes=CHANGES)
def test_nobody_who_stays_is_missed(changes: list[tuple[list[int], list[int]]]) -> None:
    """Users come and go between the pages, in equal numbers too: who was there all the time is known."""

    async def run(folder: str) -> None:
        migrated_database(Path(folder))
        before = list(range(0, 1000, 2))
        table = Table(before)
        table.changes = list(changes)
        async with aclosing(Database(f"sqlite+aiosqlite:///{folder}/state.sqlite3")) as database:
            directory = Directory(database)
            await sweeping(directory, table).run()
            stayed = set(before) - {number for leaving, _ in changes for number in leaving}
            assert (await directory.sweep()).swept_at is not None
            assert {named(number) for number in stayed} <= await known(directory)
            table.changes = []
            await sweeping(directory, table).run()
            assert await known(directory) == {named(number) for number in table.numbers}

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(folder))


@settings(max_examples=40, deadline=None)
@given(
    users=st.integers(1, 400),
    scattered=st.sets(st.integers(0, 399), max_size=20),
    row=st.builds(range, st.integers(0, 399), st.integers(0, 399)),
)
@example(users=400, scattered=set(), row=range(85, 385))
@example(users=400, scattered={100}, row=range(200))
def test_rows_that_litellm_fails_to_show_stop_no_sweep(users: int, scattered: set[int], row: range) -> None:
    """Wherever and how many they are: all others become known, and those who were known before are not forgotten."""
    odd = scattered | set(row)

    async def run(folder: str) -> None:
        migrated_database(Path(folder))
        table = Table(list(range(users)))
        async with aclosing(Database(f"sqlite+aiosqlite:///{folder}/state.sqlite3")) as database:
            directory = Directory(database)
            table.unreadable = {named(number) for number in odd}
            await sweeping(directory, table).run()
            assert await known(directory) == {named(number) for number in set(range(users)) - odd}
            assert (await directory.sweep()).number == 2
            table.unreadable = set()
            await sweeping(directory, table).run()
            table.unreadable = {named(number) for number in odd}
            await sweeping(directory, table).run()
            assert await known(directory) == {named(number) for number in range(users)}
            assert (await directory.sweep()).number == 4

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(folder))


@pytest.mark.parametrize(("users", "come"), [(300, 60), (190, 0)])
async def test_rows_that_shift_are_read_all_the_same(directory: Directory, users: int, come: int) -> None:
    """60 of the first page go. If 60 come behind, the total does not tell; in a short table the next is the last."""
    table = Table(list(range(users)))
    table.changes = [(list(range(60)), list(range(1000, 1000 + come)))]
    await sweeping(directory, table).run()
    assert {named(number) for number in range(60, users)} <= await known(directory)


async def test_who_left_is_forgotten(directory: Directory) -> None:
    """With the next sweep."""
    table = Table(list(range(300)))
    sweep = sweeping(directory, table)
    await sweep.run()
    table.numbers = table.numbers[::2]
    await sweep.run()
    assert await known(directory) == {named(number) for number in range(0, 300, 2)}


async def test_a_large_table_is_swept_in_parts(directory: Directory, clock: Clock) -> None:
    """A twelfth of the users in each of the twelve runs within an hour: a run goes on where the last one ended."""
    table = Table(list(range(6000)))
    sweep = sweeping(directory, table, full_sweep_users=5000)
    for number in range(12):
        assert (await directory.sweep()).swept_at is None, number
        calls = table.calls
        await sweep.run()
        assert table.calls - calls <= 6
        clock.advance(300)
    assert await directory.count() == 6000
    assert (await directory.sweep()).swept_at == clock() - 12 * 300


async def test_a_replica_sweeps_only_if_no_other_did(directory: Directory, clock: Clock) -> None:
    """Without a cleanup each replica keeps the directory, and all together no more often than one would."""
    table = Table(list(range(10)))
    for _ in range(3):
        await sweeping(directory, table).run_if_due()
    assert table.calls == 1
    clock.advance(299)
    await sweeping(directory, table).run_if_due()
    assert table.calls == 2


async def test_pages_a_run_are_limited(directory: Directory) -> None:
    """`maxPages` counts more than `maxAge`."""
    table = Table(list(range(6000)))
    await sweeping(directory, table, max_age=300, max_pages=3).run()
    assert table.calls == 3


async def test_two_replicas_sweep_together(directory: Directory) -> None:
    """Each page counts once."""
    table = Table(list(range(500)))
    first, second = sweeping(directory, table), sweeping(directory, table)
    await asyncio.gather(first.run(), second.run())
    assert await known(directory) == {named(number) for number in range(500)}
    assert (await directory.sweep()).swept_at is not None


async def test_a_page_of_users_is_one_call(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """However many users there are; a search and a filter too."""
    for number in range(1000):
        litellm.rows.add_user({"user_id": named(number)})
    bob = make_service().signed_in(BOB)
    page = (await bob.get(USERS, params={"limit": 100})).json()
    for query in ({"limit": 100, "cursor": page["nextCursor"]}, {"query": "u00099"}, {"status": "active"}):
        litellm.requests.clear()
        assert (await bob.get(USERS, params=query)).json()["users"]
        assert litellm.requests == ["GET /user/list"], query


async def test_what_is_shown_is_fresh(make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock) -> None:
    """Ids are as old as `sweptAt` says; values are LiteLLM's now, and who is gone is left out."""
    for number in range(3):
        litellm.rows.add_user({"user_id": named(number), "max_budget": 1})
    bob = make_service().signed_in(BOB)
    first = (await bob.get(USERS)).json()
    clock.advance(60)
    litellm.rows.users[named(1)]["spend"] = 2.0
    litellm.rows.users.pop(named(2))
    litellm.rows.add_user({"user_id": named(4)})
    page = (await bob.get(USERS)).json()
    assert [(row["userId"], row["spend"], row["status"]) for row in page["users"]] == [
        (named(0), 0, "active"),
        (named(1), 2.0, "overBudget"),
    ]
    assert page["sweptAt"] == first["sweptAt"] is not None
    active = (await bob.get(USERS, params={"status": "active"})).json()
    assert [row["userId"] for row in active["users"]] == [named(0)]


async def test_our_own_changes_are_known_at_once(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """A user who is created, used for the first time, changed or off-boarded here need not wait for a sweep."""
    service = make_service()
    bob, alice = service.signed_in(BOB), service.signed_in(ALICE)
    assert (await bob.get(USERS)).json()["users"] == []
    await alice.get(user_path(ALICE))
    await bob.post(USERS, json={"userId": BOB})
    assert [row["userId"] for row in (await bob.get(USERS, params={"query": "alice@"})).json()["users"]] == [ALICE]
    await bob.patch(user_path(ALICE), json={"maxBudget": 0})

    async def listed(**query: str) -> list[str]:
        return [row["userId"] for row in (await bob.get(USERS, params=query)).json()["users"]]

    assert await listed() == [ALICE, BOB]
    assert await listed(status="overBudget") == [ALICE]
    await bob.delete(user_path(ALICE))
    litellm.requests.clear()
    assert await listed() == [BOB]


async def test_a_like_pattern_is_taken_literally(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """A percent sign or an underscore in a search is no wildcard."""
    for name in ("a_b", "a.b"):
        litellm.rows.add_user({"user_id": f"user:default/{name}"})
    bob = make_service().signed_in(BOB)
    found = (await bob.get(USERS, params={"query": "a_b"})).json()["users"]
    assert [row["userId"] for row in found] == ["user:default/a_b"]
    assert (await bob.get(USERS, params={"query": "%"})).json()["users"] == []


async def test_an_odd_row_does_not_stop_the_sweep(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """Whatever another tool wrote into it."""
    litellm.rows.add_user({"user_id": ALICE})
    odd = {"user_id": "svc", "spend": "much", "max_budget": [], "user_alias": 5}
    rows = [odd, litellm.rows.users[ALICE]]
    transport = Overriding(httpx.ASGITransport(litellm.app), {"/user/list": listing(lambda: rows)})
    bob = make_service(ports={"litellm": transport}).signed_in(BOB)
    assert [row["userId"] for row in (await bob.get(USERS)).json()["users"]] == [ALICE]


async def test_long_ids_are_split_over_several_calls(litellm: LiteLLMStandIn) -> None:
    """A request line stays below the 8 KiB that proxies accept."""
    longest = [f"user:{'n' * 63}/{number:063}" for number in range(100)]
    for user_id in longest:
        litellm.rows.add_user({"user_id": user_id})
    seen = Overriding(httpx.ASGITransport(litellm.app), {})
    client = LiteLLM(Upstream("LiteLLM", "http://litellm", token=MASTER_KEY, timeouts=Timeouts(), transport=seen))
    assert list(await client.read_users(longest)) == longest
    assert max(len(str(request.url)) for request in seen.seen) < 8000
