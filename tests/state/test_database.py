"""The SQLite file: who may read it, and who waits for whom."""

from __future__ import annotations

import asyncio
import io
import json
import sqlite3
import stat
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from alembic.config import Config
from alembic.script import ScriptDirectory

from state.database import REVISION, Database, DatabaseUnavailableError
from tests.conftest import BASE, BOB, MakeService, keys_path
from tests.support.processes import ROOT


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def modes(folder: Path) -> dict[str, int]:
    return {path.name: mode(path) for path in folder.iterdir()}


def open_to_others(folder: Path) -> None:
    for path in folder.iterdir():
        path.chmod(0o664)


def test_the_newest_migration_is_known_without_alembic() -> None:
    """It is loaded only to migrate."""
    config = Config()
    config.set_main_option("script_location", str(ROOT / "state" / "migrations"))
    assert ScriptDirectory.from_config(config).get_current_head() == REVISION


async def test_only_the_owner_may_read_the_file(tmp_path: Path) -> None:
    """Nor may anybody else look into a folder that this service creates."""
    folder = tmp_path / "state"
    database = Database(f"sqlite+aiosqlite:///{folder}/state.sqlite3")
    await database.migrate()
    async with database.transaction() as connection:
        await connection.execute(sa.text("update lease set fence = 1"))
        files = modes(folder)
    await database.aclose()
    assert mode(folder) == 0o700
    assert set(files) == {"state.sqlite3", "state.sqlite3-wal", "state.sqlite3-shm"}
    assert set(files.values()) == {0o600}


async def test_a_file_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    """At the start, with what SQLite keeps beside it and an earlier process left there."""
    file = tmp_path / "state.sqlite3"
    earlier = Database(f"sqlite+aiosqlite:///{file}")
    await earlier.migrate()
    async with earlier.transaction() as connection:
        await connection.execute(sa.text("update lease set fence = 1"))
    open_to_others(tmp_path)
    database = Database(f"sqlite+aiosqlite:///{file}")
    await database.migrate()
    assert modes(tmp_path) == dict.fromkeys(["state.sqlite3", "state.sqlite3-wal", "state.sqlite3-shm"], 0o600)
    async with database.reading() as connection:
        assert (await connection.execute(sa.text("select fence from lease"))).scalar_one() == 1
    await database.aclose()
    await earlier.aclose()


async def test_a_file_of_somebody_else_is_used_with_a_warning(
    tmp_path: Path, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who shares it by its group knows of it, and only its owner can change the mode."""

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    (tmp_path / "state.sqlite3").touch(0o660)
    (tmp_path / "state.sqlite3").chmod(0o660)
    monkeypatch.setattr("os.chmod", refuse)
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/state.sqlite3")
    assert await database.is_ready()
    await database.aclose()
    (line,) = [json.loads(line) for line in log.getvalue().splitlines()]
    assert (line["level"], line["file"]) == ("warning", str(tmp_path / "state.sqlite3"))


async def test_a_commit_survives_a_power_failure(tmp_path: Path) -> None:
    """In WAL mode only `synchronous=FULL` (2) promises that, and an intent must not be lost."""
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/state.sqlite3")
    async with database.reading() as connection:
        journal = (await connection.execute(sa.text("pragma journal_mode"))).scalar_one()
        synchronous = (await connection.execute(sa.text("pragma synchronous"))).scalar_one()
    await database.aclose()
    assert (journal, synchronous) == ("wal", 2)


async def test_processes_that_start_together_share_a_new_file(tmp_path: Path) -> None:
    """Twenty times over, because SQLite refuses only some of those that change a file's mode at the same moment."""
    for name in map(str, range(20)):
        together = [Database(f"sqlite+aiosqlite:///{tmp_path}/{name}.sqlite3") for _ in range(5)]
        await asyncio.gather(*(database.migrate() for database in together))
        for database in together:
            assert await database.is_ready() is True
            await database.aclose()


async def test_reads_do_not_wait_for_a_writer(make_service: MakeService, tmp_path: Path) -> None:
    """While another process holds the write lock, the audit log and the cleanup's report are read at once."""
    bob = make_service().signed_in(BOB)
    assert (await bob.post(keys_path(BOB))).status_code == 201
    writer = sqlite3.connect(tmp_path / "state.sqlite3", isolation_level=None)
    writer.execute("begin immediate")
    async with asyncio.timeout(10):
        answers: list[httpx.Response] = [await bob.get(f"{BASE}/{path}") for path in ("audit", "cleanup")]
    writer.execute("rollback")
    writer.close()
    assert [answer.status_code for answer in answers] == [200, 200]


async def test_a_reading_transaction_writes_nothing(tmp_path: Path) -> None:
    """What it would change is rolled back."""
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/state.sqlite3")
    async with database.reading() as connection:
        await connection.execute(sa.text("update lease set fence = 7"))
    async with database.reading() as connection:
        assert (await connection.execute(sa.text("select fence from lease"))).scalar_one() == 0
    await database.aclose()


async def test_a_folder_that_does_not_exist_far_up_is_not_created(tmp_path: Path) -> None:
    """A wrong path is an error, and leaves nothing behind."""
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/nowhere/at/all.sqlite3")
    with pytest.raises(DatabaseUnavailableError):
        await database.migrate()
    await database.aclose()
    assert not (tmp_path / "nowhere").exists()


async def test_it_closes_once_nobody_uses_it(tmp_path: Path) -> None:
    """What was cancelled gives its connection back first; closed beneath it, SQLite's driver waits for ever."""
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/state.sqlite3")
    await database.migrate()
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def use() -> object:
        async with database.reading() as connection:
            begun.set()
            await go_on.wait()
            return (await connection.execute(sa.text("select 1"))).scalar_one()

    user = asyncio.create_task(use())
    await begun.wait()
    closing = asyncio.create_task(database.aclose())
    for _ in range(1000):
        await asyncio.sleep(0)
    assert not closing.done()
    go_on.set()
    assert await user == 1
    await closing
    assert database.connections_in_use == 0
