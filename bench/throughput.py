"""`make bench`: each operation on the service, beside the bare pass-through over the same stub, in alternating rounds.

Writes `bench/results.json` and the table in `docs/performance.md`.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from bench.document import replace_table
from bench.load import Measured, Request, load
from bench.postgresql import database_url
from bench.processes import BASE, MANAGER, ROOT, SOFTWARE, Bench, Server, bench
from standalone.catalog import ADMINS

_RESULTS, _BUDGET = ROOT / "bench" / "results.json", ROOT / "bench" / "budget.json"
_SECONDS, _ROUNDS = 3.0, 3
_CALLERS = 16
_CALLS_OF_A_CREATION, _CALLS_WITH_AN_ALIAS, _CALLS_OF_A_ROTATION = 1, 2, 5


@dataclass(frozen=True)
class Operation:
    """One row of the table: a request, over a number of connections, on one of the services.

    `forwarded` is what the pass-through asks LiteLLM meanwhile, `calls` how often the service asks LiteLLM.
    """

    name: str
    service: str
    request: Request
    connections: int = 16
    forwarded: str = "/key/list?user_id=user:default/u10&return_full_object=true"
    calls: int = 1


@dataclass(frozen=True)
class Row:
    """Medians of the rounds.

    `ratio` is to the pass-through's requests a second, `spread` its smallest and largest. `own_ms` is the median
    latency without that of the stub, which only says something for one request at a time.
    """

    operation: str
    rate: float
    p50: float
    p99: float
    own_ms: float
    ratio: float
    spread: tuple[float, float]
    p99_ratio: float
    cpu_ms: float


def operations(run: Bench) -> list[Operation]:
    """Everything that is measured. Users of the stub have as many keys as their name says."""
    keys, one_user = f"{BASE}/users/$ID/keys", "/user/list?user_ids=user:default/u10,user:default/u10&page_size=100"
    ten, many = [_caller(run, "u10")], [_caller(run, "u500")]
    sixteen = [_caller(run, f"caller{number:02}") for number in range(_CALLERS)]
    alice, carol = _caller(run, "alice"), ("user:default/carol", run.token("user:default/carol", "group:default/none"))
    admin = [("user:default/boss", run.token("user:default/boss", ADMINS))]
    manager = _caller(run, MANAGER.rpartition("/")[2])
    component, managed = (SOFTWARE, manager[1]), f"{BASE}/users?managedBy=me&kind=component&limit=100"
    rotate = Request("POST", f"{keys}/$KEY/regenerate", sixteen, 201)
    reads = [
        Operation("get user", "SQLite", Request("GET", f"{BASE}/users/$ID", ten, 200), forwarded=one_user),
        Operation("list 10 keys", "SQLite", Request("GET", keys, ten, 200)),
        Operation("list 500 keys", "SQLite", Request("GET", keys, many, 200)),
        Operation("a page of 50 users", "SQLite", Request("GET", f"{BASE}/users?limit=50", admin, 200)),
        Operation("list 10 keys of a component", "SQLite", Request("GET", keys, [component], 200)),
        Operation("100 of a manager's 1000 components", "SQLite", Request("GET", managed, [manager], 200), 1, calls=0),
        Operation("GET /me", "SQLite", Request("GET", f"{BASE}/me", ten, 200)),
        Operation("liveness", "SQLite", Request("GET", "/.backstage/health/v1/liveness", ten, 200)),
        Operation("401", "SQLite", Request("GET", keys, [("user:default/nobody", "-")], 401)),
        Operation("403", "SQLite", Request("GET", keys, [carol], 403)),
        Operation("404", "SQLite", Request("GET", f"{keys}/$KEY/no", [alice], 404)),
    ]
    creations = {
        "create key": (Request("POST", keys, sixteen, 201), _CALLS_OF_A_CREATION),
        "create key with an alias": (
            Request("POST", keys, sixteen, 201, body='{"alias": "laptop"}'),
            _CALLS_WITH_AN_ALIAS,
        ),
        "create key with Idempotency-Key": (Request("POST", keys, sixteen, 201, once=True), _CALLS_OF_A_CREATION),
    }
    writes = [
        Operation(f"{name}, {connections} at once, {service}", service, request, connections, calls=calls)
        for service in run.services
        for connections in (1, _CALLERS)
        for name, (request, calls) in creations.items()
    ]
    # One after the other: two rotations of one key at once are a conflict.
    rotations = [
        Operation(f"rotate key, 1 at once, {service}", service, rotate, 1, calls=_CALLS_OF_A_ROTATION)
        for service in run.services
    ]
    exchange = Request("POST", f"{BASE}/oauth/token", [("", "-")], 200, forms=run.exchanges)
    exchanges = [
        Operation(f"exchange token, {connections} at once, {service}", service, exchange, connections)
        for service in run.services
        for connections in (1, _CALLERS)
    ]
    return reads + writes + rotations + exchanges


def _caller(run: Bench, name: str) -> tuple[str, str]:
    user_id = f"user:default/{name}"
    return user_id, run.token(user_id)


async def measure(run: Bench, operation: Operation, seconds: float, rounds: int) -> Row:
    """Alternates between the pass-through and the service."""
    bare = Request("GET", operation.forwarded, [("", "-")], 200)
    service = run.services[operation.service]
    await load(service.origin, operation.request, connections=operation.connections, seconds=1)
    stub = await load(run.stub.origin, bare, connections=1, seconds=1)
    pairs: list[tuple[Measured, Measured]] = []
    cpu = []
    for _ in range(rounds):
        yardstick = await load(run.pass_through.origin, bare, connections=operation.connections, seconds=seconds)
        measured, cpu_ms = await _measured_with_cpu(service, operation, seconds)
        pairs.append((yardstick, measured))
        cpu.append(cpu_ms)
    return _row(operation, pairs, cpu, stub)


async def _measured_with_cpu(service: Server, operation: Operation, seconds: float) -> tuple[Measured, float]:
    before = service.cpu_seconds()
    measured = await load(service.origin, operation.request, connections=operation.connections, seconds=seconds)
    return measured, (service.cpu_seconds() - before) / (measured.rate * seconds) * 1000


def _row(operation: Operation, pairs: Sequence[tuple[Measured, Measured]], cpu: Sequence[float], stub: Measured) -> Row:
    ratios = [measured.rate / bare.rate for bare, measured in pairs]
    return Row(
        operation=operation.name,
        rate=statistics.median(measured.rate for _, measured in pairs),
        p50=statistics.median(measured.p50 for _, measured in pairs),
        p99=statistics.median(measured.p99 for _, measured in pairs),
        own_ms=statistics.median(measured.p50 for _, measured in pairs) - operation.calls * stub.p50,
        ratio=statistics.median(ratios),
        spread=(min(ratios), max(ratios)),
        p99_ratio=statistics.median(measured.p99 / bare.p99 for bare, measured in pairs),
        cpu_ms=statistics.median(cpu),
    )


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    names = ["operation", "requests/s", "p50 ms", "p99 ms", "own ms", "ratio to pass-through", "p99 ratio", "CPU ms"]
    head = f"| {' | '.join(names)} |\n{'|---' * len(names)}|"
    lines = []
    for row in rows:
        ratio = f"{row.ratio:.2f} ({row.spread[0]:.2f} to {row.spread[1]:.2f})"
        times = f"{row.p50:.1f} | {row.p99:.1f} | {row.own_ms:.1f}"
        lines.append(
            f"| {row.operation} | {row.rate:.0f} | {times} | {ratio} | {row.p99_ratio:.2f} | {row.cpu_ms:.2f} |"
        )
    return "\n".join([head, *lines])


async def run_all(only: str, seconds: float, rounds: int) -> tuple[list[Row], dict[str, dict[str, float]]]:
    """All operations whose name contains `only`, and what each service needs to start and to hold."""
    with tempfile.TemporaryDirectory() as folder:
        databases = {"SQLite": f"sqlite+aiosqlite:///{folder}/state.sqlite3", "PostgreSQL": database_url("bench")}
        async with bench(databases, Path(folder)) as run:
            idle = {name: server.memory_mib() for name, server in run.services.items()}
            rows = []
            for operation in operations(run):
                if only in operation.name:
                    rows.append(await measure(run, operation, seconds, rounds))
                    print(table(rows).splitlines()[-1], flush=True)
            footprint = {
                name: {"start s": server.start_seconds, "idle MiB": idle[name], "after MiB": server.memory_mib()}
                for name, server in run.services.items()
            }
    return rows, footprint


def _exit_code(rows: Sequence[Row]) -> int:
    """1 if an operation is slower than its budget by more than half the spread of its rounds."""
    budget = json.loads(_BUDGET.read_text())
    missed = []
    for row in rows:
        limits, noise = budget.get(row.operation, {}), (row.spread[1] - row.spread[0]) / 2
        if row.ratio + noise < limits.get("ratio", 0):
            missed.append(f"{row.operation}: ratio {row.ratio:.3f}, noise {noise:.3f}, budget {limits['ratio']}")
        if row.p99_ratio > limits.get("p99_ratio", row.p99_ratio) * (1 + noise / row.ratio):
            missed.append(f"{row.operation}: p99 ratio {row.p99_ratio:.2f}, budget {limits['p99_ratio']}")
    print("\n".join(missed) or "within the budget")
    return 1 if missed else 0


@click.command()
@click.option("--only", default="", help="Only operations whose name contains this.")
@click.option("--seconds", default=_SECONDS, show_default=True, help="The length of each measurement.")
@click.option("--rounds", default=_ROUNDS, show_default=True)
@click.option("--check", is_flag=True, help="Compare with bench/budget.json, beyond the noise of this run.")
def main(only: str, seconds: float, rounds: int, *, check: bool) -> None:
    """Measure, and write the results unless only some operations were measured."""
    rows, footprint = asyncio.run(run_all(only, seconds, rounds))
    for name, figures in footprint.items():
        print(name, {what: round(figure, 2) for what, figure in figures.items()})
    if check:
        raise SystemExit(_exit_code(rows))
    if only:
        return
    results = {"rows": [asdict(row) for row in rows], "footprint": footprint}
    _RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    replace_table("make bench", table(rows))


if __name__ == "__main__":
    main()
