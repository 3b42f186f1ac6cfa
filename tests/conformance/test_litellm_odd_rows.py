"""Rows that somebody has written into LiteLLM's own tables: what it answers then, and what this service makes of it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import httpx
import psycopg
import pytest
from psycopg.sql import SQL, Identifier, Literal

from clients.litellm.odd import KEYS, USERS
from settings.model import LiteLLMSettings, Timeouts
from tests.conformance.conftest import Proxy, litellm_database
from tests.conftest import BASE, BOB, MakeService, keys_path, user_path

ID = {KEYS: "token", USERS: "user_id"}
LATE = "12000-01-01T00:00:00"
VALUES: dict[str, list[str | None]] = {
    "text": [None, "5", "{}"],
    "jsonb": [None, "5", '"text"', "[]", "{}", "null", '{"n": 100000000000000000000000}'],
    "ARRAY": [None, "{}", "{a,NULL}"],
    "timestamp without time zone": [None, LATE, "infinity", "0044-01-01 BC"],
    "double precision": [None, "NaN", "-1", "1e300"],
    "bigint": [None, "-1", "9223372036854775807"],
    "integer": [None, "-1"],
    "boolean": [None, "true", "false"],
}
"""What PostgreSQL's types let in, beside what LiteLLM writes."""


@dataclass
class Written:
    """A user with two keys, the first of which somebody writes to; and another user."""

    user_id: str
    other_id: str
    tokens: list[str]
    write: Callable[[str, str, str | None], bool]
    """Writes a value into a column of the user's or the first key's row. Whether the table lets it in."""
    restore: Callable[[], None]


@pytest.fixture
async def written(proxy: Proxy) -> AsyncIterator[Written]:
    """On the real one, by SQL; the rows are as before in the end, because LiteLLM could not delete them otherwise."""
    user_id, other_id = await proxy.user("odd"), await proxy.user("other")
    tokens = [(await proxy.key(user_id))["token"] for _ in range(2)]
    ids = {KEYS: tokens[0], USERS: user_id}
    if (stand_in := proxy.stand_in) is not None:
        rows = {KEYS: stand_in.rows.keys[tokens[0]], USERS: stand_in.rows.users[user_id]}
        before = {table: dict(row) for table, row in rows.items()}

        def write(table: str, column: str, value: str | None) -> bool:
            rows[table][column] = value
            return True

        def restore() -> None:
            for table, row in rows.items():
                row.update(before[table])

        yield Written(user_id, other_id, tokens, write, restore)
        restore()
        return
    with psycopg.connect(litellm_database(), autocommit=True) as connection:
        for table, column in ID.items():
            save = SQL("create temp table {} as select * from {} where {} = {}")
            names = map(Identifier, (f"saved_{table}", table, column))
            connection.execute(save.format(*names, Literal(ids[table])))
        changed: set[tuple[str, str]] = set()

        def write_by_sql(table: str, column: str, value: str | None) -> bool:
            update = SQL("update {} set {} = %s where {} = %s")
            try:
                connection.execute(update.format(*map(Identifier, (table, column, ID[table]))), [value, ids[table]])
            except psycopg.Error:
                return False
            changed.add((table, column))
            return True

        def restore_by_sql() -> None:
            for table, column in changed:
                update = SQL("update {} set {} = (select {} from {}) where {} = %s")
                names = map(Identifier, (table, column, column, f"saved_{table}", ID[table]))
                connection.execute(update.format(*names), [ids[table]])
            changed.clear()

        yield Written(user_id, other_id, tokens, write_by_sql, restore_by_sql)
        restore_by_sql()


async def test_rows_that_are_older_than_the_column_for_their_time(proxy: Proxy, written: Written) -> None:
    """LiteLLM shows them with a null."""
    for table in (KEYS, USERS):
        assert written.write(table, "created_at", None)
    keys = (await proxy.get("/key/list", user_id=written.user_id, return_full_object="true", size=100)).json()["keys"]
    users = (await proxy.get("/user/list", user_ids=f"{written.user_id},{written.user_id}")).json()["users"]
    assert {row["token"]: row["created_at"] is None for row in keys} == dict(
        zip(written.tokens, (True, False), strict=True)
    )
    assert [row["created_at"] for row in users] == [None]


