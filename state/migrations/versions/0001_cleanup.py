"""Leases, runs of the cleanup, and users being off-boarded."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create them, with the cleanup due at once."""
    lease = op.create_table(
        "lease",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, nullable=True),
        sa.Column("expires_at", sa.Float, nullable=False),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("next_run_at", sa.Float, nullable=False),
    )
    op.bulk_insert(lease, [{"name": "cleanup", "owner": None, "expires_at": 0, "fence": 0, "next_run_at": 0}])
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
        sa.Column("believed_members", sa.Integer, nullable=True),
        sa.Column("believed_admins", sa.Integer, nullable=True),
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


def downgrade() -> None:
    """Drop them."""
    for table in ("offboarding", "cleanup_run", "lease"):
        op.drop_table(table)
