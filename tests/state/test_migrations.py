"""The migrations carry over what an older version wrote."""

from __future__ import annotations

from typing import Any

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
    await execute(database, f"insert into key_revocation ({names}) values ({values})", **OLD)  # noqa: S608  # all ours
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