async def test_a_list_of_keys_with_a_row_that_litellm_cannot_read(proxy: Proxy, written: Written) -> None:
    """Each page with it is a 500; the others, and the page behind the last one, are shown."""
    assert written.write(KEYS, "budget_reset_at", LATE)
    pages = {}
    for page, size in ((1, 100), (1, 1), (2, 1), (1_000_000, 100)):
        query: dict[str, str | int] = {"user_id": written.user_id, "sort_by": "token", "page": page, "size": size}
        answer = await proxy.get("/key/list", return_full_object="true", **query)
        pages[page, size] = (answer.status_code, [row["token"] for row in answer.json().get("keys", [])])
    assert (pages.pop((1, 100)), pages.pop((1_000_000, 100))) == ((500, []), (200, []))
    assert sorted(pages.values()) == [(200, written.tokens[1:]), (500, [])]


async def test_a_list_of_users_with_a_row_that_litellm_cannot_read(proxy: Proxy, written: Written) -> None:
    """Likewise; the page behind the last one tells how many of the asked ones there are."""
    proxy.http.headers["Connection"] = "close"  # LiteLLM drops the connection of such an answer
    assert written.write(USERS, "created_at", LATE)
    both = f"{written.user_id},{written.other_id}"
    statuses = [
        (await proxy.get("/user/list", user_ids=ids)).status_code
        for ids in (both, f"{written.user_id},{written.user_id}", f"{written.other_id},{written.other_id}")
    ]
    behind = await proxy.get("/user/list", user_ids=both, page=1_000_000, page_size=100)
    assert (statuses, behind.status_code, behind.json()["users"], behind.json()["total"]) == (
        [500, 500, 200],
        200,
        [],
        2,
    )
    assert (await proxy.get("/v2/user/info", user_id=written.user_id)).status_code == 500


@pytest.fixture
def bob(make_service: MakeService) -> httpx.AsyncClient:
    """An admin of the service on the real LiteLLM."""
    address = LiteLLMSettings(os.environ["LITELLM_URL"], os.environ["LITELLM_MASTER_KEY"])
    patient = Timeouts(read=60, deadline=60)
    return make_service(ports={"litellm": None}, litellm=address, timeouts=patient).signed_in(BOB)


@pytest.mark.live
@pytest.mark.parametrize("is_real", [True])
@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("table", [KEYS, USERS])
async def test_what_the_tables_let_in_spoils_no_list(
    bob: httpx.AsyncClient, written: Written, table: str, kind: str
) -> None:
    """Every column of this type, with every value: 200, within the contract, and all other rows as they were."""
    with psycopg.connect(litellm_database()) as connection:
        sql = "select column_name from information_schema.columns where table_name = %s and data_type = %s"
        columns = [name for (name,) in connection.execute(sql, [table, kind]) if name not in ("token", "user_id")]
    users, keys = f"{BASE}/users?query={written.user_id.rpartition('-')[0]}", keys_path(written.user_id)
    listed = {row["userId"]: row for row in (await bob.get(users)).json()["users"]}
    shown = {row["token"]: row for row in (await bob.get(keys)).json()["keys"]}
    assert (set(listed), set(shown)) == ({written.user_id, written.other_id}, set(written.tokens))
    tried = 0
    for column in columns:
        for value in VALUES[kind]:
            if not written.write(table, column, value):
                continue
            tried += 1
            answers = [await bob.get(path) for path in (users, keys, user_path(written.user_id))]
            assert [answer.status_code for answer in answers] == [200, 200, 200], (column, value)
            now = {row["userId"]: row for row in answers[0].json()["users"]}
            assert (set(now), now[written.other_id]) == (set(listed), listed[written.other_id]), (column, value)
            rest = {row["token"]: row for row in answers[1].json()["keys"]}
            assert rest[written.tokens[1]] == shown[written.tokens[1]], (column, value)
            assert table == KEYS or rest == shown, (column, value)
            written.restore()
    assert tried >= len(columns)
