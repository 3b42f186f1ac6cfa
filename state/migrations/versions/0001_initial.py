"""The initial schema: leases, cleanup runs, off-boardings, changes, kept answers, revocations, reported keys, rates."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TABLES = ("lease", "cleanup_run", "offboarding", "change", "kept_answer", "key_revocation", "reported_key", "rate")
# A change can be ended once and never changes afterwards; what was intended never changes at all.
_FROZEN = "OLD.outcome IS NOT NULL OR " + " OR ".join(
    f"OLD.{column} <> NEW.{column}" for column in ("operation", "actor", "action", "started_at")
)
_REFUSAL = "the audit log is append-only"


def upgrade() -> None:
    """Creates the tables. The cleanup is due at once."""
    lease = op.create_table(
        "lease",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, nullable=True),
        sa.Column("expires_at", sa.Float, nullable=False),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("next_run_at", sa.Float, nullable=True),
    )
    op.bulk_insert(lease, [{"name": "cleanup", "owner": None, "expires_at": 0, "fence": 0, "next_run_at": None}])
    op.create_table(
        "cleanup_run",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("trigger", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("fence", sa.BigInteger, nullable=True),
        sa.Column("started_at", sa.Float, nullable=False),
        sa.Column("finished_at", sa.Float, nullable=True),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("plan_hash", sa.Text, nullable=True),
        sa.Column("accepted_members", sa.Integer, nullable=True),
        sa.Column("accepted_admins", sa.Integer, nullable=True),
        sa.Column("report", sa.JSON, nullable=True),
    )
    op.create_index("ix_cleanup_run_plan_hash", "cleanup_run", ["plan_hash"])
    op.create_table(
        "offboarding",
        sa.Column("user_id", sa.Text, primary_key=True),
        sa.Column("since", sa.Float, nullable=False),
        sa.Column("confirmed", sa.Boolean, nullable=False),
        sa.Column("blocked_keys", sa.JSON, nullable=False),
    )
    _create_change()
    op.create_table(
        "kept_answer",
        sa.Column("request_name", sa.Text, primary_key=True),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("kept_at", sa.Float, nullable=False),
        sa.Column("resource_id", sa.Text, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
    )
    op.create_index("ix_kept_answer_kept_at", "kept_answer", ["kept_at"])
    op.create_table(
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
    op.create_table(
        "reported_key",
        sa.Column("key_id", sa.Text, primary_key=True),
        sa.Column("at", sa.Float, nullable=False),
    )
    op.create_table(
        "rate",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("full_again_at", sa.Float, nullable=False),
    )


def _create_change() -> None:
    op.create_table(
        "change",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("operation", sa.Text, nullable=False, unique=True),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("via", sa.Text, nullable=True),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=True),
        sa.Column("key_id", sa.Text, nullable=True),
        sa.Column("request_id", sa.Text, nullable=True),
        sa.Column("requested", sa.JSON, nullable=True),
        sa.Column("started_at", sa.Float, nullable=False),
        sa.Column("lock", sa.Text, nullable=True),
        sa.Column("request_name", sa.Text, nullable=True),
        sa.Column("fingerprint", sa.Text, nullable=True),
        sa.Column("holder", sa.Text, nullable=True),
        sa.Column("lease_until", sa.Float, nullable=True),
        sa.Column("outcome", sa.Text, nullable=True),
        sa.Column("before", sa.JSON, nullable=True),
        sa.Column("after", sa.JSON, nullable=True),
        sa.Column("detail", sa.Text, nullable=True),
        sa.Column("ended_at", sa.Float, nullable=True),
    )
    for column in ("actor", "target"):
        op.create_index(f"ix_change_{column}", "change", [column, "id"])
    op.create_index("ix_change_started_at", "change", ["started_at"])
    is_held, is_open = sa.text("holder IS NOT NULL"), sa.text("outcome IS NULL")
    for column in ("lock", "request_name"):
        op.create_index(
            f"ux_change_held_{column}", "change", [column], unique=True, sqlite_where=is_held, postgresql_where=is_held
        )
        op.create_index(f"ix_change_open_{column}", "change", [column], sqlite_where=is_open, postgresql_where=is_open)
    op.create_index("ix_change_open", "change", ["id"], sqlite_where=is_open, postgresql_where=is_open)
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION change_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION '{_REFUSAL}'; END $$"
        )
        refuse = "EXECUTE FUNCTION change_is_append_only()"
    else:
        refuse = f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
    op.execute(f"CREATE TRIGGER change_is_append_only BEFORE UPDATE ON change FOR EACH ROW WHEN ({_FROZEN}) {refuse}")


def downgrade() -> None:
    """Drops the tables."""
    for table in reversed(_TABLES):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION change_is_append_only()")
