"""PostgreSQL is killed with SIGKILL, or replaced by its standby: nothing is lost and nothing is done twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import psycopg
import pytest

from standalone.catalog import MEMBERS
from tests.conftest import BASE, BOB, MakeService, Service, keys_path, user_path
from tests.proof.conftest import Cells, at_step
from tests.support.faults import Line
from tests.support.postgresql import Server, server

pytestmark = pytest.mark.postgresql

_MOST_STEPS = 40
CHANGES: dict[str, Callable[[str, str], tuple[str, str, dict[str, Any]]]] = {
    "creation": lambda who, _: ("POST", keys_path(who), {"json": {}, "headers": {"Idempotency-Key": who}}),
    "rotation": lambda who, key: (
        "POST",
        f"{keys_path(who, key)}/regenerate",
        {"json": {}, "headers": {"Idempotency-Key": who}},
    ),
    "off-boarding": lambda who, _: ("DELETE", user_path(who), {}),
}
LEFT = {"creation": 2, "rotation": 1, "off-boarding": 0}
"""How many keys somebody with one key has after each change."""


@pytest.fixture
def primary() -> Iterator[Server]:
    """A server that runs."""
    with server() as made:
        made.initialise()
        made.start()
        yield made


class Crashes:
    """A service whose database is hit in the middle of changes. `received` are the keys whose secret somebody got."""

    def __init__(self, service: Service, later: Callable[[float], None]) -> None:
        self.service, self.later = service, later
        self.received: set[str] = set()
        self.is_over = False

    async def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        response = await self.service.signed_in(BOB).request(method, path, **options)
        if response.status_code == 201:
            self.received.add(response.json()["keyId"])
        return response

    def keys_of(self, who: str) -> set[str]:
        return {key for key, row in self.service.litellm.rows.keys.items() if row["user_id"] == who}

    async def survive(self, change: str, number: int, hit: Callable[[], None], mend: Callable[[], None]) -> list[str]:
        """What is wrong after a change that was hit at one of its steps. `is_over` where it has no such step."""
        who = f"user:default/member-{number}"
        self.service.backstage.org.users[who] = {MEMBERS}
        await self.service.signed_in(who).get(user_path(who))
        key = (await self.ask("POST", keys_path(who))).json()["keyId"]
        method, path, options = CHANGES[change](who, key)
        with at_step(number, hit) as steps:
            first = await self.ask(method, path, **options)
        self.is_over = len(steps) <= number
        if not self.is_over:
            mend()
        self.later(400)
        await self.service.run_background_jobs()
        again = await self.ask(method, path, **options)
        keys = self.keys_of(who)
        checks = {
            f"first {first.status_code}": first.status_code in {200, 201, 503},
            "no Retry-After": first.status_code != 503 or "retry-after" in first.headers,
            f"again {again.status_code}": again.status_code
            in {200, 201} | ({404} if change == "off-boarding" else set()),
            "another answer": first.status_code != 201 or first.json() == again.json(),
            f"{len(keys)} keys": len(keys) == LEFT[change],
            "a key that nobody received": keys <= self.received,
        }
        return [what for what, holds in checks.items() if not holds]

    async def open_events(self) -> list[Any]:
        """Those without an outcome."""
        events = (await self.ask("GET", f"{BASE}/audit", params={"limit": 100})).json()["events"]
        return [event for event in events if event["outcome"] is None]


@pytest.mark.parametrize("change", CHANGES)
async def test_postgresql_is_killed(
    make_service: MakeService, later: Callable[[float], None], primary: Server, change: str, cells: Cells
) -> None:
    """Before each transaction begins and before each commits: a 503, and what is asked again happens once."""
    crashes = Crashes(make_service(database_url=primary.url, creates_per_minute=100_000), later)
    for number in range(_MOST_STEPS):
        cells.record(f"{change} {number}", await crashes.survive(change, number, primary.kill, primary.start))
        if crashes.is_over:
            break
    assert cells.failed == {}
    assert crashes.is_over
    assert await crashes.open_events() == []


@pytest.mark.parametrize("change", CHANGES)
async def test_the_standby_takes_over(
    make_service: MakeService, later: Callable[[float], None], primary: Server, change: str, cells: Cells
) -> None:
    """A synchronous one, which takes the primary's address over: what was committed is there, and we do not restart."""
    line = Line("127.0.0.1", primary.port)
    await line.mend()
    with server() as standby:
        with psycopg.connect(primary.url.replace("+psycopg", ""), autocommit=True) as connection:
            standby.copy(primary)
            standby.start()
            connection.execute("alter system set synchronous_standby_names = '*'")
            connection.execute("select pg_reload_conf()")
        url = primary.url.replace(str(primary.port), str(line.local_port))
        crashes = Crashes(make_service(database_url=url, creates_per_minute=100_000), later)

        def fail_over() -> None:
            primary.kill()
            standby.promote()
            line.port = standby.port

        cells.record(change, await crashes.survive(change, 3, fail_over, lambda: None))
        assert cells.failed == {}
        assert not crashes.is_over
        assert await crashes.open_events() == []
        with psycopg.connect(standby.url.replace("+psycopg", "")) as connection:
            row = connection.execute("select count(*) from change").fetchone()
        assert row is not None
        assert row[0] > 0
    line.cut()
