"""`make bench-plot`: how costs grow with keys, users, audit events, exchanges, connections and workers.

Writes `bench/growth.json`, the table in `docs/performance.md`, and a picture of each kind of growth.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import click
import pygal
import sqlalchemy as sa

from bench.document import replace_table
from bench.load import Request, load
from bench.postgresql import database_url
from bench.processes import BASE, ROOT, SOFTWARE, Bench, bench
from domain.actions import Action, AuditFilters
from domain.due import Kind
from standalone.catalog import ADMINS
from state.changes import ChangeTable
from state.database import Database
from state.due import DueQueue
from state.events import Events
from state.kept_answers import KeptAnswers
from state.rates import Rates
from state.short_keys import ShortKeys
from state.tables import change

_RESULTS, _PLOTS = ROOT / "bench" / "growth.json", ROOT / "docs" / "performance"
_REPEATED = 20
_USERS = 1000
_FIRST_EVENT = 1.7e9
_SOURCE, _RUN = "workload:bench", "run-1"
_AT_ONCE = 100_000


@dataclass(frozen=True)
class Point:
    """What one series measured at one size."""

    series: str
    unit: str
    size: int
    value: float


async def milliseconds(call: Callable[[], Awaitable[object]]) -> float:
    """The median time of a call that was made before."""
    await call()
    took = []
    for _ in range(_REPEATED):
        started = time.perf_counter()
        await call()
        took.append((time.perf_counter() - started) * 1000)
    return statistics.median(took)


async def connections(run: Bench, workers: int) -> list[Point]:
    """Requests a second that list 10 keys, over 1 to 512 connections."""
    caller = ("user:default/u10", run.token("user:default/u10"))
    request = Request("GET", f"{BASE}/users/$ID/keys", [caller], 200)
    points = []
    for count in (1, 4, 16, 64, 256, 512):
        measured = await load(run.services["PostgreSQL"].origin, request, connections=count, seconds=3)
        points += [
            Point(f"list 10 keys, {workers} worker(s)", "requests/s", count, measured.rate),
            Point(f"list 10 keys, {workers} worker(s), p99", "ms", count, measured.p99),
        ]
    return points


async def keys(run: Bench) -> list[Point]:
    """The time of a request that lists 1 to 5000 keys."""
    points = []
    for count in (1, 10, 100, 1000, 5000):
        caller = (f"user:default/u{count}", run.token(f"user:default/u{count}"))
        request = Request("GET", f"{BASE}/users/$ID/keys", [caller], 200)
        measured = await load(run.services["PostgreSQL"].origin, request, connections=1, seconds=3)
        points.append(Point("list all keys of a user", "ms", count, measured.p50))
    return points


async def users(run: Bench, databases: dict[str, str]) -> list[Point]:
    """The time of a page of 50 users, and of a search that finds nobody, with 100 to 100 000 users in the directory."""
    points = []
    admin = [("user:default/boss", run.token("user:default/boss", ADMINS))]
    for name, url in databases.items():
        async with aclosing(Database(url)) as database:
            for count in (100, 1000, 10_000, 100_000):
                await fill_directory(database, count)
                for series, path in (("page of 50 users", "users?limit=50"), ("search in vain", "users?query=zz")):
                    request = Request("GET", f"{BASE}/{path}", admin, 200)
                    measured = await load(run.services[name].origin, request, connections=1, seconds=2)
                    points.append(Point(f"{series}, {name}", "ms", count, measured.p50))
    return points


async def events(databases: dict[str, str], most: int) -> list[Point]:
    """The time of a page of the audit log with each filter, and of looking for interrupted changes."""
    points = []
    for name, url in databases.items():
        async with aclosing(Database(url)) as database:
            for count in (size for size in (1000, 10_000, 100_000, 1_000_000, 5_000_000) if size <= most):
                await _fill_audit_log(database, count)
                took = await _audit_times(database)
                points += [Point(f"{series}, {name}", "ms", count, value) for series, value in took.items()]
    return points


async def _audit_times(database: Database) -> dict[str, float]:
    table = ChangeTable(database, KeptAnswers(database), Rates(database))
    events, queue = Events(database), DueQueue(database)
    someone, other = "user:default/u7", "user:default/u49"
    filters = {
        "none": AuditFilters(),
        "actor": AuditFilters(actor=someone),
        "target": AuditFilters(target=other),
        "action": AuditFilters(action=Action.KEY_REPORT),
        "action that never happened": AuditFilters(action=Action.USER_RESTORE),
        "actor, action that never happened": AuditFilters(actor=someone, action=Action.USER_RESTORE),
        "actor, target": AuditFilters(actor=someone, target=other),
        "oldest 500 s": AuditFilters(since=_FIRST_EVENT, until=_FIRST_EVENT + 500),
        "concerning a member": AuditFilters(concerning=someone),
    }
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        f"audit log, filter: {name}": partial(events.page, chosen, 51) for name, chosen in filters.items()
    }
    calls["reconciliation"] = partial(queue.schedule_found, Kind.RECONCILIATION, table.interrupted(older_than=300))
    return {name: await milliseconds(call) for name, call in calls.items()}


async def exchanges(databases: dict[str, str]) -> list[Point]:
    """The time of what is asked about a rule before each key, and about 500 keys for usage, after many of its keys."""
    points = []
    for name, url in databases.items():
        async with aclosing(Database(url)) as database:
            short_keys = ShortKeys(database, DueQueue(database), KeptAnswers(database))
            for count in (1000, 10_000, 100_000, 1_000_000):
                rule = {"actor": f"'{_SOURCE}'", "action": f"'{Action.KEY_MINT}'", "target": f"'{SOFTWARE}'"}
                await _fill_with_changes(database, count, "mint", **rule)
                if name == "PostgreSQL":  # as it does by itself
                    await _analyze(database)
                room = partial(_room, database, short_keys)
                asked = partial(Events(database).sources_of, [f"key {number}" for number in range(1, 501)])
                points += [
                    Point(f"exchange: room for a key, {name}", "ms", count, await milliseconds(room)),
                    Point(f"exchange: rules of 500 keys, {name}", "ms", count, await milliseconds(asked)),
                ]
    return points


async def _room(database: Database, short_keys: ShortKeys) -> None:
    async with database.reading() as connection:
        await short_keys.room(connection, _SOURCE, SOFTWARE, token=_RUN, most_of_token=2)


async def fill_directory(database: Database, count: int) -> None:
    """So many users and no others, as a sweep found them."""
    async with database.transaction() as connection:
        await connection.execute(sa.text("delete from directory_user"))
        await connection.execute(sa.text("update directory_sweep set swept_at = 1"))
        name = "'user:default/n' || substr(1000000 + n, 2)"
        if connection.dialect.name == "postgresql":
            name = "'user:default/n' || substr((1000000 + n)::text, 2)"
        await connection.execute(
            sa.text(
                f"{_numbers(1, count)} insert into directory_user (user_id, searched, is_over_budget, sweep) "  # noqa: S608  # all ours
                f"select {name}, {name}, false, 1 from numbers"
            )
        )
    await _analyze(database)


async def _fill_audit_log(database: Database, count: int) -> None:
    actions = ["key.create", "key.delete", "key.update", "user.create", "key.report"]
    choice = " ".join(f"when {number} then '{action}'" for number, action in enumerate(actions))
    await _fill_with_changes(
        database,
        count,
        "op",
        actor=f"'user:default/u' || n % {_USERS}",
        action=f"case n % {len(actions)} {choice} end",
        target=f"'user:default/u' || n * 7 % {_USERS}",
    )
    await _analyze(database)


async def _fill_with_changes(
    database: Database, count: int, name: str, *, actor: str, action: str, target: str
) -> None:
    """So many changes whose operations begin with `name`; the rest is SQL about their number `n`."""
    known = sa.select(sa.func.count()).where(change.c.operation.startswith(name))
    async with database.reading() as connection:
        present: int = (await connection.execute(known)).scalar_one()
    # In parts: a statement has some seconds.
    for first in range(present + 1, count + 1, _AT_ONCE):
        async with database.transaction() as connection:
            await connection.execute(
                sa.text(
                    f"{_numbers(first, min(count, first + _AT_ONCE - 1))} insert into change "  # noqa: S608  # all ours
                    "(operation, actor, action, target, started_at, outcome, ended_at, key_id) "
                    f"select '{name}' || n, {actor}, {action}, {target}, {_FIRST_EVENT} + n, 'done', "
                    f"{_FIRST_EVENT} + n, 'key ' || n from numbers"
                )
            )


def _numbers(first: int, last: int) -> str:
    return f"with recursive numbers(n) as (select {first} union all select n + 1 from numbers where n < {last})"  # noqa: S608  # all ours


async def _analyze(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute(sa.text("analyze"))


def table(points: Sequence[Point]) -> str:
    """A row for each series, with its sizes and values."""
    series: dict[tuple[str, str], list[Point]] = {}
    for point in points:
        series.setdefault((point.series, point.unit), []).append(point)
    lines = ["| what | unit | size: value |", "|---|---|---|"]
    for (name, unit), row in series.items():
        lines.append(f"| {name} | {unit} | {', '.join(f'{p.size:,}: {p.value:.3g}' for p in row)} |")
    return "\n".join(lines)


def plot(points: Sequence[Point]) -> None:
    """One picture for each kind of size."""
    starts = {
        "connections": ("list 10",),
        "keys": ("list all",),
        "users": ("page", "search"),
        "events": ("audit", "rec"),
        "exchanges": ("exchange",),
    }
    for title, start in starts.items():
        chart = pygal.XY(title=f"Growth with {title}", logarithmic=True, x_title=title, width=1000)
        chosen = [point for point in points if point.series.startswith(start)]
        for name in dict.fromkeys(point.series for point in chosen):
            chart.add(name, [(point.size, point.value) for point in chosen if point.series == name])
        chart.render_to_file(str(_PLOTS / f"{title}.svg"))


async def measure(most_events: int) -> list[Point]:
    """Everything."""
    points: list[Point] = []
    with tempfile.TemporaryDirectory() as folder:
        databases = {"SQLite": f"sqlite+aiosqlite:///{folder}/state.sqlite3", "PostgreSQL": database_url("growth")}
        async with bench(databases, Path(folder)) as run:
            points += await connections(run, 1)
            points += await keys(run)
            points += await users(run, databases)
        async with bench({"PostgreSQL": databases["PostgreSQL"]}, Path(folder), workers=2) as run:
            points += await connections(run, 2)
        points += await events(databases, most_events)
        points += await exchanges(databases)
    return points


@click.command()
@click.option("--events", "most_events", default=5_000_000, show_default=True, help="The largest audit log.")
def main(most_events: int) -> None:
    """Measure, and write the results and the pictures."""
    points = asyncio.run(measure(most_events))
    _RESULTS.write_text(json.dumps([asdict(point) for point in points], indent=1) + "\n")
    _PLOTS.mkdir(exist_ok=True)
    plot(points)
    replace_table("make bench-plot", table(points))
    print(table(points))


if __name__ == "__main__":
    main()
