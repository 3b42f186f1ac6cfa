"""What the service needs to fail in the safe direction."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates what is new."""
    _create_due()
    _create_repetition()


def downgrade() -> None:
    """Drops it."""
    _drop_repetition()
    _drop_due()


def _create_due() -> None:
    # One queue for all that has to be done at a time. The marks of leaked keys are reviewed every day from now on.
    due = op.create_table(
        "due",
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("subject", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, nullable=True),
        sa.Column("payload", sa.JSON, nullable=True),
        sa.Column("due_at", sa.Float, nullable=False),
        sa.Column("next_attempt_at", sa.Float, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
    )
    op.create_index("ix_due_owner", "due", ["owner"])
    op.create_index("ix_due_next_attempt_at", "due", ["kind", "next_attempt_at"])
    revocations = op.get_bind().execute(sa.text("select * from key_revocation")).mappings()
    reported = op.get_bind().execute(sa.text("select key_id, at from reported_key")).mappings()
    op.bulk_insert(due, [_revocation(row) for row in revocations] + [_review(row) for row in reported])
    op.drop_table("key_revocation")


def _revocation(row: sa.RowMapping) -> dict[str, Any]:
    times = {name: row[name] for name in ("next_attempt_at", "attempts")} | {"due_at": row["revoke_at"]}
    payload = {"replaced_by": row["replaced_by"]}
    return times | {"kind": "revocation", "subject": row["key_id"], "owner": row["user_id"], "payload": payload}


def _review(row: sa.RowMapping) -> dict[str, Any]:
    tomorrow = row["at"] + 86400
    times = {"due_at": tomorrow, "next_attempt_at": tomorrow, "attempts": 0}
    return times | {"kind": "mark review", "subject": row["key_id"], "owner": None, "payload": None}


def _drop_due() -> None:
    key_revocation = op.create_table(
        "key_revocation",
        sa.Column("key_id", sa.Text, primary_key=True),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("replaced_by", sa.Text, nullable=False),
        sa.Column("revoke_at", sa.Float, nullable=False),
        sa.Column("next_attempt_at", sa.Float, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
    )
    op.create_index("ix_key_revocation_user_id", "key_revocation", ["user_id"])
    op.create_index("ix_key_revocation_next_attempt_at", "key_revocation", ["next_attempt_at"])
    names = ("kind", "subject", "owner", "due_at", "next_attempt_at", "attempts")
    due = sa.table("due", sa.column("payload", sa.JSON), *map(sa.column, names))
    rows = op.get_bind().execute(sa.select(due).where(due.c.kind == "revocation"))
    restored = [
        {
            "key_id": row.subject,
            "user_id": row.owner,
            "replaced_by": row.payload["replaced_by"],
            "revoke_at": row.due_at,
            "next_attempt_at": row.next_attempt_at,
            "attempts": row.attempts,
        }
        for row in rows
    ]
    op.bulk_insert(key_revocation, restored)
    op.drop_table("due")


def _create_repetition() -> None:
    op.create_table(
        "repetition",
        sa.Column("change_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("times", sa.BigInteger, nullable=False),
    )


def _drop_repetition() -> None:
    op.drop_table("repetition")
