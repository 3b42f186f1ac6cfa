"""The audit log, idempotent requests, locks, revocations to come, reported keys and rates."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_APPEND_ONLY = ("audit_intent", "audit_outcome")


def upgrade() -> None:
    """Create them; the audit log refuses to be changed, whoever asks."""
    op.create_table(
        "audit_intent",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("via", sa.Text, nullable=True),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=True),
        sa.Column("key_id", sa.Text, nullable=True),
        sa.Column("request_id", sa.Text, nullable=True),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("before", sa.JSON, nullable=True),
        sa.Column("wanted", sa.JSON, nullable=True),
    )
    op.create_index("ix_audit_intent_actor", "audit_intent", ["actor", "id"])
    op.create_index("ix_audit_intent_target", "audit_intent", ["target", "id"])
    op.create_index("ix_audit_intent_at", "audit_intent", ["at"])
    op.create_table(
        "audit_outcome",
        sa.Column("intent_id", sa.Integer, sa.ForeignKey("audit_intent.id"), primary_key=True, autoincrement=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("key_id", sa.Text, nullable=True),
        sa.Column("after", sa.JSON, nullable=True),
        sa.Column("detail", sa.Text, nullable=True),
    )
    op.create_table(
        "idempotency",
        sa.Column("request", sa.Text, primary_key=True),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("running_until", sa.Float, nullable=True),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("made", sa.Text, nullable=True),
        sa.Column("sealed_answer", sa.LargeBinary, nullable=True),
    )
    op.create_index("ix_idempotency_created_at", "idempotency", ["created_at"])
    op.create_table(
        "lock",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("expires_at", sa.Float, nullable=False),
    )
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
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$"
        )
    for table in _APPEND_ONLY:
        refuse = (
            "EXECUTE FUNCTION audit_is_append_only()"
            if op.get_bind().dialect.name == "postgresql"
            else "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
        )
        op.execute(f"CREATE TRIGGER {table}_is_append_only BEFORE UPDATE ON {table} FOR EACH ROW {refuse}")


def downgrade() -> None:
    """Drop them."""
    for table in ("rate", "reported_key", "key_revocation", "lock", "idempotency", "audit_outcome", "audit_intent"):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION audit_is_append_only()")
