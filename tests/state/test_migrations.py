"""The migrations carry over what an older version wrote."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from state.database import Database
from state.due import DueQueue
from state.revocations import ReportedKeys, Revocations
from tests.conftest import ALICE, Clock
from tests.support.processes import ROOT

OLD = {"key_id": "old", "user_id": ALICE, "replaced_by": "new", "revoke_at": 7.5, "next_attempt_at": 9.5, "attempts": 3}


async def migrate(database: Database, to: str, *, back: bool = False) -> None:
    """Brings the schema to a revision, as an older version has it."""
    config = Config()
    config.set_main_option("script_location", str(ROOT / "state" / "migrations"))

    def run(connection: sa.Connection) -> None:
        config.attributes["connection"] = connection
        (command.downgrade if back else command.upgrade)(config, to)

    async with database._engine.begin() as connection:
        await connection.run_sync(run)


async def execute(database: Database, statement: str, **values: Any) -> Any:
    async with database._engine.begin() as connection:
        result = await connection.execute(sa.text(statement), values)
        return [dict(row) for row in result.mappings()] if result.returns_rows else None


async def test_planned_revocations_and_marks_are_carried_over(database: Database) -> None:
    """Replaced keys end when they would have, leaked ones stay marked, and the way back keeps both."""
    await migrate(database, "0002")
    names = ", ".join(OLD)
    values = ", ".join(f":{name}" for name in OLD)
    await execute(database, f"insert into key_revocation ({names}) values ({values})", **OLD)  # noqa: S608  # names from here
    await execute(database, "insert into reported_key (key_id, at) values ('leaked', 5)")
    await migrate(database, "head")
    queue = DueQueue(database)
    (revocation,) = await Revocations(queue, Clock()).of_user(ALICE)
    assert (revocation.key_id, revocation.replaced_by, revocation.revoke_at) == ("old", "new", 7.5)
    assert await ReportedKeys(database, queue).among(["leaked"]) == {"leaked"}
    tasks = await execute(database, "select kind, subject, next_attempt_at, attempts from due order by subject")
    assert [tuple(row.values()) for row in tasks] == [
        ("mark review", "leaked", 86405.0, 0),
        ("revocation", "old", 9.5, 3),
    ]
    await migrate(database, "0002", back=True)
    assert await execute(database, "select * from key_revocation") == [OLD]
    assert await execute(database, "select key_id from reported_key") == [{"key_id": "leaked"}]


EVENT = {"operation": "one", "actor": ALICE, "action": "key.create", "started_at": 5.0, "outcome": "done"}


async def test_an_event_of_an_earlier_release_is_left_as_it_is(database: Database) -> None:
    """It names no version of a key, cannot be changed before or after, and the way back keeps it."""
    await migrate(database, "0003")
    names = ", ".join(EVENT)
    values = ", ".join(f":{name}" for name in EVENT)
    await execute(database, f"insert into change ({names}) values ({values})", **EVENT)  # noqa: S608  # names from here
    for revision, back in (("0004", False), ("0003", True), ("0004", False)):
        await migrate(database, revision, back=back)
        with pytest.raises(sa.exc.DBAPIError, match="append-only"):
            await execute(database, "update change set key_id = 'another'")
        assert await execute(database, f"select {names} from change") == [EVENT]  # noqa: S608  # names from here
    assert await execute(database, "select key_stable_id, key_version from change") == [
        {"key_stable_id": None, "key_version": None}
    ]


async def test_the_way_back_keeps_what_an_open_change_may_say(database: Database) -> None:
    """As the release before had it: nothing on its way, and its key at its end."""
    await migrate(database, "0004")
    await migrate(database, "0003", back=True)
    names = ", ".join(name for name in EVENT if name != "outcome")
    values = ", ".join(f":{name}" for name in EVENT if name != "outcome")
    known = {name: value for name, value in EVENT.items() if name != "outcome"}
    await execute(database, f"insert into change ({names}) values ({values})", **known)  # noqa: S608  # names from here
    with pytest.raises(sa.exc.DBAPIError, match="append-only"):
        await execute(database, "update change set key_id = 'a'")
    await execute(database, "update change set key_id = 'a', outcome = 'done'")
