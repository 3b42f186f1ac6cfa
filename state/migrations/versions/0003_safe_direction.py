"""What the service needs to fail in the safe direction."""

import secrets
import time
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_REFUSAL = "the audit log is append-only"
_FROZEN_BEFORE = "OLD.outcome IS NOT NULL OR " + " OR ".join(
    f"OLD.{column} <> NEW.{column}" for column in ("operation", "actor", "action", "started_at")
)


def upgrade() -> None:
    """Creates what is new."""
    _create_root()
    _create_due()
    _create_repetition()
    _create_patient_deletions()
    _create_odd_users()
    _create_strangers()
    _create_plan_entries()
    # The last one: it freezes the columns that the table has by now.
    _freeze_changes()


def downgrade() -> None:
    """Drops it."""
    _replace_trigger(_FROZEN_BEFORE)
    _drop_plan_entries()
    _drop_strangers()
    _drop_odd_users()
    _drop_patient_deletions()
    _drop_repetition()
    _drop_due()
    op.drop_table("root")


def _create_root() -> None:
    """The root is drawn here, so that there is one from the start and all replicas read the same."""
    root = op.create_table(
        "root",
        sa.Column("id", sa.Integer, sa.CheckConstraint("id = 1"), primary_key=True),
        sa.Column("secret", sa.LargeBinary, nullable=False),
    )
    op.bulk_insert(root, [{"id": 1, "secret": secrets.token_bytes(32)}])


def _freeze_changes() -> None:
    """An ended change never changes. An open one changes its holder and lease, and what its end says when it ends.

    What is not allowed is refused, so a column that a later migration adds is frozen: in PostgreSQL at once, in SQLite
    if that migration replaces the trigger too.
    """
    lease = {"holder", "lease_until"}
    end = {"outcome", "before", "after", "detail", "ended_at"}
    found_at_the_end = {"key_id", "target"}  # unknown when the change began, and never another
    frozen = [
        "OLD.outcome IS NOT NULL",
        _others_differ(lease | end | found_at_the_end),
        *(f'(OLD."{column}" IS NOT NULL AND {_differs(column)})' for column in sorted(found_at_the_end)),
        f"(NEW.outcome IS NULL AND {_others_differ(lease)})",
    ]
    _replace_trigger(" OR ".join(frozen))


def _differs(column: str) -> str:
    is_not = "IS DISTINCT FROM" if _is_postgresql() else "IS NOT"
    return f'OLD."{column}" {is_not} NEW."{column}"'


def _others_differ(allowed: set[str]) -> str:
    """Whether any column differs that is not in `allowed`."""
    if _is_postgresql():
        names = f"'{{{','.join(sorted(allowed))}}}'::text[]"
        return f"to_jsonb(OLD) - {names} IS DISTINCT FROM to_jsonb(NEW) - {names}"
    columns = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("change")}
    return f"({' OR '.join(map(_differs, sorted(columns - allowed)))})"


def _is_postgresql() -> bool:
    return bool(op.get_bind().dialect.name == "postgresql")


def _replace_trigger(frozen: str) -> None:
    op.execute(f"DROP TRIGGER change_is_append_only{' ON change' if _is_postgresql() else ''}")
    refuse = "EXECUTE FUNCTION change_is_append_only()"
    if not _is_postgresql():
        refuse = f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
    op.execute(f"CREATE TRIGGER change_is_append_only BEFORE UPDATE ON change FOR EACH ROW WHEN ({frozen}) {refuse}")


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


def _create_patient_deletions() -> None:
    op.add_column("offboarding", sa.Column("confirmed_by", sa.Text, nullable=True))
    op.add_column("offboarding", sa.Column("key_count", sa.Integer, nullable=True))
    op.add_column("offboarding", sa.Column("looked_at", sa.Float, nullable=True))
    op.add_column("cleanup_run", sa.Column("newest_key_at", sa.Float, nullable=True))
    op.create_table(
        "cleanup_deletion",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )


def _drop_patient_deletions() -> None:
    op.drop_table("cleanup_deletion")
    op.drop_column("cleanup_run", "newest_key_at")
    for column in ("looked_at", "key_count", "confirmed_by"):
        op.drop_column("offboarding", column)


def _create_odd_users() -> None:
    # Nobody knows when the users of now were first seen; it was not later than this.
    now = sa.Column("first_seen_at", sa.Float, nullable=False, server_default=str(time.time()))
    op.add_column("directory_user", now)
    op.add_column("directory_sweep", sa.Column("nameless", sa.BigInteger, nullable=False, server_default="0"))


def _drop_odd_users() -> None:
    op.drop_column("directory_sweep", "nameless")
    op.drop_column("directory_user", "first_seen_at")


def _create_strangers() -> None:
    # The next sweep fills them.
    op.add_column("directory_user", sa.Column("address", sa.Text, nullable=True))
    op.create_index("ix_directory_user_address", "directory_user", ["address"])
    op.create_table(
        "directory_stranger",
        sa.Column("user_id", sa.Text, primary_key=True),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("sweep", sa.BigInteger, nullable=False),
    )


def _drop_strangers() -> None:
    op.drop_table("directory_stranger")
    op.drop_index("ix_directory_user_address", "directory_user")
    op.drop_column("directory_user", "address")


def _create_plan_entries() -> None:
    # Earlier runs have theirs in `report`.
    op.add_column("cleanup_run", sa.Column("plan_entries", sa.LargeBinary, nullable=True))


def _drop_plan_entries() -> None:
    op.drop_column("cleanup_run", "plan_entries")
